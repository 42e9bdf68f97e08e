"""R of θ_t = θ_{t−1} − η∇(L + λR): what is held against a step that would cost what is known. One idea a file."""

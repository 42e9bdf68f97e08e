"""R of θ_t = θ_{t−1} − η∇(L + λR): penalties on steps that would forget what is known. One idea per file."""

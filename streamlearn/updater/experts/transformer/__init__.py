"""The transformer expert: a Hugging Face classifier that learns from micro-batches."""

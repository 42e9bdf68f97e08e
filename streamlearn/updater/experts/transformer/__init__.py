"""The transformer expert: a classifier of Hugging Face's that learns from micro-batches."""

"""Training of cell models on sparse annotations."""

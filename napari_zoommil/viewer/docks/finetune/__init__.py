"""The Fine-tune dock: train a model with points, and compare before and after."""

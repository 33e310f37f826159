"""Training of encoders: a file per method, patches to train on, recipes, and a linear probe to compare
them."""

"""Training of the models and the encoder in resources/."""

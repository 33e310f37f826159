"""How the models and the encoder in resources/ were trained."""

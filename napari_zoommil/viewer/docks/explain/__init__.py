"""The Explain dock: why a model decided as it did, where, and whether that is true."""

"""Experiments: reproductions of the papers, and the training of the shipped models."""

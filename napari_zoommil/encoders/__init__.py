"""Patch pixels to embeddings: one registry of encoders, each with its own pre-processing."""

from napari_zoommil.encoders.encoder import Encoder, Preprocessing
from napari_zoommil.encoders.registry import load_encoder, names

__all__ = ["Encoder", "Preprocessing", "load_encoder", "names"]

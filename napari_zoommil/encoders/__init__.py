"""Encoders from patch pixels to embeddings, in one registry, each with its own pre-processing."""

from napari_zoommil.encoders.encoder import Encoder, Preprocessing
from napari_zoommil.encoders.registry import load_encoder, names
from napari_zoommil.encoders.trust import encoder_of_model

__all__ = ["Encoder", "Preprocessing", "encoder_of_model", "load_encoder", "names"]

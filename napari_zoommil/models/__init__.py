"""Multiple-instance learning (MIL) models: bag → prediction and attention.

Importing this package does not import torch; the first model does.
"""

from napari_zoommil.models.registry import create, names

__all__ = ["create", "names"]

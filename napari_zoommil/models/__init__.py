"""Multiple-instance-learning models: bag → prediction and attention.

Importing this package is cheap; torch is loaded with the first model.
"""

from napari_zoommil.models.registry import create, names

__all__ = ["create", "names"]

"""Any slide as a lazy pyramid, patch reads at any resolution, and a tissue mask. No torch, no Qt."""

from napari_zoommil.slides.slide import Slide

__all__ = ["Slide"]

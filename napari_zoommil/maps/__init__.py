"""What a model looked at and why, as maps over the slide."""

from napari_zoommil.maps.heatmap import HeatMap

__all__ = ["HeatMap"]

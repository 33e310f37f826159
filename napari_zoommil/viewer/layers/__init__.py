"""Layers of a slide: the image, maps, points, regions and detected cells."""

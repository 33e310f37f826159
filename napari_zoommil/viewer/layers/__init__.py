"""Layers of a slide: the slide itself, maps over it, points, regions and detected cells."""

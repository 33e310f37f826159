"""Cells from few points: sparse targets, losses that bear unmarked cells, detectors and their metrics."""

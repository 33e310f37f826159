"""Number of patches that ZoomMIL zooms into (supplement, Fig. 2)."""

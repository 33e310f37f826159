"""The Slide dock: overview, magnification and facts of a slide."""

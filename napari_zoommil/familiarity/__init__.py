"""Whether a model knows what it is shown: statistics of its training, kept in its folder, and how a slide
compares with them. No torch."""

from napari_zoommil.familiarity.statistics import Familiarity, Patches, SlideSample, fitted
from napari_zoommil.familiarity.verdict import NO_TRAINING, UNKNOWN, Verdict

__all__ = ["NO_TRAINING", "UNKNOWN", "Familiarity", "Patches", "SlideSample", "Verdict", "fitted"]

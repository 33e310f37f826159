"""A slide that is not at hand: what is known of it from files about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.slide import stem_of


@dataclass(frozen=True)
class AbsentSlide:
    """Size and name of a slide whose pixels cannot be read.

    Attributes
    ----------
    path : Path
        File that stands for it, such as that of its features.
    shape : (int, int)
        Level-0 extent, px.
    mpp : (float, float) or None
        Level-0 pixel size, µm, y and x.
    fingerprint : str
        Identity of that file.
    """

    path: Path
    shape: tuple[int, int]
    mpp: Pair | None
    fingerprint: str
    damaged: int = 0

    @property
    def origin(self) -> Pair:
        """Where QuPath would begin to count: not known, so at the corner."""
        return 0.0, 0.0

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def stem(self) -> str:
        return stem_of(self.path)

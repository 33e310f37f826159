"""Whether the slides of a cohort can be read at what a training reads, told of all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from napari_zoommil.errors import MissingResolutionError, ZoomMILError
from napari_zoommil.geometry import NATIVE, Pair, mpp_of, mpp_text
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.models.registry import Takes
from napari_zoommil.slides import Slide
from napari_zoommil.slides.slide import UPSAMPLING

if TYPE_CHECKING:
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide

TOLD_EVERY = 0.3
"""Seconds between two reports of progress."""

OWN_PIXELS = "give it (mpp), or the magnification 0, which reads pixels as they are"


@dataclass(frozen=True)
class Headers:
    """What the headers of slides say.

    Attributes
    ----------
    coarsest : float or None
        Largest pixel size of level 0, µm/px; None if no slide could be opened.
    faults : tuple of str
        Slides that cannot be opened, each with its line.
    unknown : tuple of str
        Slides whose pixel size is unknown.
    sizes : tuple of (LabelledSlide, (float, float))
        The pixel size of each other slide, µm, y and x.
    """

    coarsest: float | None
    faults: tuple[str, ...]
    unknown: tuple[str, ...]
    sizes: tuple[tuple[LabelledSlide, Pair], ...]

    def faults_at(self, magnification: float, takes: Takes) -> tuple[str, ...]:
        """All that prevents that a model reads them at a magnification, or in their own pixels."""
        if magnification == NATIVE:
            return self.faults
        count = len(self.unknown)
        hint = f"{count:,} of {count + len(self.sizes):,} state no pixel size: {OWN_PIXELS}"
        hints = (hint,) if takes == "image" and self.unknown else ()
        return (*self.faults, *self.unknown, *hints, *self.too_coarse(magnification))

    def serves(self, magnification: float) -> bool:
        """Whether all slides are fine enough for a magnification."""
        return self.coarsest is None or self.coarsest <= mpp_of(magnification) * UPSAMPLING

    def too_coarse(self, magnification: float) -> tuple[str, ...]:
        """A message for each slide that is too coarse for a magnification."""
        return tuple(
            f"{one.place}: {one.slide.name} was scanned at {mpp_text(size)}; {magnification:g}x needs "
            f"{mpp_of(magnification):.3g} µm/px or finer"
            for one, size in self.sizes
            if sum(size) / 2 > mpp_of(magnification) * UPSAMPLING
        )


def read_headers(entries: Sequence[LabelledSlide], mpp: float | None) -> Job[Headers]:
    """Open each slide that is there, without reading pixels."""
    sizes: list[tuple[LabelledSlide, Pair]] = []
    faults: list[str] = []
    unknown: list[str] = []
    told = monotonic()
    for number, one in enumerate(entries, 1):
        if one.slide == Path() or not one.slide.exists():
            continue  # which the cohort's own faults tell
        try:
            with Slide.open(one.slide, mpp) as slide:
                sizes.append((one, slide.resolution()))
        except MissingResolutionError as error:
            unknown.append(f"{one.place}: {error}")
        except (ZoomMILError, OSError) as error:
            faults.append(f"{one.place}: {error}")
        if monotonic() - told > TOLD_EVERY:
            told = monotonic()
            yield Progress(number, len(entries), f"checking slides: {number:,} of {len(entries):,}")
    coarsest = max((sum(size) / 2 for _, size in sizes), default=None)
    return Headers(coarsest, tuple(faults), tuple(unknown), tuple(sizes))


def fitting(magnifications: tuple[float, ...], headers: Headers, takes: Takes) -> tuple[float, ...]:
    """Magnifications halved until all slides are fine enough for the highest; of images without any pixel
    size, their own pixels."""
    if takes == "image" and headers.unknown and not headers.sizes:
        return (NATIVE,)
    while not headers.serves(magnifications[-1]) and magnifications[-1] > 1:
        magnifications = tuple(one / 2 for one in magnifications)
    return magnifications

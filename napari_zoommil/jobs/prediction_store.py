"""Predictions that were made in the window, so that they are there when the slide is opened again.

They lie in the user's cache folder by the fingerprint of the slide; of the oldest the maps are deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import FileError, JobError
from napari_zoommil.familiarity import UNKNOWN, Verdict
from napari_zoommil.files import make_folder, write_file
from napari_zoommil.geometry import Pair, magnification_name
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.result_file import Excerpt, read_result, result_bytes
from napari_zoommil.models.task import Task
from napari_zoommil.resources import cache_folder
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.slides.tissue_published import DEFAULT

MOST_OF_A_SLIDE = 10
MOST_BYTES = 500_000_000
"""Of all slides together."""

SUMMARY_BYTES = 20_000
"""More than a prediction without maps takes."""

ALL_TISSUE = "all tissue"
"""What was read for a prediction of a whole slide without regions, as its ``where``."""

FROM_FILES = "feature files"
"""The same, where features were read from files."""


@dataclass(frozen=True, eq=False)
class ReadAs:
    """How a slide was read for a prediction, so that the same patches are read again to explain it.

    Attributes
    ----------
    tissue : Tissue or None
        With the regions that the user added and left out; None where features were read from files, or an
        image in place of patches.
    regions : tuple of str
        Regions that it was limited to, as hexadecimal WKB, level-0 (y, x); empty for all tissue.
    min_tissue : float or None
        Least tissue share of a patch; None is that of the model.
    detector : str
        What found the tissue.
    overlap : float
        Of neighbouring patches.
    features : tuple of str
        Paths of the feature files and folders; none where patches were encoded.
    magnification : float or None
        Of an image in place of patches, if another one than that of the model's training was chosen.
    """

    tissue: Tissue | None
    regions: tuple[str, ...] = ()
    min_tissue: float | None = None
    detector: str = DEFAULT
    overlap: float = 0.0
    features: tuple[str, ...] = ()
    magnification: float | None = None


@dataclass(frozen=True, eq=False)
class KeptPrediction:
    """A prediction and its circumstances.

    Attributes
    ----------
    prediction : Prediction
    made : float
        When the run began, seconds since 1970.
    where : str
        What of the slide was read, for the user.
    mpp : (float, float) or None
        Pixel size of the slide at that time, µm; a prediction of another size is of other patches.
    colours : bool
        Whether its colours were managed by its profile.
    read_as : ReadAs or None
        None of predictions of which it is not known.
    """

    prediction: Prediction
    made: float
    where: str
    mpp: Pair | None
    colours: bool = False
    read_as: ReadAs | None = None


@dataclass(frozen=True, eq=False)
class PredictionSummary(Excerpt):
    """What a kept prediction says of the slide as a whole."""

    fingerprint: str
    model: str
    task: Task
    values: NDArray[np.float32]
    familiarity: Verdict = UNKNOWN
    regions_mm2: float | None = None


@dataclass(frozen=True)
class WaysToRead(Excerpt):
    """How a whole slide was read, or is to be, without its tissue; see :class:`ReadAs`."""

    min_tissue: float | None = None
    detector: str = DEFAULT
    overlap: float = 0.0
    features: tuple[str, ...] = ()
    magnification: float | None = None

    @property
    def text(self) -> str:
        """What of a whole slide is read, for the user; :data:`ALL_TISSUE` if it is read as usual."""
        if self.features:
            return FROM_FILES
        changed = (
            "" if self.min_tissue is None else f"tissue share from {self.min_tissue:g}",
            f"overlap {self.overlap:g}" if self.overlap else "",
            "" if self.magnification is None else f"at {magnification_name(self.magnification)}",
        )
        return ", ".join([ALL_TISSUE, *filter(None, changed)])


@dataclass(frozen=True, eq=False)
class KeptSummary(Excerpt):
    """A kept prediction without its maps, which is read much faster."""

    prediction: PredictionSummary
    made: float
    where: str
    mpp: Pair | None
    colours: bool = False
    read_as: WaysToRead | None = None

    def is_of_whole_slide(self, wanted: WaysToRead) -> bool:
        """Whether it is of the whole slide, read in that way."""
        return self.where == wanted.text and (self.read_as or WaysToRead()) == wanted


K = TypeVar("K", KeptPrediction, KeptSummary)


def keep(one: KeptPrediction) -> None:
    """Store a prediction; without a word if that is not possible, because it can be made again."""
    path = _path(one.prediction.fingerprint, one.made)
    with suppress(FileError, OSError):
        make_folder(path.parent)
        write_file(path, result_bytes(one))
        _trim(path.parent)


def kept(fingerprint: str, mpp: Pair | None, colours: bool = False) -> Iterator[KeptPrediction]:
    """The predictions of a slide as it is read now, the latest first; damaged ones are passed over."""
    return _kept(KeptPrediction, fingerprint, mpp, colours)


def summaries(fingerprint: str, mpp: Pair | None, colours: bool = False) -> Iterator[KeptSummary]:
    """The same without maps."""
    return _kept(KeptSummary, fingerprint, mpp, colours)


def has_some(fingerprint: str) -> bool:
    """Whether there is any prediction of a slide."""
    return _path(fingerprint, 0).parent.is_dir()


def _kept(kind: type[K], fingerprint: str, mpp: Pair | None, colours: bool) -> Iterator[K]:
    for path in sorted(_path(fingerprint, 0).parent.glob("*.npz"), reverse=True):
        with suppress(JobError):
            found = read_result(path, kind)
            same = found.mpp == mpp and found.colours == colours
            if same and found.prediction.fingerprint == fingerprint:
                yield found


def forget(fingerprint: str, made: float) -> None:
    """Delete a prediction, if it is stored."""
    with suppress(OSError):
        _path(fingerprint, made).unlink(missing_ok=True)


def folder() -> Path:
    """Where predictions are stored; it is there after the first one."""
    return cache_folder() / "predictions"


def _path(fingerprint: str, made: float) -> Path:
    return folder() / fingerprint / f"{round(made * 1000):015d}.npz"


def _trim(folder: Path) -> None:
    """Delete the oldest predictions of a slide, and the maps of the oldest of all, that are too many."""
    for path in sorted(folder.glob("*.npz"))[:-MOST_OF_A_SLIDE]:
        path.unlink(missing_ok=True)
    sizes = {path: path.stat().st_size for path in folder.parent.glob("*/*.npz")}
    total = sum(sizes.values())
    for path in sorted(sizes, key=lambda path: path.name):
        if total <= MOST_BYTES:
            return
        if sizes[path] > SUMMARY_BYTES:
            total -= sizes[path] - _shrunk(path)


def _shrunk(path: Path) -> int:
    """Keep of a prediction what it says of the slide as a whole; its size then, 0 if it cannot be read."""
    try:
        content = result_bytes(read_result(path, KeptSummary))
        write_file(path, content)
        return len(content)
    except (JobError, FileError):
        path.unlink(missing_ok=True)
        return 0

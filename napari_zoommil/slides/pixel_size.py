"""Pixel sizes that users set for slides whose files state none: one small file per slide.

It lies next to the slide, as the annotations do, so that it travels with it and others who work on the slide
have it too; if that folder is not writable, in the user's data folder, named by the slide's fingerprint.
Nothing is written when a slide is opened.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from platformdirs import user_data_path

from napari_zoommil.configuration import parsed
from napari_zoommil.errors import FileError
from napari_zoommil.files import make_folder, write_json
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.fingerprint import fingerprint
from napari_zoommil.slides.readers.base import plausible

SUFFIX = ".pixel-size.json"


@dataclass(frozen=True)
class PixelSize:
    """A pixel size that a user set.

    Attributes
    ----------
    mpp : (float, float)
        Level-0 pixel size, µm, (y, x).
    by : str
        Who set it.
    on : str
        The day, as in 2026-11-28.
    fingerprint : str
        Of the slide, so that another file with the same name does not get it.
    """

    mpp: Pair
    by: str
    on: str
    fingerprint: str

    def __str__(self) -> str:
        size = " × ".join(f"{value:.4g}" for value in dict.fromkeys(self.mpp))
        return f"{size} µm/px, set {f'by {self.by} ' if self.by else ''}on {self.on}"


def remember(slide: Path, stem: str, mpp: Pair, by: str = "") -> PixelSize:
    """Write a pixel size, next to the slide or in the user's data folder.

    Parameters
    ----------
    slide : Path
    stem : str
        Name of the slide without its extension.
    mpp : (float, float)
    by : str
        Who sets it.

    Raises
    ------
    FileError
        If it cannot be written, or the slide can no longer be read.
    """
    own = PixelSize(mpp, by, date.today().isoformat(), _identity(slide))
    try:
        write_json(_beside(slide, stem), asdict(own))
    except FileError:
        path = _in_users_folder(own.fingerprint)
        make_folder(path.parent)
        write_json(path, asdict(own))
    else:
        with suppress(OSError):  # one from the time when the folder was not writable
            _in_users_folder(own.fingerprint).unlink(missing_ok=True)
    return own


def recall(slide: Path, stem: str) -> PixelSize | None:
    """The pixel size that was set for a slide; the user's own before that next to the slide."""
    beside, users = _beside(slide, stem), _in_users_folder("")
    if not (beside.exists() or users.parent.is_dir()):
        return None
    try:
        who = _identity(slide)
    except FileError:
        return None
    for path in (_in_users_folder(who), beside):
        with suppress(OSError, ValueError):  # no such file, or damaged: the user is asked again
            found = parsed(PixelSize, json.loads(path.read_text(encoding="utf-8")))
            if found.fingerprint == who and plausible(found.mpp):
                return found
    return None


def _beside(slide: Path, stem: str) -> Path:
    return slide.absolute().parent / f"{stem}{SUFFIX}"


def _in_users_folder(who: str) -> Path:
    return user_data_path("napari-zoommil") / "pixel-sizes" / f"{who}{SUFFIX}"


def _identity(slide: Path) -> str:
    try:
        return fingerprint(slide)
    except OSError as error:
        raise FileError(f"{slide.name} cannot be read any more: {error}") from error

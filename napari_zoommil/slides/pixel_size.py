"""Pixel sizes that a user set for slides whose files state none.

Each is a small file in the user's data folder, named by the slide's fingerprint: the slide's own folder may
be read-only or shared with others, who have not set it, and a slide that is renamed or moved keeps it.
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
from napari_zoommil.geometry import Pair, mpp_text
from napari_zoommil.slides.fingerprint import fingerprint
from napari_zoommil.slides.readers.base import plausible


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
        Of the slide.
    """

    mpp: Pair
    by: str
    on: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{mpp_text(self.mpp)}, {self.origin}"

    @property
    def origin(self) -> str:
        """``set by anna on 2026-11-28``."""
        return f"set {f'by {self.by} ' if self.by else ''}on {self.on}"


def remember(slide: Path, mpp: Pair, by: str = "") -> PixelSize:
    """Store a pixel size.

    Parameters
    ----------
    slide : Path
    mpp : (float, float)
    by : str
        Who sets it.

    Raises
    ------
    FileError
        If it cannot be written, or the slide can no longer be read.
    """
    try:
        own = PixelSize(mpp, by, date.today().isoformat(), fingerprint(slide))
    except OSError as error:
        raise FileError(f"{slide.name} cannot be read any more: {error}") from error
    path = _file(own.fingerprint)
    make_folder(path.parent)
    write_json(path, asdict(own))
    return own


def recall(slide: Path) -> PixelSize | None:
    """The pixel size that was set for a slide, if any."""
    with suppress(OSError, ValueError):  # none was set, or the file is damaged: the user is asked again
        if not _file("").parent.is_dir():  # before the slide is read for its fingerprint
            return None
        who = fingerprint(slide)
        found = parsed(PixelSize, json.loads(_file(who).read_text(encoding="utf-8")))
        if found.fingerprint == who and plausible(found.mpp):
            return found
    return None


def _file(who: str) -> Path:
    return user_data_path("napari-zoommil") / "pixel-sizes" / f"{who}.json"

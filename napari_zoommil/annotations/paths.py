"""Where the annotations of a slide are saved: beside it, or in the user's data folder."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_data_path

from napari_zoommil.errors import AnnotationError
from napari_zoommil.files import PICTURES, SLIDES
from napari_zoommil.slides import Slide
from napari_zoommil.slides.fingerprint import fingerprint

SUFFIX = ".points.geojson"

OWNER = re.compile(rb'"napari_zoommil":\s*\{[^{}\[\]]*"slide":\s*"([0-9a-f]{32})"')
"""The statement in a file of ours of the slide that it is of, which stands before its features."""

HEAD_BYTES = 1 << 16


def beside(slide: Slide) -> Path:
    """The annotation file next to the slide, used if its folder is writable.

    It has the slide's name without its ending; with it where another slide has the same name but for that, or
    the file says that it is of another slide.
    """
    folder = slide.path.absolute().parent
    short, full = folder / f"{slide.stem}{SUFFIX}", folder / f"{slide.path.name}{SUFFIX}"
    if full.exists():
        return full
    if short.exists():
        owner = owner_of(short)
        return short if owner in ("", identity(slide.path)) else full
    return full if has_namesake(slide.path, slide.stem) else short


def owner_of(document: Path) -> str:
    """Fingerprint of the slide that an annotation file says it is of; empty if it does not say."""
    try:
        with document.open("rb") as file:
            found = OWNER.search(file.read(HEAD_BYTES))
    except OSError:
        return ""
    return found[1].decode() if found else ""


def has_namesake(slide: Path, stem: str) -> bool:
    """Whether another slide in the folder has the same name, but for its ending."""
    endings = (*SLIDES, *PICTURES, ".ome.tif", ".ome.tiff", ".ome.zarr")
    names = {f"{stem}{one}" for ending in endings for one in (ending, ending.upper())} - {slide.name}
    found = (slide.parent / name for name in names)
    return any(one.exists() and not one.samefile(slide) for one in found)


def identity(slide: Path) -> str:
    """The slide's fingerprint; empty if it can no longer be read."""
    try:
        return fingerprint(slide)
    except OSError:
        return ""


def annotations_path(slide: Slide) -> Path:
    """The file to which the annotations of a slide are saved.

    Next to the slide if its folder is writable; else in the user's data folder, named by the slide's
    fingerprint and not by its name, which can identify a patient.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    path = beside(slide)
    return path if writable(path.parent) else in_users_folder(slide.path)


def in_users_folder(slide: Path) -> Path:
    try:
        who = fingerprint(slide)  # Slide.fingerprint changes with colour management
    except OSError as error:
        raise AnnotationError(f"{slide.name} cannot be read any more: {error}") from error
    return user_data_path("napari-zoommil") / "annotations" / f"{who}{SUFFIX}"


def current_path(slide: Slide) -> Path:
    """The file that holds the annotations of a slide now: :func:`annotations_path` or, if that does not
    exist, the file next to the slide.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    kept = annotations_path(slide)
    return kept if kept.exists() else beside(slide)


_refused: set[Path] = set()
"""Folders in which creating a file failed, although their permissions allow it."""


def writable(folder: Path) -> bool:
    """Whether files can be created there, judged without creating one: most slides are only viewed, and
    on a network share each file is slow."""
    return folder not in _refused and os.access(folder, os.W_OK | os.X_OK)


def try_writing(folder: Path) -> None:
    """Create and delete a file there, because on a network share permissions alone do not tell; call it
    when something is to be written to a folder, and not before."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            _refused.discard(folder)
    except OSError:
        _refused.add(folder)


class Places(NamedTuple):
    """Files of a slide's annotations: the one to write to, and the one that holds them now, if any does."""

    path: Path
    current: Path


def places_to_write(slide: Slide) -> Places:
    """:func:`annotations_path` and :func:`current_path`, after a trial of writing next to the slide.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    try_writing(beside(slide).parent)
    path = annotations_path(slide)
    return Places(path, path if path.exists() else beside(slide))

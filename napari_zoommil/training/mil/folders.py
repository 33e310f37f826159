"""Folders of images as a cohort: the names of the folders are the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_zoommil.errors import CohortError
from napari_zoommil.files import PICTURES, has_ending
from napari_zoommil.training.mil.cohort_faults import SPLITS
from napari_zoommil.training.mil.labelled_slide import LabelledSlide


def pictures_in(folder: Path) -> list[Path]:
    """Images that lie in a folder itself, by name."""
    return sorted(one for one in _visible(folder) if one.is_file() and has_ending(one, PICTURES))


def labelled_pictures(folder: Path) -> tuple[LabelledSlide, ...]:
    """The images of FOLDER/CLASS/*.png, or of FOLDER/train/CLASS/*.png, FOLDER/val/… and FOLDER/test/….

    Each is a group of its own, and its line is its number in the order of their names.

    Raises
    ------
    CohortError
        If there are no such images.
    """
    inner = {one.name: one for one in _visible(folder) if one.is_dir()}
    splits = inner if inner and set(inner) <= set(SPLITS) else {"": folder}
    found = [
        (one, label.name, split)
        for split, place in sorted(splits.items())
        for label in sorted(_visible(place))
        if label.is_dir()
        for one in pictures_in(label)
    ]
    if not found:
        raise CohortError(
            f"{folder.name} holds no images in a folder for each class, such as {folder.name}/CLASS/1.png; "
            f"endings are {', '.join(PICTURES)}"
        )
    return tuple(
        LabelledSlide(path, label, split, str(path.relative_to(folder)), line)
        for line, (path, label, split) in enumerate(found, 1)
    )


def _visible(folder: Path) -> Iterator[Path]:
    return (one for one in folder.iterdir() if not one.name.startswith("."))

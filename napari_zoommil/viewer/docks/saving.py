"""The dialog that asks for the file to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_zoommil.files import dialog_filter, with_ending


def ask_where(parent: QWidget, title: str, start: Path, kind: str, endings: Sequence[str]) -> Path | None:
    """The file that the user chooses to write, with one of the endings; None if the dialog is cancelled.

    A name without an ending gets the first. If there is a file of that name, the user has not been asked
    whether it may be replaced: the dialog comes again and does so.
    """
    while name := QFileDialog.getSaveFileName(parent, title, str(start), dialog_filter(kind, endings))[0]:
        path = with_ending(Path(name), endings)
        if path == Path(name) or not path.exists():
            return path
        start = path
    return None

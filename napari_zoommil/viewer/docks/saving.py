"""The dialog that asks for the file to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_zoommil.files import dialog_filter, with_ending
from napari_zoommil.viewer.notifications import not_html


def _nothing(_: Path) -> Sequence[Path]:
    return ()


def ask_where(
    parent: QWidget,
    title: str,
    start: Path,
    kind: str,
    endings: Sequence[str],
    beside: Callable[[Path], Sequence[Path]] = _nothing,
) -> Path | None:
    """The file that the user chooses to write, with one of the endings; None if the dialog is cancelled.

    A name without an ending gets the first. If there is a file of that name, the user has not been asked
    whether it may be replaced: the dialog comes again and does so.

    Parameters
    ----------
    beside : callable
        Returns other files that would be replaced with it, for which the user is asked too.
    """
    while name := QFileDialog.getSaveFileName(parent, title, str(start), dialog_filter(kind, endings))[0]:
        path = with_ending(Path(name), endings)
        if (path == Path(name) or not path.exists()) and _may_go(parent, title, beside(path)):
            return path
        start = path
    return None


def _may_go(parent: QWidget, title: str, files: Sequence[Path]) -> bool:
    """Whether files may be replaced, as the user says."""
    if not files:
        return True
    names = " and ".join(one.name for one in files)
    asked = f"{names} beside it will be replaced. Go on?"
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    return QMessageBox.question(parent, title, not_html(asked), yes | no, no) == yes

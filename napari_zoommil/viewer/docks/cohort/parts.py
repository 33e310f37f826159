"""Parts of the Cohort dock: where the cohort comes from, and which rows are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_zoommil.files import TABLES, dialog_filter
from napari_zoommil.jobs import train
from napari_zoommil.jobs.cohort import OpenCohort, TableSource, is_cohort
from napari_zoommil.viewer.docks.advanced import Advanced
from napari_zoommil.viewer.docks.familiarity_note import WARNING
from napari_zoommil.viewer.docks.parts import Fold, NarrowComboBox, Sentence, row

TYPED_MS = 150
"""After which what was typed to filter by is looked for."""

ALL_SPLITS = "All splits"

NO_COHORT = (
    "Open a table (CSV: slide, label, and optionally split and group) or a folder, of slides or with a "
    "folder of images for each class, or drop one, or a single slide or image, here"
)


class Source(QWidget):
    """Which cohort is open, how its table is read, and what is wrong with the one that could not be.

    Parameters
    ----------
    opened : callable
        Called with a path to be opened.
    read_anew : callable
        Called when a table is to be read in another way.
    """

    def __init__(self, opened: Callable[[Path], None], read_anew: Callable[[], None]) -> None:
        super().__init__()
        self._opened, self._read_anew = opened, read_anew
        self.form = Advanced(train, ("features", "columns"))
        self._known = self.source
        self.form.heard(self._changed)
        self.more = Fold("Feature files, columns, table of slides", self.form)
        self.table = QPushButton("Open table…")
        self.table.setToolTip("A CSV table with the columns slide and label, and optionally split and group")
        self.table.clicked.connect(self._ask_table)
        self.folder = QPushButton("Open folder…")
        self.folder.setToolTip(
            "A folder of slides, without labels, to predict over; or of images, to train on too if it has "
            "a folder for each class"
        )
        self.folder.clicked.connect(self._ask_folder)
        self.told = Sentence(NO_COHORT, "cohort")
        self.faults = Sentence(name="cohort-faults")
        self.faults.setStyleSheet(WARNING)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (row(self.table, self.folder), self.told, self.faults, self.more):
            column.addWidget(widget)
        self._start = ""
        self.show_cohort(None, "", ())

    @property
    def source(self) -> TableSource:
        """How a table is to be read."""
        return TableSource(**self.form.values)

    def _changed(self) -> None:
        if (source := self.source) != self._known:
            self._known = source
            self._read_anew()

    def show_cohort(self, cohort: OpenCohort | None, refused: str, faults: Sequence[str]) -> None:
        """Name what is open, and what could not be opened with all its faults."""
        self.told.setText(f"{cohort.path.name}: {cohort.summary}" if cohort else NO_COHORT)
        if cohort is not None:
            self._start = str(cohort.path.parent)
        self.faults.setVisible(bool(faults))
        kept = " What was open stays open." if cohort and faults else ""
        told = faults[0] if len(faults) == 1 else "\n".join(f"• {one}" for one in faults)
        self.faults.setText(f"{refused} cannot be used.{kept}\n{told}" if faults else "")

    def _ask_table(self) -> None:
        name = QFileDialog.getOpenFileName(
            self, "Table of slides", self._start, dialog_filter("Tables", TABLES)
        )[0]
        if name:
            self._opened(Path(name))

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of slides or images", self._start)
        if name:
            self._opened(Path(name))


class Filters(QWidget):
    """Text, split, and errors alone.

    Parameters
    ----------
    changed : callable
        Called with the text, the split (empty for all) and whether only errors are wanted.
    """

    def __init__(self, changed: Callable[[str, str, bool], None]) -> None:
        super().__init__()
        self._changed = changed
        self.text = QLineEdit()
        self.text.setPlaceholderText("Filter")
        self.text.setClearButtonEnabled(True)
        self.text.setAcceptDrops(False)  # what is dropped on the dock is to be opened
        self.text.setToolTip("Part of a name, label, group or prediction")
        self.split = NarrowComboBox()
        self.split.setToolTip("Rows of one split")
        self.split.currentIndexChanged.connect(lambda _: self._tell())
        self.wrong = QCheckBox("Errors")
        self.wrong.setToolTip("Only rows with another prediction than their label")
        self.wrong.toggled.connect(lambda _: self._tell())
        self._typed = QTimer(self)
        self._typed.setSingleShot(True)
        self._typed.setInterval(TYPED_MS)
        self._typed.timeout.connect(self._tell)
        self.text.textChanged.connect(lambda _: self._typed.start())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row(self.text, self.split, self.wrong, stretch=0))

    def offer(self, cohort: OpenCohort | None) -> None:
        """Begin anew with another cohort."""
        with QSignalBlocker(self.text), QSignalBlocker(self.split), QSignalBlocker(self.wrong):
            self.text.clear()
            self.wrong.setChecked(False)
            self.split.clear()
            self.split.addItem(ALL_SPLITS, "")
            for name in cohort.splits if cohort else ():
                self.split.addItem(name, name)
        self._typed.stop()
        self.split.setVisible(self.split.count() > 1)
        self.wrong.setVisible(cohort is not None and cohort.has_labels)

    def count(self, wrong: int, is_regression: bool) -> None:
        """Say how many errors there are; of numbers there are none, but residuals to sort by."""
        self.wrong.setText(f"Errors ({wrong:,})")
        self.wrong.setEnabled(not is_regression)

    def _tell(self) -> None:
        self._changed(self.text.text(), self.split.currentData() or "", self.wrong.isChecked())


def dropped(event: QDropEvent) -> Path | None:
    """The table, folder or slide that is being dropped; None of anything else."""
    data = event.mimeData()
    urls = data.urls() if data is not None else []
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if is_cohort(path) else None

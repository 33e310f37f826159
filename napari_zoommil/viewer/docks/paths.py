"""Files and folders that are named in a line, or chosen."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QLineEdit, QMenu, QToolButton, QVBoxLayout, QWidget

from napari_zoommil.viewer.docks.parts import row

BETWEEN = ";"
"""Between paths in a line: names of files may have commas and blanks."""


class PathLine(QWidget):
    """A line with a button beside it that asks for a path.

    Attributes
    ----------
    changed : Signal
        Another text was entered, or another path chosen.
    """

    changed = Signal()

    def __init__(self, title: str, help_text: str) -> None:
        super().__init__()
        self.title = title
        self.line = QLineEdit()
        self.line.setToolTip(help_text)
        self.line.editingFinished.connect(self._entered)
        self.choose = QToolButton()
        self.choose.setText("…")
        self.choose.setToolTip(f"Choose the {title}")
        self._known = ""
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row(self.line, self.choose, stretch=0))

    @property
    def native(self) -> QWidget:
        """Itself, as of magicgui's widgets."""
        return self

    def show_text(self, text: str) -> None:
        """Show the end of a text: of a path it tells more than its beginning."""
        self.line.setText(text)
        self.line.setCursorPosition(len(text))
        self._entered()

    def _entered(self) -> None:
        if self.line.text() != self._known:
            self._known = self.line.text()
            self.changed.emit()

    def _ask_folder(self) -> str:
        start = self.line.text().rpartition(BETWEEN)[2].strip()
        return QFileDialog.getExistingDirectory(self, self.title.capitalize(), start)

    def _ask_file(self) -> str:
        start = self.line.text().rpartition(BETWEEN)[2].strip()
        return QFileDialog.getOpenFileName(self, self.title.capitalize(), start)[0]


class Folder(PathLine):
    """A folder."""

    def __init__(self, title: str, help_text: str) -> None:
        super().__init__(title, help_text)
        self.choose.clicked.connect(self._ask)

    @property
    def path(self) -> Path:
        return Path(self.line.text()).expanduser()

    def show_path(self, path: Path) -> None:
        self.show_text(str(path))

    def _ask(self) -> None:
        if name := self._ask_folder():
            self.show_text(name)


class _FileOrFolder(PathLine):
    """With a button that asks for either."""

    def __init__(self, title: str, help_text: str) -> None:
        super().__init__(title, help_text)
        menu = QMenu(self)
        for text, ask in (("File…", self._ask_file), ("Folder…", self._ask_folder)):
            action = menu.addAction(text)
            assert action is not None
            action.triggered.connect(lambda _=False, ask=ask: self._take(ask()))
        self.choose.setMenu(menu)
        self.choose.setStyleSheet("QToolButton::menu-indicator { image: none; }")  # it would cover the text
        self.choose.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)

    def _take(self, name: str) -> None:
        if name:
            self.show_text(name)


class PathEdit(_FileOrFolder):
    """A file or folder, or none."""

    @property
    def value(self) -> Path | None:
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    @value.setter
    def value(self, path: Path | None) -> None:
        self.show_text("" if path is None else str(path))


class PathsEdit(_FileOrFolder):
    """Several files or folders; what is chosen is added to those in the line."""

    def __init__(self, title: str, help_text: str) -> None:
        super().__init__(title, f"{help_text} Several with {BETWEEN} between them.")
        self.choose.setToolTip(f"Add to the {title}")

    @property
    def value(self) -> tuple[Path, ...]:
        parts = (part.strip() for part in self.line.text().split(BETWEEN))
        return tuple(Path(part).expanduser() for part in parts if part)

    @value.setter
    def value(self, paths: tuple[Path, ...]) -> None:
        self.show_text(f"{BETWEEN} ".join(map(str, paths)))

    def _take(self, name: str) -> None:
        if name:
            self.value = (*self.value, Path(name))

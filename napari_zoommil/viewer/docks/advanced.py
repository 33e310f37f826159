"""The folded part of a dock: widgets made from the parameters of its job.

Ranges, units, defaults and help stand with the job (:mod:`napari_zoommil.jobs.parameters`); magicgui makes
the widgets. Two of its ways would be wrong here and are not taken: it shows ``None`` as 0, and small numbers
as 0.0. So a number that may be left open begins below its range, with a text of its own, and one that asks
for even ratios is chosen from 1, 2, 5, 10, 20 and so on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit
from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QComboBox, QFormLayout, QSizePolicy, QWidget

from napari_zoommil.jobs.parameters import Field, Range, fields
from napari_zoommil.viewer.docks.parts import DeviceChoice, Fold
from napari_zoommil.viewer.docks.paths import PathEdit, PathsEdit

OPEN = "by default"
"""What a parameter shows that is left open."""


TITLES = {
    "by": "Results by",
    "features": "Feature files",
    "icc": "Colour profile",
    "mpp": "Pixel size",
    "store": "Feature store",
}
"""Of parameters whose names say too little on a screen."""


class Advanced(QWidget):
    """A form with one line for each parameter; one that is a dataclass has a line for each of its fields.

    Parameters
    ----------
    job : callable
    names : iterable of str
        Of its parameters, in their order on screen.
    hidden : sequence of str
        Fields of dataclasses that are not shown and stay as they are.
    """

    def __init__(self, job: Callable[..., Any], names: Iterable[str], hidden: Sequence[str] = ()) -> None:
        super().__init__()
        known = fields(job)
        self._names = tuple(names)
        self._parts: dict[str, tuple[Any, tuple[str, ...]]] = {}
        self._fields: dict[str, Field] = {}
        for name in self._names:
            if is_dataclass(kind := known[name].type):
                own = {one: field for one, field in fields(kind).items() if one not in hidden}  # type: ignore[arg-type]
                self._parts[name] = kind, tuple(own)
                self._fields |= own
            else:
                self._fields[name] = known[name]
        self._widgets: dict[str, Any] = {name: _widget(field) for name, field in self._fields.items()}
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for name, widget in self._widgets.items():
            self.add(TITLES.get(name, name.replace("_", " ").capitalize()), widget.native)

    def add(self, title: str, widget: QWidget) -> None:
        """A line that is no parameter of the job, or is made by hand."""
        widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._form.addRow(title, widget)

    def __getitem__(self, name: str) -> Any:
        """The widget of a parameter, with ``value``, ``changed`` and ``native``."""
        return self._widgets[name]

    def heard(self, changed: Callable[[], None]) -> None:
        """Have a function called when anything is set to another value; of text, when it is entered."""
        for widget in self._widgets.values():
            if isinstance(widget, LineEdit):
                widget.native.editingFinished.connect(lambda *_: changed())
            else:
                widget.changed.connect(lambda *_: changed())

    def value(self, name: str) -> Any:
        """What the job takes for a parameter; None where it is left open."""
        if name in self._parts:
            kind, own = self._parts[name]
            return kind(**{one: self.value(one) for one in own})
        field, widget = self._fields[name], self._widgets[name]
        value = widget.value
        if isinstance(widget, LineEdit):
            return value.strip() or field.default
        if _is_open(field) and value == (widget.min if isinstance(widget, FloatSpinBox) else ""):
            return None
        return _kind(field)(value) if isinstance(widget, FloatSpinBox) else value

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name."""
        return {name: self.value(name) for name in self._names}

    def tell_open(self, name: str, text: str) -> None:
        """Say what counts as long as a parameter is left open, such as ``40 (preset)``."""
        native = self._widgets[name].native
        if isinstance(self._widgets[name], ComboBox):
            native.setItemText(0, text)
        else:
            native.setSpecialValueText(text)


class How(Fold):
    """Folded: parameters of a job, and the device it computes on.

    Parameters
    ----------
    job, names, hidden
        As of :class:`Advanced`.
    verb : str
        What it does on the device.
    changed : callable, optional
        Called when anything is set to another value.
    """

    def __init__(
        self,
        job: Callable[..., Any],
        names: Iterable[str],
        verb: str,
        changed: Callable[[], None] | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        form, device = Advanced(job, names, hidden), DeviceChoice(verb)
        form.add("Device", device)
        super().__init__("Advanced", form)
        self.advanced, self.device = form, device
        if changed is not None:
            device.currentIndexChanged.connect(lambda *_: changed())
            form.heard(changed)

    @property
    def values(self) -> dict[str, Any]:
        """Arguments of the job."""
        return {**self.advanced.values, "device": self.device.currentText()}


def _is_open(field: Field) -> bool:
    return field.default is None


def _kind(field: Field) -> Any:
    """Its type less None."""
    kinds = [one for one in get_args(field.type) if one is not NoneType]
    return kinds[0] if _is_open(field) and kinds else field.type


def _widget(field: Field) -> Any:
    """A widget of magicgui, or of its likeness."""
    kind = _kind(field)
    options: dict[str, Any] = {"name": field.name, "tooltip": field.help}
    if kind is bool:
        box = CheckBox(value=field.default, **options)
        box.native.setText("")  # its line in the form has a title
        return box
    if kind is Path:
        return PathEdit(field.name.replace("_", " "), field.help)
    if kind == Sequence[Path]:
        return PathsEdit(field.name.replace("_", " "), field.help)
    if get_origin(kind) is Literal or field.names:
        return _choice(field, [(str(one), one) for one in field.names or get_args(kind)], options)
    if kind in (int, float) and field.range is not None:
        if field.range.log:
            steps = even_ratios(field.range)
            if not _is_open(field) and field.default not in steps:
                steps = sorted([*steps, field.default])
            return _choice(field, [(f"{one:g}", one) for one in steps], options)
        return _number(field, field.range, kind, options)
    line = LineEdit(value="", **options)
    line.native.setPlaceholderText(field.default or "none")
    return line


def _choice(field: Field, choices: list[tuple[str, Any]], options: dict[str, Any]) -> ComboBox:
    if _is_open(field):
        choices = [(OPEN, ""), *choices]
    box = ComboBox(choices=choices, value="" if _is_open(field) else field.default, **options)
    box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.native.setMinimumContentsLength(8)
    return box


def _number(field: Field, limits: Range, kind: type, options: dict[str, Any]) -> ValueWidget:
    step = limits.step or (1 if kind is int else 10 ** math.floor(math.log10(limits.high - limits.low) - 2))
    low = limits.low - step if _is_open(field) else limits.low
    start = low if field.default is None else field.default
    # Not magicgui's box for whole numbers, which knows neither a unit nor a text for its least value.
    widget = FloatSpinBox(value=start, min=low, max=limits.high, step=step, **options)
    native = widget.native
    native.setKeyboardTracking(False)
    if kind is int:
        native.setDecimals(0)
    if limits.unit:
        native.setSuffix(f" {limits.unit}")
    if _is_open(field):
        native.setSpecialValueText(OPEN)
    return widget


def even_ratios(limits: Range) -> list[float]:
    """1, 2, 5, 10, 20 … times powers of ten, as far as they lie in a range.

    Raises
    ------
    ValueError
        If the range begins at 0 or below.
    """
    if limits.low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, not at {limits.low:g}")
    powers = range(math.floor(math.log10(limits.low)), math.ceil(math.log10(limits.high)) + 1)
    steps = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return [one for one in steps if limits.low <= one <= limits.high]

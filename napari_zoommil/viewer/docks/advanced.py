"""The folded part of a dock: widgets made from the parameters of its job.

Ranges, units, defaults and help stand with the job (:mod:`napari_zoommil.jobs.parameters`); magicgui makes
the widgets. Two of its ways would be wrong here and are not taken: it shows ``None`` as 0, and small numbers
as 0.0. So a number that may be left open begins below its range, with a text of its own, and one that asks
for even ratios is chosen from 1, 2, 5, 10, 20 and so on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit
from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QFormLayout, QSizePolicy, QWidget

from napari_zoommil.jobs.parameters import Field, Range, fields
from napari_zoommil.viewer.docks.parts import DeviceChoice, Fold

OPEN = "by default"
"""What a parameter shows that is left open."""


class Advanced(QWidget):
    """A form with one line for each parameter.

    Parameters
    ----------
    job : callable
    names : iterable of str
        Of its parameters, in their order on screen.
    """

    def __init__(self, job: Callable[..., Any], names: Iterable[str]) -> None:
        super().__init__()
        known = fields(job)
        self._fields = {name: known[name] for name in names}
        self._widgets = {name: _widget(field) for name, field in self._fields.items()}
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for name, widget in self._widgets.items():
            self.add(name.replace("_", " ").capitalize(), widget.native)

    def add(self, title: str, widget: QWidget) -> None:
        """A line that is no parameter of the job, or is made by hand."""
        widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._form.addRow(title, widget)

    def __getitem__(self, name: str) -> ValueWidget:
        """The widget of a parameter."""
        return self._widgets[name]

    def value(self, name: str) -> Any:
        """What the job takes for a parameter; None where it is left open."""
        field, widget = self._fields[name], self._widgets[name]
        value = widget.value
        if _is_open(field) and value == (widget.min if isinstance(widget, FloatSpinBox) else ""):
            return None
        return _kind(field)(value) if isinstance(widget, FloatSpinBox) else value

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name."""
        return {name: self.value(name) for name in self._widgets}

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
    job, names
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
    ) -> None:
        form, device = Advanced(job, names), DeviceChoice(verb)
        form.add("Device", device)
        super().__init__("Advanced", form)
        self.advanced, self.device = form, device
        if changed is not None:
            device.currentIndexChanged.connect(lambda *_: changed())
            for name in form.values:
                form[name].changed.connect(lambda *_: changed())

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


def _widget(field: Field) -> ValueWidget:
    kind = _kind(field)
    options: dict[str, Any] = {"name": field.name, "tooltip": field.help}
    if kind is bool:
        box = CheckBox(value=field.default, **options)
        box.native.setText("")  # its line in the form has a title
        return box
    if get_origin(kind) is Literal:
        return _choice(field, [(str(one), one) for one in get_args(kind)], options)
    if kind in (int, float) and field.range is not None:
        if field.range.log:
            steps = even_ratios(field.range)
            if not _is_open(field) and field.default not in steps:
                steps = sorted([*steps, field.default])
            return _choice(field, [(f"{one:g}", one) for one in steps], options)
        return _number(field, field.range, kind, options)
    return LineEdit(value=field.default or "", **options)


def _choice(field: Field, choices: list[tuple[str, Any]], options: dict[str, Any]) -> ComboBox:
    if _is_open(field):
        choices = [(OPEN, ""), *choices]
    return ComboBox(choices=choices, value="" if _is_open(field) else field.default, **options)


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

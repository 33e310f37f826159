"""Keys for annotation: one table for the bindings and the help sheet.

They are bound to a slide and its annotations and work while one of these is the active layer; the keys of
napari and of other layers are not changed. Actions during the use of the mouse have a key on the left half of
the keyboard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from napari.layers import Layer

HELP_SIGN = "?"
"""The key of this sign depends on the keyboard layout and napari does not support it; Qt does."""


@dataclass(frozen=True)
class Key:
    """An action and its keys; the first key is its name.

    ``anywhere`` states whether they work on the slide too, where other keys are napari's.
    """

    action: str
    keys: tuple[str, ...]
    help: str
    anywhere: bool = True

    @property
    def title(self) -> str:
        """Text for the help sheet and tooltips: ``Ctrl+Z``."""
        if self.action == "choose":
            return f"{self.keys[0]} – {self.keys[-1]}"
        signs = (HELP_SIGN,) if self.action == "help" else ()
        return ", ".join((*signs, *(name.replace("-", "+") for name in self.keys)))


TABLE = (
    Key("choose", tuple("123456789"), "choose a class: clicks place its cells"),
    Key(
        "remove",
        ("X", "Delete", "Backspace"),
        "remove what is at the cursor, else what is selected",
        False,
    ),
    Key(
        "relabel",
        ("R",),
        "give it the chosen class",
        False,
    ),
    Key("next", ("N", "E"), "go to the next most uncertain detection"),
    Key("previous", ("Shift-N", "W"), "go to the previous one"),
    Key("hide", ("H", "Q"), "hide or show overlays, as O does"),
    Key("region", ("G",), "draw a region of the chosen class; again: stop"),
    Key("complete", ("C",), "draw a region in which every cell is annotated; again: stop"),
    Key("select", ("T",), "select regions by clicks inside them; again: stop"),
    Key("undo", ("Ctrl-Z",), "undo"),
    Key("redo", ("Ctrl-Shift-Z",), "redo"),
    Key("rename", ("F2",), "rename the chosen class"),
    Key("help", ("F1",), "show or hide this sheet"),
)

OVERLAYS = "O"
"""Bound to the viewer and to slides with their overlays, see :mod:`napari_zoommil.viewer.hiding`."""

BEFORE_AFTER = "B"
"""Bound to the viewer by the Fine-tune dock, so that it works with any active layer."""

WHY = "Y"
"""Bound to the viewer by the Explain dock, and to slides with their overlays."""

EXPLAINED = ((WHY, "with the Explain dock: explain the patch under the pointer"),)

ALWAYS = ((OVERLAYS, "hide or show all overlays, whichever dock is open"),)

MOUSE = (
    ("Click", "place a cell of the chosen class"),
    ("Click a point", "select it"),
    ("Drag a point", "move it"),
    ("Drag, wheel", "move the view, zoom"),
)

FINE_TUNED = ((BEFORE_AFTER, "switch between before and after"),)

NAPARI = (
    ("Space", "hold to move the view, with any tool"),
    ("P", "back to placing points"),
    ("S", "select several points or regions with a box"),
    ("Enter", "finish the region"),
    ("Escape", "cancel the region"),
)


def title_of(action: str) -> str:
    """The keys of an action as text."""
    return next(key.title for key in TABLE if key.action == action)


def with_keys(text: str, action: str) -> str:
    """A tooltip that ends with the keys."""
    return f"{text} ({title_of(action)})"


def bind(layer: Layer, actions: Mapping[str, Callable[[int], None]], editable: bool = False) -> None:
    """Bind the keys of the table to a layer.

    Parameters
    ----------
    layer : Layer
    actions : mapping
        Callback per action, called with the number of the key in its row, from 1.
    editable : bool
        Whether it is a layer of points or regions, to which the actions on these are bound too.
    """
    for key in TABLE:
        if not (editable or key.anywhere):
            continue
        for number, name in enumerate(key.keys, 1):
            layer.bind_key(name, _caller(actions[key.action], number), overwrite=True)


def unbind(layer: Layer) -> None:
    """Remove all key bindings of a layer, and the references that they hold."""
    for name in [name for key in TABLE for name in key.keys]:
        layer.bind_key(name, None)


def _caller(action: Callable[[int], None], number: int) -> Callable[[Layer], None]:
    def call(_layer: Layer) -> None:
        action(number)

    return call


def help_sheet() -> str:
    """The help sheet as rich text."""
    ours = [(key.title, key.help) for key in TABLE]
    parts = (
        ("Mouse", MOUSE),
        ("Keys", (*ALWAYS, *ours)),
        ("Once fine-tuned", FINE_TUNED),
        ("Explain", EXPLAINED),
        ("napari's own", NAPARI),
    )
    rows = "".join(_section(title, lines) for title, lines in parts)
    return f"<table cellspacing='0' cellpadding='2'>{rows}</table>"


def _section(title: str, lines: object) -> str:
    head = f"<tr><td colspan='2'><b>{escape(title)}</b></td></tr>"
    return head + "".join(
        f"<tr><td><b>{escape(keys)}</b>&nbsp;&nbsp;</td><td>{escape(text)}</td></tr>"
        for keys, text in lines  # type: ignore[attr-defined]
    )

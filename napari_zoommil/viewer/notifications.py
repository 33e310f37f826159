"""Notifications of napari, in which names are text, never HTML.

napari shows them in a label that guesses by its text whether it is HTML, and would then load the pictures
that the name of a file asks for.
"""

from __future__ import annotations

import re

from napari.utils import notifications

TAG = re.compile(r"<(?=\s*[A-Za-z/!?])|&(?=lt;)")
"""By which Qt guesses that a text is HTML."""

JOINER = "\u2060"
"""Takes no room; with it a tag is none."""


def not_html(text: str) -> str:
    """A text that looks the same, and that Qt does not take for HTML."""
    return TAG.sub(rf"\g<0>{JOINER}", text)


def show_info(text: str) -> None:
    """Notify the user of what was done."""
    notifications.show_info(not_html(text))


def show_warning(text: str) -> None:
    """Notify the user of what to look at."""
    notifications.show_warning(not_html(text))


def show_error(text: str) -> None:
    """Notify the user of what failed."""
    notifications.show_error(not_html(text))

"""Units of length in which files state the size of their pixels: one table for all formats."""

from __future__ import annotations

import re
import unicodedata

_METRES = {"": 1e6, "deci": 1e5, "centi": 1e4, "milli": 1e3, "micro": 1.0, "nano": 1e-3, "pico": 1e-6}
"""µm per metre with a prefix."""

_LONG = {f"{prefix}met{end}": um for prefix, um in _METRES.items() for end in ("er", "re", "ers", "res")}

_SHORT = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "µ": 1.0,
    "nm": 1e-3, "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4, "angstroms": 1e-4, "ångström": 1e-4,
    "inch": 25_400.0, "inches": 25_400.0, "in": 25_400.0, '"': 25_400.0, "thou": 25.4, "mil": 25.4,
    "li": 25_400.0 / 12, "line": 25_400.0 / 12, "pt": 25_400.0 / 72, "foot": 304_800.0, "feet": 304_800.0,
    "ft": 304_800.0, "yard": 914_400.0, "yd": 914_400.0,
}  # fmt: skip

_TABLE = {unicodedata.normalize("NFKC", name).casefold(): um for name, um in (_LONG | _SHORT).items()}
"""With one character for both of µ, and for both of Å."""

_ESCAPED = re.compile(r"\\\\?u([0-9a-fA-F]{4})")
"""A character as ImageJ and JSON write it."""


def microns(unit: object) -> float | None:
    """µm per unit: of a name, symbol or spelling; None for what is no length, such as ``pixel``.

    The names are those of OME-XML, of OME-Zarr (UDUNITS-2) and of ImageJ; µ may be either of its two
    characters, its escape in ImageJ's metadata, or u; upper and lower case count alike.
    """
    if not isinstance(unit, str):
        return None
    name = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), unit).strip()
    return _TABLE.get(unicodedata.normalize("NFKC", name).casefold())

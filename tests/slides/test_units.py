"""Units of length by all their names."""

from __future__ import annotations

import pytest

from napari_zoommil.slides.units import microns


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["µm", "\u03bcm", "um", "UM", " micron ", "microns", "micrometer", "Micrometre", "\\u00B5m"], 1.0),
        (["mm", "millimeter", "millimetres"], 1e3),
        (["cm", "centimeter", "centimetre"], 1e4),
        (["m", "meter", "metre"], 1e6),
        (["dm", "decimeter"], 1e5),
        (["pm", "picometer"], 1e-6),
        (["nm", "nanometer", "nanometre"], 1e-3),
        (["Å", "\u212b", "angstrom", "Ångström"], 1e-4),
        (["inch", "in", "inches", '"'], 25_400.0),
        (["pixel", "reference frame", "", "second", None, 7, "\\u00b5"[:3]], None),
    ],
)
def test_every_spelling(names: list[object], expected: float | None) -> None:
    assert [microns(name) for name in names] == [expected] * len(names)

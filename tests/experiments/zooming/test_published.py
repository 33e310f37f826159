"""The published tables agree with themselves, and with the counts that the formulas give."""

from __future__ import annotations

import pytest

from napari_zoommil.experiments.zoom_efficiency.report import counts, label, unit_costs
from napari_zoommil.experiments.zooming.published import (
    BRIGHT,
    DATA_SETS,
    SAMPLED,
    DataSet,
    Published,
    published,
)


def test_patches_of_the_mean_slides() -> None:
    assert [BRIGHT.patches(one) for one in (1.25, 2.5, 10)] == [62, 248, 3968]
    found = {label(row, data): counts(row, data) for data in DATA_SETS.values() for row in data.rows}
    assert found["ZoomMIL-Eff (1.25x → 2.5x)"] == (62, 32)
    assert found["ZoomMIL (1.25x → 2.5x → 10x)"] == (62, 48, 192)
    assert found["ZoomMIL (5x → 10x → 20x)"] == (217, 64, 64)
    assert found["ZoomMIL (10x → 20x)"] == (2473, 1200)
    assert found["MSMIL (1.25x + 2.5x + 10x)"] == (62, 248, 3968)


def operations(row: Published, data: DataSet) -> float:
    """Tera operations as the paper counts them: two for a multiply-add of ResNet-34, one for ResNet-50."""
    costs = unit_costs()
    return (
        sum(counts(row, data))
        * (2 * costs["resnet34"] if row.method in SAMPLED else costs["resnet50"])
        / 1e12
    )


@pytest.mark.parametrize("data", DATA_SETS.values(), ids=lambda data: data.name)
def test_published_operations_are_those_of_the_counts(data: DataSet) -> None:
    for row in data.rows:
        if row.tera is not None and not (data == BRIGHT and row.method in ("msmil", "dsmil")):
            assert operations(row, data) == pytest.approx(row.tera, rel=0.1), row


def test_published_operations_of_several_magnifications_on_bright_are_with_5x_too() -> None:
    for row in BRIGHT.rows:
        if row.method in ("msmil", "dsmil"):
            with_5x = operations(row, BRIGHT) + BRIGHT.patches(5) * unit_costs()["resnet50"] / 1e12
            assert operations(row, BRIGHT) < 0.86 * row.tera and with_5x == pytest.approx(row.tera, rel=0.1)


def test_rows_at_corresponding_magnifications() -> None:
    assert {name: row.f1 for name, row in published("abmil", (20.0,)).items()} == {
        "CRC": 90.1, "BRIGHT": 63.5, "CAMELYON16": 83.2,
    }  # fmt: skip
    assert {name: row.f1 for name, row in published("zoommil", (5.0, 10.0)).items()} == {
        "CRC": 90.3, "BRIGHT": 66.0,
    }  # fmt: skip
    assert published("clam_mb", (20.0,)) == {}

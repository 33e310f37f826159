"""A legend says what, of which class, in which unit, and what frames and see-through mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.drawing import Picture, lines_of, to_image
from napari_zoommil.maps.legend import MARGIN, Key, Legend, draw, legend_of
from napari_zoommil.maps.overlay import Overlay, frames_of
from napari_zoommil.maps.scales import Scaling, scalings_of
from napari_zoommil.models.task import Regression


def heat_map(kind: str, target: str | None = None, magnification: float = 10) -> HeatMap:
    return HeatMap(np.array([[-1, 0, 2.0]], np.float32), (0, 0), (8, 8), None, magnification, kind, target)


def overlay(kind: str, target: str | None = None) -> Overlay:
    return Overlay.of([heat_map(kind, target, 5), heat_map(kind, target)], scalings_of(kind)[0])


def test_attention_has_times_the_average_and_speaks_for_no_class(make_grid: Callable) -> None:
    frames = frames_of(make_grid(3, 3, (5.0, 10.0)), [(0, np.array([1, 4]))])
    made = legend_of(replace(overlay("attention"), frames=frames, style="smoothed"))
    assert made.title == "Attention" and made.unit == "times the average of its magnification"
    assert [key.text for key in made.keys] == ["zoomed into at 5x (2)"]
    assert made.notes == (
        "See-through: average or less, or not looked at.",
        "Where several were looked at: the finest of 5x, 10x.",
        "Smoothed: between the middles of patches, values are interpolated.",
        "Where the model looks, not what for.",
    )


def test_it_says_that_only_one_magnification_is_shown_where_there_are_more() -> None:
    two = overlay("attention")
    assert "Only 10x is shown." in legend_of(two.only((10).__eq__)).notes
    alone = Overlay.of([heat_map("attention")], "times")
    assert not any("nly" in note for note in legend_of(alone.only(lambda _: True)).notes)


def test_a_signed_map_names_its_class_at_both_ends_and_its_unit() -> None:
    made = legend_of(overlay("grad-cam", "tumour"), "after")
    assert made.title == "Grad-CAM for tumour after" and made.unit == "logit of tumour"
    assert made.ends == ("speaks against", "speaks for")
    assert made.notes[0] == "See-through: near 0, or not looked at."


def test_instance_scores_speak_for_and_against_their_class() -> None:
    made = legend_of(overlay("instance", "tumour"))
    assert made.scale is not None and made.scale.signed and made.scale.low == -made.scale.high
    assert (made.unit, made.ends) == ("logit of tumour", ("speaks against", "speaks for"))


@pytest.mark.parametrize("scaling", ["raw", "rank"])
def test_a_regression_has_no_logits_and_no_classes(scaling: Scaling) -> None:
    unit = Regression().output_unit
    made = legend_of(Overlay.of([heat_map("evidence", "value")], scaling, output_unit=unit))
    assert made.ends == ("lowers", "raises") and "logit" not in made.unit
    assert (made.unit == unit) is (scaling == "raw")


@pytest.mark.parametrize(
    ("kind", "unit"), [("saliency", "times the average of its magnification"), ("max", "score of the model")]
)
def test_other_scores_claim_no_more_than_is_known(kind: str, unit: str) -> None:
    made = legend_of(overlay(kind))
    assert made.unit == unit and "what for" not in " ".join(made.notes)


def test_what_is_drawn_is_what_is_said_and_stays_on_the_paper() -> None:
    long = "tumour with a name that is much longer than any legend is wide on any canvas"
    made = draw(
        [
            legend_of(overlay("evidence", long)),
            Legend("Cells", keys=(Key("#ff0000", "b", True), Key("#00ff00", "c" * 99))),
        ],
        "end",
    )
    lines = lines_of(made.items)
    assert {"≤−2", "0", "≥+2", "b", "Cells", "end"} <= set(lines) and long.split()[-1] in " ".join(lines)
    bar = next(item for item in made.items if isinstance(item, Picture))
    assert bar.pixels.shape[2] == 3 and bar.x >= MARGIN
    image = np.asarray(to_image(made, 2.0))
    assert image.shape[:2] == (round(made.height * 2), round(made.width * 2))
    assert (image[2:-2, 2:10, :3] == 255).all() and (image[2:-2, -10:-2, :3] == 255).all(), "margins are free"

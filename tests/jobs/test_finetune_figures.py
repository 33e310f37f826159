"""What was measured before and after a fine-tuning, and what speaks against the new model."""

from __future__ import annotations

import pytest

from napari_zoommil.jobs.finetune_figures import figure_text, figures, is_worse, verdict

SEVEN = {
    "before_score_threshold": 0.75,
    "before_exclusive_recall": 5 / 7,
    "before_exclusive_recall/cells": 7.0,
    "before_predictions_per_mm2": 7417.0,
    "exclusive_recall": 1 / 7,
    "exclusive_recall/cells": 7.0,
    "exclusive_recall/low": 0.03,
    "exclusive_recall/high": 0.51,
    "exclusive_recall:gland": 0.0,
    "exclusive_recall:gland/cells": 3.0,
    "exclusive_recall:gland/low": 0.0,
    "exclusive_recall:gland/high": 0.56,
    "predictions_per_mm2": 4488.0,
    "score_threshold": 0.9,
}


def test_figures_are_told_with_what_they_rest_on() -> None:
    recall, gland, density, threshold = figures(SEVEN)
    assert (recall.title, recall.before, recall.after, recall.cells) == (
        "annotated cells found",
        5 / 7,
        1 / 7,
        7,
    )
    assert (recall.low, recall.high) == (0.03, 0.51)
    assert (gland.title, gland.before, gland.cells) == ("… as gland", None, 3), (
        "the first model had no classes"
    )
    assert (density.before, density.after, density.cells) == (7417.0, 4488.0, None)
    assert threshold.title == "score threshold"


def test_a_worse_model_is_called_so_with_what_helps() -> None:
    assert is_worse(SEVEN)
    said = verdict(SEVEN)
    assert said.startswith(
        "It became worse: annotated cells found 0.71 → 0.14 (of 7; 95 % interval 0.03 to 0.51). What helps"
    )
    assert "complete region" in said and "0.61 times as many" in said
    chance = SEVEN | {"exclusive_recall": 4 / 7, "exclusive_recall/low": 0.25, "exclusive_recall/high": 0.84}
    assert "so that this may be chance" in verdict(chance)


def test_complete_regions_decide_where_there_are_any() -> None:
    better = SEVEN | {"before_f1_complete": 0.6, "f1_complete": 0.7, "f1_complete/cells": 50.0}
    assert not is_worse(better) and "worse" not in verdict(better)
    worse = better | {"f1_complete": 0.5}
    assert is_worse(worse) and "F1 in complete regions 0.60 → 0.50" in verdict(worse)


def test_few_cells_are_told_also_where_nothing_is_worse() -> None:
    better = SEVEN | {"exclusive_recall": 1.0}
    assert not is_worse(better) and "rests on 7 annotated cells only" in verdict(better)
    many = better | {"exclusive_recall/cells": 200.0, "predictions_per_mm2": 7000.0}
    assert verdict(many) == "" and verdict({}) == "" and not is_worse({})


@pytest.mark.parametrize(("after", "told"), [(11196, "1.7 times"), (6000, ""), (2000, "0.31 times"), (0, "")])
def test_many_more_cells_are_told(after: float, told: str) -> None:
    said = verdict({"before_predictions_per_mm2": 6519.0, "predictions_per_mm2": after})
    assert (f"finds {told} as many" in said) if told else ("as many" not in said)


def test_figures_of_a_mil_model_are_shares_and_probabilities() -> None:
    attention, probability = figures(
        {
            "before_attention_on_points_5x": 0.1, "attention_on_points_5x": 0.6543,
            "before_probability_lobular_x": 0.2, "probability_lobular_x": 0.3, "other": 1.0,
        }
    )  # fmt: skip
    assert (attention.title, probability.title) == ("attention at 5x", "probability of lobular_x")
    assert figure_text(attention.name, attention.after) == "65.4\u202f%"
    assert (
        figure_text("exclusive_recall", 0.456) == "0.46"
        and figure_text("predictions_per_mm2", 7417) == "7,417"
    )

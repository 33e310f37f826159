"""Table and figure of ``nic-encoders``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.nic_encoders.published import TISSUE, TUMOUR
from napari_zoommil.experiments.nic_encoders.settings import CONTROLS, SUPERVISED, UNSUPERVISED
from napari_zoommil.experiments.zooming.bars import write_bars
from napari_zoommil.model_card import markdown_table

DASH = "–"
TAILS = (2.5, 97.5)
ENCODERS = (*UNSUPERVISED, *SUPERVISED, *CONTROLS)
COMPARED = ("untrained", "rgb-mean-sd")
"""Controls that every encoder is compared with on the same patients."""

GAIN, TISSUE_AIM = 0.02, 0.68

Results = Mapping[str, Mapping[str, Any]]

NOTES = """
Accuracy of a linear classifier on frozen codes (the paper trains a small MLP). *Cell types*: four types of
nuclei of colorectal cancer, patients to train and to test apart; mean over seeds, and the 95 % interval over
the test patients (bootstrap, mean of the seeds' bounds). *More than* a control: on the same patients, with
its interval; `rgb-mean-sd` is mean and standard deviation of each colour. Answers are by the intervals.
*Organ*: breast or colon, patches of 128 px; mean ± standard deviation over folds in which one
slide of each organ is left out: six patients cannot rank encoders. Unsupervised encoders learn from crops of
all tiles, without labels. The paper's numbers are of other data: nine tissues of the rectum, and tumour on
Camelyon16, where supervised-tumour stands beside our supervised-organ.
"""


def by_encoder(results: Results) -> dict[str, list[Mapping[str, Any]]]:
    """Results of each encoder, one per seed, in the order of the table."""
    found: dict[str, list[Mapping[str, Any]]] = {name: [] for name in ENCODERS}
    for name, result in results.items():
        found[name.split("/")[0]].append(result)
    return {name: own for name, own in found.items() if own}


def cells(own: Sequence[Mapping[str, Any]], metric: str = "accuracy") -> Mean:
    """Over seeds."""
    return Mean.of([one["cells"][metric]["value"] for one in own])


def organs(own: Sequence[Mapping[str, Any]]) -> Mean:
    """Over folds, of the mean of the seeds."""
    return Mean.of(np.mean([one["organs"] for one in own], 0).tolist())


def gain(own: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Difference of the mean accuracies on cell types, with its 95 % interval over test patients."""
    mine, theirs = (
        np.mean([one["cells"]["accuracy"]["samples"] for one in rows], 0) for rows in (own, other)
    )
    low, high = np.percentile((mine - theirs)[1:], TAILS) if len(mine) > 1 else (np.nan, np.nan)
    return float(mine[0] - theirs[0]), float(low), float(high)


def markdown(results: Results, about: str) -> str:
    """The report."""
    found = by_encoder(results)
    header = ["encoder", "seeds", "steps", "cell types", "95 %", "balanced",
              *(f"more than {name}" for name in COMPARED), "organ", "paper: tissue", "paper: tumour",
              "minutes"]  # fmt: skip
    rows = [_row(name, own, found) for name, own in found.items()]
    told = [[one["question"], one["numbers"], one["answer"]] for one in answers(results)]
    return (
        f"# nic-encoders\n\n{about}\n{NOTES}\n{markdown_table(header, rows)}\n\n"
        f"## Answers\n\n{markdown_table(('question', 'numbers', 'answer'), told)}\n"
    )


def _row(
    name: str, own: Sequence[Mapping[str, Any]], found: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    bounds = _bounds(own)
    steps = [one["training"]["steps"] for one in own if "steps" in one["training"]]
    return [
        name,
        str(len(own)),
        f"{np.mean(steps):,.0f}" if steps else DASH,
        _shown(cells(own)),
        f"{bounds[0]:.3f} to {bounds[1]:.3f}",
        _shown(cells(own, "balanced accuracy")),
        *(
            _spread(gain(own, found[other])) if other in found and other != name else DASH
            for other in COMPARED
        ),
        _shown(organs(own)),
        _published(TISSUE.get(name)),
        _published(TUMOUR.get(name)),
        f"{sum(one['seconds'] for one in own) / 60:.1f}",
    ]


def answers(results: Results) -> list[dict[str, str]]:
    """The three questions of the experiment."""
    found = by_encoder(results)
    value = {name: cells(own).mean for name, own in found.items()}
    told = []
    if {"vae", "untrained"} <= found.keys():
        more = gain(found["vae"], found["untrained"])
        told.append(_answer(f"VAE at least {GAIN} above the untrained encoder on cell types", _spread(more),
                            _at_least(GAIN, *more[1:])))  # fmt: skip
    if "supervised-tissue" in value:
        own, bounds = value["supervised-tissue"], _bounds(found["supervised-tissue"])
        told.append(_answer(f"supervised-tissue at least {TISSUE_AIM} on cell types",
                            f"{own:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f})",
                            _at_least(TISSUE_AIM, *bounds)))  # fmt: skip
    known = {name: value[name] for name in UNSUPERVISED if name in value}
    if "bigan" in known and len(known) > 1:
        steps = {name: np.mean([one["training"].get("steps", 0) for one in found[name]]) for name in known}
        numbers = ", ".join(f"{name} {known[name]:.3f} ({steps[name]:,.0f} steps)" for name in known)
        other = max((name for name in known if name != "bigan"), key=known.__getitem__)
        more = gain(found["bigan"], found[other])
        numbers += f"; BiGAN minus {other} {_spread(more)}"
        told.append(_answer("BiGAN leads among the unsupervised (the paper: yes)", numbers,
                            _at_least(0, *more[1:])))  # fmt: skip
    return told


def _answer(question: str, numbers: str, answer: str) -> dict[str, str]:
    return {"question": question, "numbers": numbers, "answer": answer}


def _at_least(aim: float, low: float, high: float) -> str:
    """By a 95 % interval; unknown bounds decide nothing."""
    return "yes" if low >= aim else "no" if high < aim else "not decidable"


def _bounds(own: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """95 % interval of the accuracy on cell types: the mean of those of the seeds; NaN without any."""
    ends = ([one["cells"]["accuracy"][end] for one in own] for end in ("low", "high"))
    low, high = (float(np.mean([np.nan if one is None else one for one in values])) for values in ends)
    return low, high


def draw(path: Path, results: Results) -> None:
    """Bars of both tasks, controls in another colour, with the paper's values."""
    found = by_encoder(results)
    tissue, tumour = "cell types (paper: nine tissues)", "breast or colon (paper: tumour)"
    panels = {
        tissue: {name: cells(own) for name, own in found.items()},
        tumour: {name: organs(own) for name, own in found.items()},
    }
    published = {
        title: {name: value for name, (value, _) in table.items()}
        for title, table in ((tissue, TISSUE), (tumour, TUMOUR))
    }
    write_bars(path, panels, "accuracy, %", (*UNSUPERVISED, *SUPERVISED), published)


def _spread(value: tuple[float, float, float]) -> str:
    return f"{value[0]:+.3f} ({value[1]:+.3f} to {value[2]:+.3f})"


def _shown(mean: Mean) -> str:
    return f"{mean.mean:.3f}" + (f" ± {mean.sd:.3f}" if mean.seeds > 1 else "")


def _published(value: tuple[float, float] | None) -> str:
    return f"{value[0]:.3f} ± {value[1]:.3f}" if value else DASH

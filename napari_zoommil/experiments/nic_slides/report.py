"""Tables of ``nic-slides``, with the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_zoommil.experiments.nic_slides.comparison import (
    VARIED,
    beats,
    default_rows,
    sizes_of,
    value_of,
    varied,
)
from napari_zoommil.experiments.nic_slides.maps import KINDS, MEASURES
from napari_zoommil.experiments.nic_slides.published import PUBLISHED
from napari_zoommil.experiments.nic_slides.slides import SUBSETS
from napari_zoommil.experiments.nic_slides.trials import (
    CONTROLS,
    ORACLE,
    TASKS,
    Extent,
    Task,
)
from napari_zoommil.experiments.trial_rows import DASH, Row
from napari_zoommil.model_card import markdown_table

TITLES = {
    "presence": "Is there a tumour? AUC (Table 2)",
    "share": "The tumour's share of the tissue: Spearman's correlation (Table 3)",
}

NOTES = """
Means ± standard deviations over seeds of the CNN; an encoder has one seed. *All*: the slides of all
partitions, each predicted by the CNN that has not seen it; 95 % intervals over slides, the means of the
seeds' bounds. *Test* are slides with other textures, which the CNN that predicts them has not seen: of the
class a partition of their own and a part of *all*; of the number in no partition, and predicted by the mean
of the CNNs. *Macro*: test slides without a tumour, or with a large one. *Beats the control*: the difference
to the better of `untrained` (random weights) and `mean-rgb` (the mean colour) on the same slides, over seeds,
with the 95 % interval of a paired bootstrap over slides: above 0 (yes), below (no), or around it. A control
below chance counts as chance: a CNN that has learnt nothing predicts the mean of its training slides, which
is low where the held-out partition is high, so that over all partitions it is worse than chance. The verdict
is of these slides and this encoder: with another seed an encoder may do otherwise. `nic` is the encoder that
ships, supervised with the tissue types of such slides; `supervised` has learnt from the outlines of tumours
on slides set aside. The paper's numbers are of Camelyon16 and TUPAC16: only the order can be compared.
"""

VARIED_NOTES = """
The paper's Fig. 9 varies code, stride and number of slides, on its first partition; here it is all of them.
With the stride the edge of the patches changes, and the encoder is trained on such patches.
"""

MAP_NOTES = """
Grad-CAM of the first convolution (k = 1) of the CNN that has not seen the slide, of *tumour*, or of the
number; Jaccard index with the planted tumour after a denoising that was tuned on other slides for each kind
of map; average precision and pointing game of the highest value. *Random*: noise at the same places;
*density*: the optical density of the slide. Maps of the class are of slides with other textures, those of
the number of slides with the textures of the training: compare encoders, not the two. Average precision is
the mean of the CNNs', whose values have scales of their own. The paper shows its maps without numbers: mean
colour does not focus, VAE and contrastive scatter, BiGAN focuses on tumour.
"""


def markdown(
    rows: Sequence[Row], encoders: Mapping[str, Mapping[str, Any]], extent: Extent, about: str
) -> str:
    """The report."""
    parts = [f"# nic-slides\n\n{about}\n{NOTES}"]
    parts += [f"## {TITLES[task]}\n\n{_table(default_rows(rows, task), task)}\n" for task in TASKS]
    parts.append(
        f"## Probability by size of the lesion (Fig. 8)\n\n{_sizes(default_rows(rows, 'presence'))}\n"
    )
    parts.append(f"## One parameter varied, encoder `{ORACLE}`\n{VARIED_NOTES}\n{_varied(rows, extent)}\n")
    parts.append(f"## Grad-CAM (Figs. 10 and 11)\n{MAP_NOTES}\n{_maps(rows)}\n")
    parts.append(f"## Encoders\n\n{_encoders(encoders)}\n")
    return "\n".join(parts)


def _table(found: Mapping[str, Row], task: Task) -> str:
    names = ("all", *SUBSETS[task])
    header = ["encoder", "seeds", "all", "95 %", "beats the control", *names[1:],
              *(f"paper: {name}" for name in names), "minutes"]  # fmt: skip
    cells = [
        [
            encoder,
            str(len(row.results)),
            row.shown("all", "value"),
            _interval(row),
            beats(row, found) if encoder not in CONTROLS else "control",
            *(row.shown(name, "value") for name in names[1:]),
            *(_published(PUBLISHED[task].get(encoder, {}).get(name)) for name in names),
            f"{sum(one['seconds'] for one in row.results) / 60:.1f}",
        ]
        for encoder, row in found.items()
    ]
    return markdown_table(header, cells)


def _interval(row: Row) -> str:
    low, high = row.mean("all", "low"), row.mean("all", "high")
    return f"{low.mean:.2f} to {high.mean:.2f}" if low and high else DASH


def _published(value: tuple[float, float] | None) -> str:
    return f"{value[0]:.3f} ± {value[1]:.3f}" if value else DASH


def _sizes(found: Mapping[str, Row]) -> str:
    if not found:
        return DASH
    radii = [radius for radius, _ in sizes_of(next(iter(found.values())))]
    header = ["encoder", *("no tumour" if not radius else f"radius {radius:.2f} mm" for radius in radii)]
    return markdown_table(
        header, [[name, *(f"{value:.3f}" for _, value in sizes_of(row))] for name, row in found.items()]
    )


def _varied(rows: Sequence[Row], extent: Extent) -> str:
    cells = []
    for what, title in VARIED.items():
        for row in varied(rows, what):
            value = value_of(row.trial, what)
            told = f"{value:g}" + (f" ({extent.edge(row.trial)} patches)" if what == "region" else "")
            names = ("all", "test", "macro")
            cells.append(
                [title, told, str(len(row.results)), *(row.shown(n, "value") for n in names), _interval(row)]
            )
    return markdown_table(["varied", "value", "seeds", "AUC, all", "test", "macro", "95 % of all"], cells)


def _maps(rows: Sequence[Row]) -> str:
    header = ["task", "encoder", "seeds", "slides (with a tumour)", "Jaccard", "95 %", "random", "density",
              *(f"{title}{kind}" for title in ("average precision", "pointing")
                for kind in ("", ": random", ": density"))]  # fmt: skip
    cells = []
    for task in TASKS:
        for encoder, row in default_rows(rows, task).items():
            low, high = row.mean("maps", "low"), row.mean("maps", "high")
            jaccard, *rest = (row.shown("maps", f"{what}{kind}") for what in MEASURES for kind in KINDS)
            told = f"{low.mean:.2f} to {high.mean:.2f}" if low and high else DASH
            cells.append([task, encoder, str(len(row.results)), _explained(row), jaccard, told, *rest])
    return markdown_table(header, cells)


def _explained(row: Row) -> str:
    """``24 (16)``, by the first seed that has maps."""
    each = [one["maps"] for one in row.results if one.get("maps")]
    return f"{each[0]['slides']} ({each[0]['with_regions']})" if each else DASH


def _encoders(encoders: Mapping[str, Mapping[str, Any]]) -> str:
    cells = [[name, f"{one['steps']:,.0f}", f"{one['seconds'] / 60:.1f}"] for name, one in encoders.items()]
    return markdown_table(["encoder/code/patch", "steps", "minutes"], cells)

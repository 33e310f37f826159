"""Score thresholds of the shipped cell models, and their model cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from napari_zoommil.cells.metrics import THRESHOLDS
from napari_zoommil.cells.model import CellNetwork, Finds, as_images, find
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.experiments.data.nuclei import Tile
from napari_zoommil.experiments.shipped.cell_evaluation import TileScore, tile_score
from napari_zoommil.model_card import markdown_table, model_card

NEARLY = 0.01
"""Largest difference between the best F1 and that at the chosen threshold."""

Figures = Mapping[str, Mapping[str, float]]
"""Set → metric → value, see :meth:`.cell_evaluation.SetScore.summary`."""


class _CachedOutput(nn.Module):
    """Returns a stored output, so that many thresholds need only one forward pass."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> Any:
        return self.output


@dataclass(frozen=True, eq=False)
class TileOutput:
    """A tile and the output of a network for it."""

    tile: Tile
    images: Tensor
    cached: _CachedOutput
    spec: CellSpec

    @classmethod
    @torch.inference_mode()
    def at(cls, network: CellNetwork, spec: CellSpec, tile: Tile) -> TileOutput:
        images = as_images(tile.image[None])
        return cls(tile, images, _CachedOutput(network(images)), spec)

    @cached_property
    def every(self) -> Finds:
        """All detections, also unlikely ones."""
        return find(self.cached, self.spec, self.images)[0]

    def finds(self, threshold: float) -> Finds:
        """Detections with at least a score of ``threshold``, which for a map of pixels is also its own."""
        spec = replace(self.spec, threshold=threshold)
        boxes = self.spec.architecture == "yollo"
        found = self.every if boxes else find(self.cached, spec, self.images)[0]
        return found.chosen(found.scores >= threshold)

    def score(self, threshold: float) -> TileScore:
        """Scores of boxes and of centres."""
        return tile_score(self.tile, self.finds(threshold), self.spec.mpp)


def chosen_threshold(network: CellNetwork, spec: CellSpec, tiles: Sequence[Tile]) -> float:
    """The highest threshold whose F1, the mean of those of boxes and of centres over all nuclei, is at most
    :data:`NEARLY` below the best.

    F1 is nearly constant around its maximum, and on unseen tissue false positives are more frequent.
    """
    outputs = [TileOutput.at(network, spec, tile) for tile in tiles]

    def mean_f1(threshold: float) -> float:
        scores = [output.score(threshold) for output in outputs]
        box, centre = (reduce(add, (getattr(one, kind) for one in scores)) for kind in ("box", "centre"))
        return float(box.f1 + centre.f1) / 2

    f1 = {value: mean_f1(value) for value in THRESHOLDS}
    return max(value for value in THRESHOLDS if f1[value] >= max(f1.values()) - NEARLY)


ABOUT = {
    "dsb2018": "dsb2018, held-out tiles",
    "synthetic": "synthetic tissue, a held-out texture",
    "monuseg": "MoNuSeg, 13 tiles, not used for training",
}
"""Descriptions of the test sets."""

SIZES = {
    "unet": "with a width of {width} (the published network has 64) and `{padding}` padding",
    "yollo": "with a width of {width} (none is published)",
}


NOT_FOR = (
    "Not for diagnosis, and not for counts or densities that anybody relies on: on unseen tissue one "
    "detection in four or five is wrong, and as many nuclei are missed. Not for cytology, frozen sections, "
    "immunohistochemistry or fluorescence, on which it was not measured. It does not tell kinds of nuclei "
    "apart."
)

KNOWN_TISSUE = """## Does it know such tissue?

`detect` compares each slide with the training by colour and texture (`familiarity.safetensors`, made by
`python -m napari_zoommil.experiments.shipped.cell_familiarity`). On MoNuSeg's 13 tiles, which it has not
seen, 1 % of the patches are unlike; with their eosin turned brown 70 %, with brown nuclei 90 %, in grey
100 %. A wrong pixel size is not noticed: enlarged or reduced, the same tiles pass.
"""

TAUGHT = {"yollo": "", "unet": ", or that `yollo` finds too"}


def card(spec: CellSpec, network: nn.Module, extent: str) -> str:
    """Model card for the hub; ``extent`` describes the extent of the training."""
    architecture = spec.architecture
    weights = sum(parameter.numel() for parameter in network.parameters())
    text = f"""
Detects nuclei (one class, `nucleus`) at {spec.mpp:g} µm/px, on slides at 20x and 40x: a slide is resampled
when it is read. It is a starting point for fine-tuning on your own cells, trained in minutes on little free
data.

{weights:,} parameters in single precision, {SIZES[architecture].format(**spec.config)}.
Detections count from a score of {spec.threshold:g}: the highest threshold with an F1, the mean of those of
boxes and of centres, at most {NEARLY} below the best, on held-out tiles of dsb2018 in their own colours and
in those of other tissue.

## Training data

- **dsb2018** (2018 Data Science Bowl, BBBC038, CC0): the stained tiles. Their resolution is unknown, so each
  copy was scaled to a random median diameter of its nuclei between 5 and 9 µm. Most tiles are purple, so most
  copies were given the colours of the tissue below.
- **Synthetic tissue** of this package's synthetic slides, whose nuclei are known.
- **Tissue without labels**: tiles of TCGA slides (open access) and the slide CMU-1-Small-Region (CC0). Nuclei
  are annotated of which the model `haematoxylin` is sure{TAUGHT[architecture]}, and as background what has
  hardly any haematoxylin; exclusive cross-entropy (Panteli 2021) does not take the rest for background.

{extent}

## Metrics

F1 over all nuclei of a set at the model's threshold, in brackets its mean and standard deviation over tiles:
of boxes at an IoU above 0.5, and of centres at most 4 µm apart.

{figures_table(spec.training.get("figures", {}))}

Held-out tiles are from the same sets as the training tiles and similar to them; MoNuSeg shows what to expect
on other slides. It was used neither for training nor for the threshold, but resolution and losses were chosen
with knowledge of the metrics on it.

{KNOWN_TISSUE}
Made by `python -m napari_zoommil.experiments.shipped.cell_models`.
"""
    tags = ["cell-detection", "nuclei", architecture]
    title = f"{architecture}: nuclei in H&E"
    return model_card(title, text, tags=tags, license="bsd-3-clause", not_for=NOT_FOR)


def figures_table(figures: Figures) -> str:
    """The metrics of each set as a Markdown table."""
    rows = [(ABOUT[name], *_cells(values)) for name, values in figures.items()]
    return markdown_table(("set", "boxes", "precision", "recall", "centres"), rows)


def _cells(values: Mapping[str, float]) -> tuple[str, ...]:
    box, centre = (
        f"{values[f'{kind} F1']:.2f} ({values[f'{kind} mean']:.2f} ± {values[f'{kind} sd']:.2f})"
        for kind in ("box", "centre")
    )
    return box, f"{values['box precision']:.2f}", f"{values['box recall']:.2f}", centre

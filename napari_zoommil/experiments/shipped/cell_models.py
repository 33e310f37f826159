"""Train the two shipped cell models on free tiles and synthetic tissue (:mod:`.cell_data`).

The first round uses completely annotated tiles. Its confident detections on free real tiles without labels
are pseudo-labels, and the second round uses both: exclusive cross-entropy does not treat the other pixels of
these tiles as background.

    python -m napari_zoommil.experiments.shipped.cell_models --work DIR --out resources/models [--only yollo]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from napari_zoommil.annotations import CLASS_CYCLE, CellClass
from napari_zoommil.cells.boxes import anchor_boxes
from napari_zoommil.cells.losses.base import Loss
from napari_zoommil.cells.model import create_cell_model, save_cell_model
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.targets import BoxTargets, detection_loss
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.cells.yollo import STRIDE, YOLLO, decode, kmeans_anchors
from napari_zoommil.experiments.data.nuclei import VARIABLE, Tile, read_tiles
from napari_zoommil.experiments.shipped.cell_data import MPP, FreeData, resampled, restained
from napari_zoommil.experiments.shipped.cell_report import (
    Metrics,
    TileOutput,
    card,
    chosen_threshold,
    slide_metrics,
    tile_metrics,
)
from napari_zoommil.training.cells.elr_memory import NOWHERE
from napari_zoommil.training.cells.module import CellModule, CellRecipe, train_loader
from napari_zoommil.training.cells.presets import CONSTANT
from napari_zoommil.training.fit import fit_steps

NUCLEUS = CellClass("nucleus", CLASS_CYCLE[0], 8.0)

TYPICAL_UM = 7.0
"""Typical diameter of a nucleus, to decide whether a tile is at 20x or 40x."""

MONUSEG_MPP = 0.25

RESOLUTIONS = (0.5, 0.25)
"""Possible resolutions of tiles, µm/px."""

OVERLAP = 2.0
"""Weight of the IoU loss of boxes."""

FEWEST = 10
"""Least number of pseudo-labels on a tile for training on it."""

FIT = CellRecipe("ece", CONSTANT, epochs=14, draws=160, batch_size=8, accumulate=1, crop=128, background=5.0)


@dataclass(frozen=True)
class CellModelRecipe:
    """Architecture and training of a model.

    Attributes
    ----------
    config : dict
        Arguments of the network.
    anchors : int
        Number of anchors of a detector, fitted to the nuclei; 0 for a segmentation network.
    first, second : CellRecipe
        Rounds of the training, without and with pseudo-labels.
    sure : float
        Least score of a pseudo-label.
    """

    config: dict[str, Any]
    anchors: int
    first: CellRecipe
    second: CellRecipe
    sure: float


RECIPES = {
    "yollo": CellModelRecipe(
        {"width": 24},
        2,
        replace(FIT, learning_rate=2e-3, epochs=20),
        replace(FIT, learning_rate=1e-3, epochs=14, seed=1),
        0.8,
    ),
    "unet": CellModelRecipe(
        {"width": 16, "padding": "same", "norm": "batch", "dropout": 0.1},
        0,
        replace(FIT, learning_rate=2e-3, epochs=24),
        replace(FIT, learning_rate=1e-3, epochs=16, seed=1),
        0.8,
    ),
}


class Annealed(CellModule):
    """Adam with a one-cycle learning rate, and an additional IoU loss for boxes."""

    def loss_of(
        self,
        images: Tensor,
        targets: Any,
        progress: float,
        generator: torch.Generator,
        places: Tensor = NOWHERE[None],
    ) -> Tensor:
        """The cell loss; for a detector plus 1 − complete IoU of the assigned boxes (Zheng 2020).

        For small nuclei the squared error of offsets is small even if a box overlaps only half of a nucleus.
        """
        if not isinstance(self.network, YOLLO):
            return super().loss_of(images, targets, progress, generator, places)
        output, known, score_loss = self.network(images), BoxTargets(*targets), self.loss
        assert isinstance(score_loss, Loss)

        def unreduced(scores: Tensor, labels: Tensor, progress: float) -> Tensor:
            return score_loss(scores, labels, progress, generator=generator)

        usual = detection_loss(output, known, unreduced, progress, lambda_background=self.recipe.background)
        priors = anchor_boxes((images.shape[-2], images.shape[-1]), self.network.anchors, STRIDE)
        aims = decode(known.offsets, torch.as_tensor(priors, dtype=torch.float32))
        assigned = known.labels > 0
        apart = complete_box_iou_loss(output.boxes[assigned], aims[assigned], reduction="sum")
        return usual + OVERLAP * apart / assigned.sum().clamp(min=1)

    def configure_optimizers(self) -> Any:
        rate = self.recipe.learning_rate
        optimizer = torch.optim.Adam(self.network.parameters(), lr=rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(network: UNet | YOLLO, recipe: CellRecipe, windows: Sequence[Window], folder: Path) -> None:
    """Train a network; resumes from the last checkpoint in the folder, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "last.ckpt"
    steps = fit_steps(
        Annealed(network, recipe),
        train_loader(windows, recipe, network),
        callbacks=[ModelCheckpoint(folder, filename="last", save_last=False, enable_version_counter=False)],
        epochs=recipe.epochs,
        resume=checkpoint if checkpoint.exists() else None,
    )
    for step in steps:
        if step.step % 20 == 0:
            print(f"{folder}: {step.step}/{step.total} {step.metrics['train_loss_step']:.4f}", flush=True)
    network.eval().requires_grad_(False)


def self_marked(
    network: UNet | YOLLO, spec: CellSpec, data: FreeData, sure: float, seed: int = 0
) -> list[Window]:
    """Windows with pseudo-labels from tiles without labels, in their own and in other colours.

    The resolution of these tiles is unknown: of the two possible ones, that with nuclei closest to their
    typical size is used.
    """
    rng = np.random.default_rng(seed)
    windows = []
    for image in data.unlabelled:
        tile = Tile("", image, np.zeros(image.shape[:2], np.int32))
        outputs = [TileOutput.at(network, spec, resampled(tile, mpp / MPP)) for mpp in RESOLUTIONS]
        sizes = [output.typical_px(spec.threshold) for output in outputs]
        output = outputs[int(np.argmin(np.abs(np.log(np.array(sizes) * MPP / TYPICAL_UM))))]
        marked = output.instances(spec.threshold, sure)
        if len(np.unique(marked)) > FEWEST:
            for own in (output.tile.image, restained(output.tile.image, data.styles, rng)):
                windows.append(window_of_instances(own, marked))
    return windows


def make(
    architecture: str, recipe: CellModelRecipe, data: FreeData, work: Path
) -> tuple[UNet | YOLLO, CellSpec]:
    """Both rounds of training; the threshold is chosen on validation tiles."""
    config = dict(recipe.config)
    if recipe.anchors:
        boxes = np.concatenate([window.boxes for window in data.train])
        config["anchors"] = kmeans_anchors(boxes[:, 2:] - boxes[:, :2], recipe.anchors)
    torch.manual_seed(recipe.first.seed)
    spec = CellSpec(architecture, config, MPP, (NUCLEUS,))
    network = create_cell_model(spec)
    spec = replace(spec, config=network.config)
    fit(network, recipe.first, data.train, work / architecture / "first")
    spec = replace(spec, threshold=chosen_threshold(network, spec, data.validation))
    save_cell_model(work / architecture / "first" / "model", network, spec, "After the first round.\n")
    marked = self_marked(network, spec, data, recipe.sure)
    print(f"{architecture}: {len(marked)} windows marked by itself", flush=True)
    if marked:
        network.requires_grad_(True)
        fit(network, recipe.second, [*data.train, *marked], work / architecture / "second")
        spec = replace(spec, threshold=chosen_threshold(network, spec, data.validation))
    return network, spec


def rounds_of(recipe: CellModelRecipe) -> str:
    """The extent of the training, for the model card."""
    first, second = (f"{one.epochs * one.draws:,}" for one in (recipe.first, recipe.second))
    return (
        f"The rounds saw {first} and {second} windows of {recipe.first.crop} px, turned, flipped, blurred\n"
        "and with their stains perturbed."
    )


def measured(network: UNet | YOLLO, spec: CellSpec, data: FreeData, foreign: Sequence[Tile]) -> Metrics:
    """Set → metric → value."""
    sets = {"dsb2018": data.test, "synthetic": data.synthetic, "monuseg": foreign}
    return {name: tile_metrics(network, spec, tiles) for name, tiles in sets.items() if tiles}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--only", choices=tuple(RECIPES))
    parser.add_argument("--data", type=Path, help=f"folder of nuclei/ and tiles/, by default ${VARIABLE}")
    parser.add_argument("--slide", type=Path, help="slide with NAME.cells.csv for additional metrics")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.data is None and VARIABLE not in os.environ:
        parser.error(f"give the folder of nuclei/ and tiles/ with --data, or set {VARIABLE}")
    folder = args.data or Path(os.environ[VARIABLE])
    data = FreeData.read(folder)
    monuseg = folder / "nuclei" / "monuseg"
    foreign = [resampled(tile, MONUSEG_MPP / MPP) for tile in read_tiles(monuseg)] if monuseg.is_dir() else []
    for name in [args.only] if args.only else RECIPES:
        network, spec = make(name, RECIPES[name], data, args.work)
        rounds = rounds_of(RECIPES[name])
        # usable even if the following metrics fail
        save_cell_model(args.out / name, network, spec, card(spec, network, rounds))
        figures = measured(network, spec, data, foreign)
        if args.slide:
            figures["slide"] = slide_metrics(args.out / name, args.slide)
        training = {"recipe": json.loads(json.dumps(asdict(RECIPES[name]), default=str)), "figures": figures}
        spec = replace(spec, training=training)
        text = card(spec, network, rounds)
        save_cell_model(args.out / name, network, spec, text)
        print(text)


if __name__ == "__main__":
    main()

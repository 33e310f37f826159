"""Train the two shipped cell models on free tiles and synthetic tissue (:mod:`.cell_data`).

They learn from completely annotated tiles, and from real tissue without labels in which only sure nuclei are
annotated: exclusive cross-entropy does not treat the other pixels of these tiles as background. For ``yollo``
these are the nuclei that the classical detector is sure of; for ``unet`` also those that ``yollo`` finds too.

    python -m napari_zoommil.experiments.shipped.cell_models --work DIR --out resources/models [--only unet]

With ``--only unet`` the teacher is the ``yollo`` that is in the output folder.
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

from napari_zoommil.cells.boxes import anchor_boxes
from napari_zoommil.cells.losses.base import Loss
from napari_zoommil.cells.model import (
    Finds,
    as_images,
    create_cell_model,
    find,
    load_cell_model,
    save_cell_model,
    trainable,
)
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.targets import BoxTargets, detection_loss
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import STRIDE, YOLLO, decode, kmeans_anchors
from napari_zoommil.experiments.data.nuclei import VARIABLE
from napari_zoommil.experiments.shipped.cell_data import FreeData
from napari_zoommil.experiments.shipped.cell_evaluation import evaluated, test_sets
from napari_zoommil.experiments.shipped.cell_report import card, chosen_threshold
from napari_zoommil.experiments.shipped.cell_tiles import NUCLEUS
from napari_zoommil.experiments.shipped.unlabelled import Teacher, marked_windows
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.training.cells.elr_memory import NOWHERE
from napari_zoommil.training.cells.module import CellModule, CellRecipe, train_loader
from napari_zoommil.training.cells.presets import CONSTANT
from napari_zoommil.training.fit import fit_steps

MPP = 0.35
"""Resolution of the models, µm/px. At 0.5 a nucleus of 6 µm would be hardly wider than a grid cell of YOLLO,
and a U-Net separated fewer nuclei on held-out tiles; 0.25 is not available on slides at 20x."""

OVERLAP = 2.0
"""Weight of the IoU loss of boxes."""

FIT = CellRecipe("ece", CONSTANT, draws=640, batch_size=8, accumulate=1, crop=128, background=5.0)


@dataclass(frozen=True)
class CellModelRecipe:
    """Architecture and training of a model.

    Attributes
    ----------
    config : dict
        Arguments of the network.
    anchors : int
        Number of anchors of a detector, fitted to the nuclei; 0 for a segmentation network.
    fit : CellRecipe
    """

    config: dict[str, Any]
    anchors: int
    fit: CellRecipe


# The U-Net that ships has other weights, of an earlier recipe: this one's was not better, see its card.
RECIPES = {
    "yollo": CellModelRecipe({"width": 24}, 2, replace(FIT, learning_rate=2e-3, epochs=24)),
    "unet": CellModelRecipe(
        {"width": 12, "padding": "same", "norm": "batch", "dropout": 0.1},
        0,
        replace(FIT, learning_rate=2e-3, epochs=18),
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


def make(
    architecture: str, data: FreeData, work: Path, teacher: Teacher | None = None
) -> tuple[UNet | YOLLO, CellSpec]:
    """Train a model; the threshold is chosen on validation tiles."""
    recipe = RECIPES[architecture]
    config = dict(recipe.config)
    windows = [*data.train, *marked_windows(data.tissue, MPP, teacher)]
    if recipe.anchors:
        boxes = np.concatenate([window.boxes for window in windows])
        config["anchors"] = kmeans_anchors(boxes[:, 2:] - boxes[:, :2], recipe.anchors)
    torch.manual_seed(recipe.fit.seed)
    spec = CellSpec(architecture, config, MPP, (NUCLEUS,))
    network = trainable(create_cell_model(spec), architecture)
    spec = replace(spec, config=network.config)
    fit(network, recipe.fit, windows, work)
    return network, replace(spec, threshold=chosen_threshold(network, spec, data.validation))


def teacher_of(network: UNet | YOLLO, spec: CellSpec) -> Teacher:
    """The detections of a network that count."""

    def finds(image: RGB) -> Finds:
        found = find(network, spec, as_images(image[None]))[0]
        return found.chosen(found.scores >= spec.threshold)

    return finds


def extent_of(recipe: CellModelRecipe) -> str:
    """The extent of the training, for the model card."""
    fit = recipe.fit
    return (
        f"It saw {fit.epochs * fit.draws:,} windows of {fit.crop} px, turned, flipped, blurred, compressed\n"
        "as JPEG and with their stains perturbed."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--only", choices=tuple(RECIPES))
    parser.add_argument("--data", type=Path, help=f"folder of nuclei/ and tiles/, by default ${VARIABLE}")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.data is None and VARIABLE not in os.environ:
        parser.error(f"give the folder of nuclei/ and tiles/ with --data, or set {VARIABLE}")
    folder = args.data or Path(os.environ[VARIABLE])
    data = FreeData.read(folder, MPP)
    for name in [args.only] if args.only else RECIPES:
        recipe, teacher = RECIPES[name], None
        if name == "unet":
            known, its = load_cell_model(args.out / "yollo")
            teacher = teacher_of(trainable(known, "yollo"), its)
        network, spec = make(name, data, args.work / name, teacher)
        extent = extent_of(recipe)
        # usable even if the following metrics fail
        save_cell_model(args.out / name, network, spec, card(spec, network, extent))
        sets = {"synthetic": data.synthetic, **test_sets(folder, MPP)}
        figures = {key: evaluated(network, spec, tiles).summary() for key, tiles in sets.items()}
        training = {"recipe": json.loads(json.dumps(asdict(recipe), default=str)), "figures": figures}
        spec = replace(spec, training=training)
        text = card(spec, network, extent)
        save_cell_model(args.out / name, network, spec, text)
        print(text)


if __name__ == "__main__":
    main()

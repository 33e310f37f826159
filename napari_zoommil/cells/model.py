"""Cell models: model folders, and detection of cells in images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.cells.boxes import instance_boxes, nms
from napari_zoommil.cells.haematoxylin import Haematoxylin
from napari_zoommil.cells.instances import find_cells
from napari_zoommil.cells.outputs import BoxOutput, class_probabilities
from napari_zoommil.cells.spec import CellSpec, read_cell_spec
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.configuration import check_arguments
from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import Familiarity
from napari_zoommil.model_folder import find_model, write_folder
from napari_zoommil.model_weights import build
from napari_zoommil.slides import Slide

CellNetwork = UNet | YOLLO | Haematoxylin

NETWORKS: dict[str, type[UNet] | type[YOLLO]] = {"unet": UNet, "yollo": YOLLO}
"""Architectures that can be trained."""

ARCHITECTURES: dict[str, type[UNet] | type[YOLLO] | type[Haematoxylin]] = {
    **NETWORKS,
    "haematoxylin": Haematoxylin,
}

LEAST_SCORE = 0.1
"""Boxes with lower scores are dropped; a detector returns a box for every few pixels."""

NMS_IOU = 0.2
"""Supplement of ECE, Table 2."""

LARGEST_UPSAMPLING = 2.0
"""Largest factor by which level 0 may be enlarged for a cell model. The shipped models take 0.35 µm/px and
also work on slides at 20x (0.5 µm/px); at 10x (1 µm/px) a nucleus has only about six pixels."""


def create_cell_model(spec: CellSpec) -> CellNetwork:
    """An untrained network.

    Raises
    ------
    ModelError
        If there is no such architecture, or the configuration does not fit it.
    """
    if spec.architecture not in ARCHITECTURES:
        raise ModelError(
            f"there is no cell model {spec.architecture!r}; choose one of {', '.join(ARCHITECTURES)}"
        )
    network = ARCHITECTURES[spec.architecture]
    try:
        check_arguments(network.__init__, spec.config)
        return network(**spec.config)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the configuration of a {spec.architecture} is malformed: {error}") from error


def save_cell_model(
    folder: Path, network: nn.Module, spec: CellSpec, card: str, familiarity: Familiarity | None = None
) -> None:
    """Write a model folder; each file is replaced atomically."""
    write_folder(folder, network, asdict(spec), card, "cells", familiarity)


def load_cell_model(name: str | Path) -> tuple[CellNetwork, CellSpec]:
    """A cell model on the CPU, ready to predict.

    Parameters
    ----------
    name : str or Path
        Shipped model, folder, or hub name.

    Raises
    ------
    ModelError
        If there is no such model, it is not a cell model, or weights and configuration do not match.
    """
    folder, spec = find_model(name, "cells"), read_cell_spec(name)
    network = build(folder, lambda: create_cell_model(spec))
    named, told = len(spec.classes), network.config["classes"]
    if named != told:
        raise ModelError(f"{folder} names {named} classes, but its model has {told}")
    return network.eval().requires_grad_(False), spec


@dataclass(frozen=True, eq=False)
class Finds:
    """Cells found in an image or on a slide.

    Attributes
    ----------
    boxes : (M, 4)
        (y0, x0, y1, x1), px of the image or level-0 px of the slide.
    scores : (M,)
    labels : (M,) int64
        1, 2, …
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def centres(self) -> NDArray[np.float64]:
        """(M, 2) (y, x)."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def chosen(self, rows: NDArray) -> Finds:
        """A subset, by a mask or by rows."""
        return Finds(self.boxes[rows], self.scores[rows], self.labels[rows])

    @classmethod
    def together(cls, parts: Sequence[Finds]) -> Finds:
        empty = cls(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
        columns = zip(*((part.boxes, part.scores, part.labels) for part in (empty, *parts)), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def suppressed(self, sources: NDArray[np.int64] | None = None) -> Finds:
        """After non-maximum suppression; with (M,) ``sources``, only between different sources."""
        return self.chosen(nms(self.boxes, self.scores, NMS_IOU, sources=sources))


def least_score(network: CellNetwork, spec: CellSpec) -> float:
    """The least score that a detection can have: for a map of pixels its threshold."""
    return LEAST_SCORE if isinstance(network, YOLLO) else spec.threshold


def fitting(network: CellNetwork, size: int) -> int:
    """The least edge of an input ≥ ``size``, px, that a network accepts; an unpadded U-Net accepts few."""
    return network.input_size(size - 2 * network.rim)


def trainable(network: CellNetwork, name: str) -> UNet | YOLLO:
    """A network that can be trained.

    Raises
    ------
    ModelError
        If the model has no weights.
    """
    if isinstance(network, Haematoxylin):
        raise ModelError(
            f"{name} is computed from the stains and has no weights to train; fine-tune yollo or unet"
        )
    return network


def require_resolution(slide: Slide, mpp: float) -> None:
    """Check that the resolution of a slide is sufficient for a model that takes ``mpp`` µm/px.

    Raises
    ------
    MagnificationError
        If level 0 would be enlarged by more than :data:`LARGEST_UPSAMPLING`.
    MissingResolutionError
        If the slide's resolution is unknown.
    """
    if sum(slide.resolution()) / 2 > mpp * LARGEST_UPSAMPLING:
        raise slide.too_coarse("this cell model", mpp * LARGEST_UPSAMPLING)


def as_images(pixels: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 → (B, 3, H, W) float32 in [0, 1]."""
    # cached tiles are read-only, torch needs writable arrays
    own = np.require(pixels, requirements=["C", "W"])
    return torch.from_numpy(own).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def find(network: nn.Module, spec: CellSpec, images: Tensor) -> list[Finds]:
    """Cells of each image of a batch, (B, 3, H, W) in [0, 1] on the network's device.

    Scores are in single precision, because half precision has few numbers just below 1. Positions are px
    of the image. In the margin of an unpadded U-Net no cells are found.
    """
    output = network(images)
    if isinstance(output, BoxOutput):
        return [
            _boxes(scores, boxes)
            for scores, boxes in zip(
                class_probabilities(output.scores.float()).cpu().numpy(),
                output.boxes.cpu().numpy(),
                strict=True,
            )
        ]
    margin = (images.shape[-1] - output.shape[-1]) // 2
    maps = class_probabilities(output.float()).cpu().numpy()
    return [_pieces(one, spec, margin) for one in maps]


def _boxes(probabilities: NDArray[np.float32], boxes: NDArray[np.float32]) -> Finds:
    scores = probabilities.sum(0)
    likely = scores >= LEAST_SCORE
    labels = probabilities[:, likely].argmax(0).astype(np.int64) + 1
    return Finds(boxes[likely].astype(float), scores[likely].astype(float), labels).suppressed()


def _pieces(maps: NDArray[np.float32], spec: CellSpec, margin: int) -> Finds:
    cells = find_cells(maps, float(spec.diameters_px.mean()), spec.threshold)
    boxes, _ = instance_boxes(cells.labels)
    return Finds(boxes + margin, cells.scores, cells.classes)

"""SparseConvMIL: sparse convolutions over the places of patches on the slide (Lerousseau et al. 2021)."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.geometry import PatchGrid, PatchLevel, Rows
from napari_zoommil.models.blocks.sampling import drawn
from napari_zoommil.models.blocks.sparse_conv import SubmanifoldConv, neighbours
from napari_zoommil.models.entries_network import SparseConvMILOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step

SCALES = (0.7, 1.3)
"""Range of the random scale of each axis in training."""


class SparseConvMIL(MILModel):
    """Two sub-manifold 3 × 3 convolutions over the sites of patches, a mean over sites, and an MLP.

    Features of patches with the same site are averaged. In training, the places of the patches are rotated,
    mirrored, scaled and shifted at random as a whole; otherwise the model is deterministic.

    The score of a patch, ``activation``, is the length of what its site puts into the mean: how strongly the
    convolutions respond there, whatever that speaks for. It is no attention and no evidence. Grad-CAM tells
    for and against: on the embeddings of this model it is exact for the MLP as it is switched at this slide,
    so that its sum over patches is the output without the contribution of biases.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options : SparseConvMILOptions
    """

    name = "sparseconvmil"

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: SparseConvMILOptions = SparseConvMILOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        widths = (self.width, *options.channels)
        self.convolutions = nn.ModuleList(map(SubmanifoldConv, widths[:-1], widths[1:]))
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1], options.hidden), nn.ReLU(), nn.Linear(options.hidden, classes)
        )

    @property
    def heads(self) -> tuple[str, ...]:
        return ("activation",)

    @property
    def width(self) -> int:
        """Width of the features of a patch."""
        return self.in_features

    def _rows(self, count: int) -> Rows:
        """The patches that a pass reads."""
        return drawn(count, self.options.sampled, self.training)

    def _features(self, rows: Rows) -> Generator[Need, Tensor, Tensor]:
        """(n, width) features of patches."""
        return (yield Need(0, rows))

    def steps(self, grid: PatchGrid) -> Pass:
        rows = self._rows(len(grid.levels[0]))
        features = yield from self._features(rows)
        places = places_of(grid.levels[0], rows)
        if self.training:
            places = augmented(places)
        sites, site, counts = np.unique(
            np.floor(places / self.options.downsample).astype(np.int64),
            axis=0, return_inverse=True, return_counts=True,
        )  # fmt: skip
        near, own, share = (
            torch.from_numpy(one).to(features.device)
            for one in (neighbours(sites), site.reshape(-1), 1 / counts.astype(np.float32))
        )
        share = share.to(features.dtype)
        values = features.new_zeros(len(sites), features.shape[1]).index_add(0, own, features)
        values = values * share[:, None]
        for convolution in self.convolutions:
            values = torch.relu(convolution(values, near))
        # The mean over sites, written as a sum over patches, so that explanations get their gradients.
        embeddings = values[own]
        pooled = (share[own] / len(sites)) @ embeddings
        scores = torch.linalg.vector_norm(embeddings.detach(), dim=1, keepdim=True)
        return MILOutput(self.classifier(pooled), (Step(0, rows, scores, embeddings),))


def places_of(patches: PatchLevel, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, 2) places of patches, in distances of neighbouring patches: rows and columns of the slide, so that
    they do not depend on which patches there are."""
    stride = np.asarray(patches.stride)
    steps = (patches.origins[rows] - patches.origins.min(0) % stride) / stride
    near = np.rint(steps)
    return np.where(np.abs(steps - near) < 1e-6, near, steps)  # so that rounding does not move a site


def augmented(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places rotated about their middle, mirrored, scaled per axis and shifted, at random (torch's)."""
    angle, *others = torch.rand(7, dtype=torch.float64).tolist()
    cosine, sine = np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)
    mirrored = np.where(np.array(others[:2]) < 0.5, -1.0, 1.0)
    scale = SCALES[0] + np.array(others[2:4]) * (SCALES[1] - SCALES[0])
    turned = (places - places.mean(0)) @ np.array([[cosine, -sine], [sine, cosine]])
    return turned * mirrored * scale + np.array(others[4:])

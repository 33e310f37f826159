"""Neural image compression: a CNN on the features of all patches as one image (Tellez et al. 2021)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from napari_zoommil.bags.bag import Bag
from napari_zoommil.bags.need import answer
from napari_zoommil.encoders.turned import VARIANTS
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid, PatchLevel
from napari_zoommil.models.blocks.lattice import Place, as_image, covered
from napari_zoommil.models.blocks.nic_cnn import NICNet
from napari_zoommil.models.blocks.regions import crop_weights, inside, spread, turned_image, whole
from napari_zoommil.models.entries_nic import NICOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Plane, Step, drain


@dataclass(frozen=True, eq=False)
class CropOutput(MILOutput):
    """The output of a training step, with the logits of each crop, (T, C)."""

    crops: Tensor | None = None


class NIC(MILModel):
    """Separable convolutions on the compressed slide: an image with a pixel per patch, its features.

    In training each crop is drawn at random and turned at random. A prediction is the mean of the logits of
    crops that are spread over the tissue, in each view; see :class:`NICOptions`. Of classes, the logits are
    those of a softmax, which for two is the paper's sigmoid of their difference.

    Its planes are the activations of the convolutions in a pass over the whole slide, unturned: Grad-CAM is
    of that pass, as in the paper (sec. 3.3, first layer), whose gradient a prediction passes on to them, at
    the places that hold a part of a patch. The gradient with respect to features is that of the prediction.

    The score of a patch, ``activation``, is the length of the first convolution's output at its place: how
    strongly it responds there, whatever that speaks for. It is no attention and no evidence.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features, the paper's code size C.
    classes : int
    magnifications : sequence of float
        One.
    options : NICOptions

    Raises
    ------
    ModelError
        If crops are too small for the convolutions, or predictions are of views that training has not seen.
    """

    name = "nic"
    explained_layer = "conv1"
    options: NICOptions

    def __init__(
        self,
        in_features: int = 128,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: NICOptions = NICOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        self.network = NICNet(
            in_features, classes, options.width, options.strides, options.padding, options.dropout
        )
        if options.region < self.network.smallest:
            raise ModelError(
                f"crops of {options.region} patches are too small for {len(options.strides)} convolutions "
                f"with valid padding, which need {self.network.smallest}; choose padding=same, a larger "
                "region or fewer strides of 2"
            )

    @property
    def heads(self) -> tuple[str, ...]:
        return ("activation",)

    def patches_needed(self, counts: tuple[int, ...], ratios: tuple[int, ...]) -> tuple[int, ...]:
        """Each patch in each view that a prediction is averaged over."""
        return tuple(count * self.options.tested for count in counts)

    @property
    def reads_all(self) -> bool:
        return True

    def steps(self, grid: PatchGrid) -> Pass:
        if self.training:
            return self._output(self.network((yield from self._drawn(grid))))
        return (yield from self._predicted(grid.levels[0]))

    def outputs(self, bags: Sequence[Bag]) -> list[MILOutput]:
        """Crops of all slides are one batch, which batch normalisation is over."""
        if not self.training:
            return super().outputs(bags)
        found = self.network(torch.cat([self._crops_of(bag) for bag in bags]))
        return [self._output(one) for one in found.split(self.options.crops)]

    def losses(self, output: MILOutput, target: Tensor, progress: float) -> dict[str, Tensor]:
        """Crops of a slide are examples of their own."""
        if not isinstance(output, CropOutput) or output.crops is None:
            return super().losses(output, target, progress)
        return {"bag": torch.stack([self.task.loss(one, target) for one in output.crops]).mean()}

    @staticmethod
    def _output(crops: Tensor) -> CropOutput:
        return CropOutput(crops.mean(0), crops=crops)

    def _crops_of(self, bag: Bag) -> Tensor:
        self.check(bag)
        device = next(self.parameters()).device
        drawn = self._drawn(bag.grid)
        return drain(drawn, lambda need: self.fitting(answer(bag, need), need).to(device))  # type: ignore[arg-type,return-value]

    def _drawn(self, grid: PatchGrid) -> Generator[Need, Tensor, Tensor]:
        """(T, C, R, R) crops of a slide, drawn and turned at random."""
        lattice, edge = grid.levels[0].lattice, self.options.region
        weights = crop_weights(lattice) if self.options.sampling == "distance" else np.ones(len(lattice))
        middles = torch.multinomial(torch.from_numpy(weights), self.options.crops, replacement=True)
        several = self.options.views > 1
        turns = torch.randint(self.options.views if several else VARIANTS, (self.options.crops,))
        found = []
        for middle, turn in zip(middles.tolist(), turns.tolist(), strict=True):
            place = lattice[middle] - edge // 2
            rows = inside(lattice, place, edge)
            features = yield Need(0, rows, variant=turn if several else 0)
            found.append(turned_image(_crop(features, lattice[rows], place, (edge, edge)), turn))
        return torch.stack(found)

    def _predicted(self, patches: PatchLevel) -> Pass:
        lattice, edge = patches.lattice, self.options.region
        rows = np.arange(len(lattice))
        places = spread(lattice, edge, self.options.test_crops)
        found, unturned = [], None
        for view in range(self.options.tested):
            features = yield Need(0, rows, variant=view)
            unturned = features if unturned is None else unturned
            for place in places:
                own = inside(lattice, place, edge)
                image = _crop(features[torch.from_numpy(own)], lattice[own], place, (edge, edge))
                found.append(self._answer(turned_image(image, view)[None]))
        assert unturned is not None
        unturned = unturned.detach().requires_grad_(torch.is_grad_enabled())
        logits, planes, scores = self._seen(unturned, patches)
        mean = torch.cat(found).mean(0)
        return MILOutput(
            mean + (logits - logits.detach()),  # the value of the mean, and the gradient of both
            (Step(0, rows, scores, pooling=None),),
            planes,
        )

    def _answer(self, image: Tensor) -> Tensor:
        """(1, C) logits of a crop; a graph keeps the crop alone, since many do not fit into memory."""
        kept = torch.is_grad_enabled()
        told: Tensor = checkpoint(self.network, image, use_reentrant=False) if kept else self.network(image)
        return told

    def _seen(self, features: Tensor, patches: PatchLevel) -> tuple[Tensor, tuple[Plane, ...], Tensor]:
        """A pass over the whole slide: logits, (C,); planes; and (N, 1) activations of patches."""
        place, shape = whole(patches.lattice, self.options.region, int(np.prod(self.options.strides)))
        image, layers = _crop(features, patches.lattice, place, shape), []
        for convolution in self.network.convolutions:
            image = convolution(image[None])[0]  # planes have no axis of a batch, and are on the graph
            layers.append(image)
        stride, size = np.asarray(patches.stride), np.asarray(patches.size)
        # Where patches overlap, a place of the lattice lies around the middle of its patch.
        corner = patches.origins[0] - patches.lattice[0] * stride + (size - stride) / 2
        planes = tuple(
            Plane(
                layer,
                tuple(corner + (np.asarray(place) + begin) * stride),
                tuple(cell * stride),
                patches.magnification,
                f"conv{number}",
                seen=covered(patches.lattice - np.asarray(place), begin, cell, layer.shape[1:]),
            )
            for number, (layer, (begin, cell)) in enumerate(zip(layers, self.network.cells, strict=True), 1)
        )
        length = torch.linalg.vector_norm(layers[0].detach(), dim=0)
        begin, cell = self.network.cells[0]
        at = np.floor((patches.lattice - np.asarray(place) + 0.5 - begin) / cell).astype(np.int64)
        at = at.clip(0, np.asarray(length.shape) - 1)
        return self.network.answer(image[None])[0], planes, length[at[:, 0], at[:, 1], None]


def _crop(features: Tensor, lattice: NDArray[np.int64], place: NDArray[np.int64], shape: Place) -> Tensor:
    return as_image(features, lattice, box=((int(place[0]), int(place[1])), shape))[0]

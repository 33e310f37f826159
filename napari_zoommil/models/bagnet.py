"""BagNet on an image: small objects in large images (Pawlowski et al. 2020, Needles in Haystacks)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from napari_zoommil.bags.need import NeedImage
from napari_zoommil.encoders.device import require_room
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Pair, PatchGrid
from napari_zoommil.models.blocks.bagnet import BagNet
from napari_zoommil.models.blocks.receptive_field import Field
from napari_zoommil.models.entries_image import BagNetOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Pass, Plane
from napari_zoommil.slides.image_grid import image_shape


class ImageBagNet(MILModel):
    """logits = W pool(E(image)) + b, where E sees no more than its receptive field at each place.

    The last of its planes has the evidence: what each place adds to each logit. Over all places it sums to
    the logits without the bias, for each pooling. For the mean it is W e / n, and with attention a W e: what
    the classifier makes of the place alone, times its share. For the maximum, a channel counts where it is
    largest: most places of a large image have no evidence, and without a place another one takes over its
    channels. For the logarithm of summed exponentials, places share each channel as its softmax.

    With instance normalisation, a place also depends on the mean and variance of each channel over the
    image: the same object has another evidence in another image.

    Parameters
    ----------
    in_features : int
        3, the colours of a pixel.
    classes : int
    magnifications : sequence of float
        One; :data:`~napari_zoommil.geometry.NATIVE` if it was trained on images whose pixel size is unknown.
    options : BagNetOptions
    """

    name = "bagnet"
    reads_images = True
    options: BagNetOptions

    def __init__(
        self,
        in_features: int = 3,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: BagNetOptions = BagNetOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        self.network = BagNet(
            in_features,
            classes,
            options.receptive_field,
            options.width,
            options.blocks,
            options.strides,
            options.norm,
            options.pooling,
            options.attention,
            options.compensate,
        )

    @property
    def heads(self) -> tuple[str, ...]:
        return ()

    def steps(self, grid: PatchGrid) -> Pass:
        need = NeedImage.of(grid)
        self._require(*image_shape(grid))
        pixels = yield need
        image = (pixels.float() / 127.5 - 1)[None]
        if self.training:
            return MILOutput(self.network(image)[0])
        scale = need.box.height / pixels.shape[1], need.box.width / pixels.shape[2]
        values, planes = image, []
        for (name, layer), field in zip(self.network.layers().items(), self.network.fields, strict=True):
            activation = layer(values)[0]
            values = activation[None]  # so that gradients reach what stands in the plane
            planes.append(Plane(activation, *_place(field, need, scale), need.magnification, name))
            if not torch.is_grad_enabled():
                planes = planes[-1:]  # the others are as large as the image
        planes[-1] = replace(planes[-1], evidence=self.network.evidence(values.detach())[0])
        return MILOutput(self.network.classify(self.network.pool(values))[0], planes=tuple(planes))

    def _require(self, height: int, width: int) -> None:
        """Refuse an image that is too small, or too large for the memory, before it is read.

        Raises
        ------
        ModelError
        """
        least = self.network.least
        if min(height, width) < least:
            raise ModelError(
                f"an image of {width:,} × {height:,} px is too small for {self.name} with a receptive field "
                f"of {self.network.receptive_field} px: it takes {least} px or more on each side"
            )
        graph = torch.is_grad_enabled()
        require_room(
            self.network.memory(height, width, graph),
            next(self.parameters()).device,
            f"{'training on or explaining' if graph else 'predicting over'} an image of {width:,} × "
            f"{height:,} px with {self.name}",
            "give a smaller region or a lower magnification",
        )


def _place(field: Field, need: NeedImage, scale: Pair) -> tuple[Pair, Pair]:
    """Level-0 origin and downsample of a layer's values."""
    origin = need.box.y + field.offset * scale[0], need.box.x + field.offset * scale[1]
    return origin, (field.stride * scale[0], field.stride * scale[1])

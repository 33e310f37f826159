"""An encoder: a network with the pre-processing it was trained with, identified by a hash."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.encoders.device import autocast

LARGEST_BATCH = 256
"""Most patches in one forward pass; more take memory and are not faster."""

LARGEST_BATCH_CPU = 8
"""The same without a GPU: more do not fit into the processor's caches and take up to twice the time."""


@dataclass(frozen=True)
class Preprocessing:
    """Converts uint8 patches to the input of a network, on the device, batch by batch.

    Attributes
    ----------
    size : int or None
        Edge of the input, px; None for patches of any size.
    mean, std : (float, float, float)
        Normalisation of RGB in [0, 1].
    interpolation : str
        Interpolation mode for patches of another size.
    """

    size: int | None = None
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"

    def __call__(self, patches: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 → (B, 3, size, size) float32, channels last in memory."""
        images = patches.permute(0, 3, 1, 2).float()
        if self.size is not None and images.shape[-1] != self.size:
            shape = (self.size, self.size)
            if self.interpolation == "area":
                images = F.interpolate(images, shape, mode="area")
            else:
                images = F.interpolate(images, shape, mode=self.interpolation, antialias=True).clamp(0, 255)
        mean = images.new_tensor(self.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.std).view(1, 3, 1, 1)
        return images.div_(255).sub_(mean).div_(std)


class Encoder:
    """Maps patches to embeddings on one device.

    Parameters
    ----------
    name : str
        Name by which it is loaded.
    network : nn.Module
        (B, 3, h, w) float32 → (B, D).
    preprocessing : Preprocessing
    dim : int
        D, features per patch.
    licence : str
        Licence of the weights.
    half : bool
        Whether to use half precision; for tiny networks it is not faster.
    known_hash : str, optional
        Hash of a network from a file, whose weights may be constants in its code.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        preprocessing: Preprocessing,
        dim: int,
        licence: str = "",
        half: bool = True,
        known_hash: str | None = None,
    ) -> None:
        self.name = name
        for weight in network.parameters():  # TorchScript modules have no requires_grad_ of their own
            weight.requires_grad_(False)
        self.network = network.eval().to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.dim = dim
        self.licence = licence
        self.half = half
        self.device = torch.device("cpu")
        self.hash = known_hash or weights_hash(network, preprocessing)

    def to(self, device: torch.device) -> Encoder:
        self.network.to(device)
        self.device = device
        return self

    @property
    def at_once(self) -> int:
        """Most patches in one forward pass."""
        return LARGEST_BATCH_CPU if self.device.type == "cpu" else LARGEST_BATCH

    @torch.inference_mode()
    def __call__(self, patches: NDArray[np.uint8] | Tensor) -> Tensor:
        """Embed a batch.

        Parameters
        ----------
        patches : (B, H, W, 3) uint8

        Returns
        -------
        (B, D) float32 on the encoder's device. A batch too large for the device is halved until it fits.
        """
        parts = torch.as_tensor(patches).split(self.at_once)
        return torch.cat([self._within_memory(part) for part in parts])

    def _within_memory(self, batch: Tensor) -> Tensor:
        try:
            return self._embed(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        torch.cuda.empty_cache()
        middle = len(batch) // 2
        return torch.cat([self._within_memory(batch[:middle]), self._within_memory(batch[middle:])])

    def _embed(self, batch: Tensor) -> Tensor:
        images = self.preprocessing(batch.to(self.device, non_blocking=True))
        if not self.half:
            return self.network(images).float()
        with autocast(self.device):
            return self.network(images).float()

    def multiply_adds(self, patch_size: int) -> int:
        """Multiply-accumulate operations per patch."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self._embed(torch.zeros(1, patch_size, patch_size, 3, dtype=torch.uint8))
        return counter.get_total_flops() // 2


def weights_hash(network: nn.Module, preprocessing: Preprocessing) -> str:
    """16 hexadecimal digits from weights and pre-processing; features of different hashes are never mixed."""
    digest = hashlib.sha256(repr(sorted(asdict(preprocessing).items())).encode())
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]

"""Random changes of patches, each patch of a batch by itself, on the device (Tellez et al. 2019, sec.
2.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from skimage.color import hed_from_rgb, rgb_from_hed
from torch import Tensor

from napari_zoommil.training.encoders.recipe import Augmentation
from napari_zoommil.training.lighting import relit, uniform

ELASTIC_GRID = 4
"""Displacements of an elastic deformation are drawn on a grid of this many cells and interpolated."""


def augmented(images: Tensor, how: Augmentation) -> Tensor:
    """Changed images; random numbers are torch's global ones.

    Parameters
    ----------
    images : (B, c, h, w)
        In [0, 1]. Stains are changed of three colours only.
    how : Augmentation

    Returns
    -------
    (B, c, h, w)
        In [0, 1]; what a rotation brings in from outside is mirrored.
    """
    if how.rotation or how.elastic or how.zoom != (1, 1):
        grid = _grid(images, how)
        images = F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
    if how.stain and images.shape[1] == 3:
        images = _restained(images, how.stain)
    if how.contrast or how.brightness:
        images = relit(images, how.brightness, how.contrast)
    if how.noise:
        images = images + uniform(images, 0, how.noise) * torch.randn_like(images)
    return images.clamp(0, 1)


def _grid(images: Tensor, how: Augmentation) -> Tensor:
    """(B, h, w, 2) places to read each pixel at, for ``grid_sample``."""
    count, device = len(images), images.device
    angle = 2 * math.pi * torch.rand(count, device=device) * how.rotation
    mirrored = 1 - 2 * ((torch.rand(count, device=device) < 0.5) & how.rotation).float()
    scale = 1 / uniform(images, *how.zoom).view(count)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([torch.stack([cos * mirrored, -sin], 1), torch.stack([sin * mirrored, cos], 1)], 1)
    grid = F.affine_grid(F.pad(rows, (0, 1)), list(images.shape), align_corners=False)
    if how.elastic:
        drawn = 2 * how.elastic * torch.randn(count, 2, ELASTIC_GRID, ELASTIC_GRID, device=device)
        smooth = F.interpolate(drawn, images.shape[2:], mode="bicubic", align_corners=False)
        grid = grid + smooth.permute(0, 2, 3, 1)
    return grid


def _restained(images: Tensor, sd: float) -> Tensor:
    """Haematoxylin, eosin and the residual scaled and shifted, in optical density (Tellez et al. 2018)."""
    to_stains = torch.as_tensor(hed_from_rgb, dtype=images.dtype, device=images.device)
    to_rgb = torch.as_tensor(rgb_from_hed, dtype=images.dtype, device=images.device)
    density = -torch.log(images.clamp(min=1 / 256)).permute(0, 2, 3, 1) @ to_stains
    factor, offset = (sd * torch.randn(len(images), 1, 1, 3, device=images.device) for _ in range(2))
    changed = density * (1 + factor) + offset / 5
    return torch.exp(-(changed @ to_rgb)).permute(0, 3, 1, 2)

"""Random changes of the brightness and contrast of images, for trainings of encoders and of models."""

from __future__ import annotations

import torch
from torch import Tensor


def relit(images: Tensor, brightness: float, contrast: float) -> Tensor:
    """Images with another contrast around their mean, then another brightness.

    Random numbers are torch's global ones.

    Parameters
    ----------
    images : (B, c, h, w)
    brightness, contrast : float
        Largest relative change; each image has factors of its own.

    Returns
    -------
    (B, c, h, w)
        Not clipped.
    """
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * uniform(images, 1 - contrast, 1 + contrast) + mean
    return images * uniform(images, 1 - brightness, 1 + brightness)


def uniform(images: Tensor, low: float, high: float) -> Tensor:
    """(B, 1, 1, 1) uniform random numbers, one for each image."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, device=images.device)

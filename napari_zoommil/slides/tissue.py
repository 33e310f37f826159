"""Where the tissue is on a slide overview, and how much of it each patch holds.

scipy and scikit-image are imported inside functions, so that opening a slide does not load them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

DEFAULT_MPP = 8.0
"""Resolution to read an overview at, µm/px."""

_WORK_MPP = 8.0  # finer overviews are reduced to about this
_WORK_PIXELS = 2e6  # larger ones too, for speed
_WORK_EDGE = 128  # but not to an edge shorter than this, px: a single patch must work too
_DIMMEST_GLASS = 208.0  # grey
_SAMPLE = 200_000  # pixels sampled to find the colour of the glass
_DEFAULT_WHITE = 243.0  # glass on a typical scanner; used if no glass is found
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma
_MAX_ROUNDS = 20


@dataclass(frozen=True)
class TissueDetector:
    """Tissue by its contrast to the glass, tight around it.

    The smoothed grey overview is thresholded by Otsu's method. Darker pixels are kept and dilated,
    and the rest is thresholded again until its mean grey is that of glass; pale tissue is so found
    after dark tissue (as in :class:`~napari_zoommil.slides.tissue_published.GaussianTissueDetector`).
    A pixel counts as tissue only if it is darker or more coloured than the glass by a set amount
    (noise on an empty slide is no tissue), and felt pen is removed by its colour.

    Parameters
    ----------
    sigma_um
        Standard deviation of the Gaussian smoothing, µm.
    dilate_um
        Radius by which the tissue of each round grows, µm.
    min_area_um2, min_hole_um2
        Smaller components are removed and smaller holes are filled, µm². Both are limited to a
        twentieth of the overview's area.
    background_grey
        The rounds end when the mean grey (0 to 255) of the remaining background reaches this.
    min_contrast
        Least difference in grey level between the glass and colourless tissue.
    min_chroma
        Least difference between the largest and the smallest channel, relative to the glass, at
        which a pixel counts as stained, even if it is pale.
    reject_pens
        Remove green, blue, red and black pen, and black borders. Turn it off for purely blue or green
        stains, such as Alcian blue. Pale red pen has the colour of eosin and is not removed.
    """

    sigma_um: float = 10.0
    dilate_um: float = 8.0
    min_area_um2: float = 10_000.0
    min_hole_um2: float = 10_000.0
    background_grey: float = 228.0
    min_contrast: float = 25.0
    min_chroma: float = 6.0
    reject_pens: bool = True

    def __call__(self, rgb: NDArray[np.uint8], mpp: float) -> Mask:
        """Tissue mask of an overview.

        Parameters
        ----------
        rgb
            Overview, uint8 (h, w, 3).
        mpp
            Its resolution, µm/px; `DEFAULT_MPP` or finer is best.

        Returns
        -------
        Bool (h, w), True on tissue.

        Raises
        ------
        ValueError
            If `rgb` is not uint8 (h, w, 3) with at least one pixel, or `mpp` is not positive.
        """
        return detected(rgb, mpp, self._detect)

    def _detect(self, rgb: Floats, mpp: float) -> Mask:
        """Tissue mask (h, w) of a reduced float RGB overview (h, w, 3)."""
        from scipy.ndimage import gaussian_filter

        planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
        white = _white(planes)
        smooth = np.stack([gaussian_filter(plane, self.sigma_um / mpp) for plane in planes])
        pen = _pen(smooth, white, mpp) if self.reject_pens else np.zeros(rgb.shape[:2], bool)
        tissue = self._rounds(smooth, white, pen, mpp)
        pixel_area = mpp**2
        cap = rgb.shape[0] * rgb.shape[1] / 20
        tissue = without_small(tissue, min(self.min_area_um2 / pixel_area, cap))
        filled = ~without_small(~tissue, min(self.min_hole_um2 / pixel_area, cap))
        return filled & ~pen

    def _rounds(self, smooth: Floats, white: Floats, pen: Mask, mpp: float) -> Mask:
        """Repeat threshold and dilation until the mean grey of the rest is that of glass."""
        grey = luma(smooth)
        relative = smooth * (255 / white[:, None, None])
        chroma = relative.max(0) - relative.min(0)
        candidate = (grey <= luma(white) - self.min_contrast) | (chroma >= self.min_chroma)
        tissue = np.zeros(pen.shape, bool)
        for _ in range(_MAX_ROUNDS):
            rest = ~(tissue | pen)
            found = rest & candidate
            if not found.any():
                break
            found &= grey <= _split(grey[rest], self.min_contrast)
            if not found.any():
                break
            tissue |= _dilated(found, self.dilate_um / mpp)
            rest &= ~tissue
            if not rest.any() or grey[rest].mean() >= self.background_grey:
                break
        return tissue & ~pen


def detected(rgb: NDArray[np.uint8], mpp: float, detect: Callable[[Floats, float], Mask]) -> Mask:
    """Tissue mask of an overview by ``detect(small, mpp)``, which is given it at about :data:`DEFAULT_MPP`.

    Parameters
    ----------
    rgb : (h, w, 3) uint8
    mpp : float
        µm/px
    detect : callable
        Takes float32 (h', w', 3) and its resolution; returns bool (h', w').

    Raises
    ------
    ValueError
        If ``rgb`` is not uint8 (h, w, 3) with at least one pixel, or ``mpp`` is not positive.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"expected a uint8 (h, w, 3) overview, got {rgb.dtype} {rgb.shape}")
    if not mpp > 0:
        raise ValueError(f"expected a positive resolution in µm/px, got {mpp}")
    height, width = rgb.shape[:2]
    factor = _reduction(height, width, mpp)
    small = np.asarray(Image.fromarray(rgb).reduce(factor), np.float32)
    mask = detect(small, mpp * factor)
    return mask.repeat(factor, 0).repeat(factor, 1)[:height, :width]


def tissue_share(mask: Mask, origins: NDArray[np.floating], size: tuple[float, float]) -> NDArray[np.float32]:
    """Share of each box that is True in the mask.

    Parameters
    ----------
    mask
        Bool (h, w).
    origins
        Top-left corners, float (n, 2) as (y, x), mask pixels. Fractions of pixels count; area
        outside the mask counts as background.
    size
        Height and width of every box, mask pixels.

    Returns
    -------
    Float32 (n,), 0 to 1.

    Raises
    ------
    ValueError
        If `size` is not positive.
    """
    height, width = size
    if not (height > 0 and width > 0):
        raise ValueError(f"expected boxes of a positive size, got {height} x {width}")
    integral = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    integral[1:, 1:] = mask.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int64)
    top, left = np.asarray(origins, float).reshape(-1, 2).T
    bottom, right = top + height, left + width
    inside = (
        _at(integral, bottom, right)
        - _at(integral, top, right)
        - _at(integral, bottom, left)
        + _at(integral, top, left)
    )
    return (inside / (height * width)).clip(0, 1).astype(np.float32)


def _reduction(height: int, width: int, mpp: float) -> int:
    """Integer factor by which an overview is reduced before detection."""
    wanted = max(_WORK_MPP / mpp, math.ceil(math.sqrt(height * width / _WORK_PIXELS)))
    return max(1, int(min(wanted, min(height, width) / _WORK_EDGE)))


def _at(integral: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral image at fractional points, clamped; linear interpolation is exact within a pixel."""
    from scipy.ndimage import map_coordinates

    return map_coordinates(integral, [y, x], order=1, mode="nearest")


def luma(rgb: Floats) -> Floats:
    """Grey (...) of channels-first RGB (3, ...)."""
    return np.tensordot(_GREY_WEIGHTS, rgb, 1)


def _split(grey: Floats, min_contrast: float) -> float:
    """Threshold between dark and bright grey levels; infinite if there is only one population."""
    from skimage.filters import threshold_otsu

    levels = grey.astype(np.uint8)
    if levels.min() == levels.max():
        return np.inf
    threshold = float(threshold_otsu(levels)) + 1  # levels were rounded down
    dark = grey <= threshold
    if dark.all() or grey[~dark].mean() - grey[dark].mean() < min_contrast:
        return np.inf
    return threshold


def _white(planes: Floats) -> Floats:
    """Colour (3,) of the glass: the most frequent bright, nearly colourless one.

    Not the brightest, because some scanners fill unscanned areas with 255. Measured before smoothing,
    because smoothing mixes the lumina of fat with their walls.
    """
    sample = planes.reshape(3, -1)[:, :: max(1, planes[0].size // _SAMPLE)]
    grey = luma(sample)
    red, green, blue = sample
    magenta = (red + blue) / 2 - green  # pale eosin has it; tinted glass is yellow, green or blue
    bright = (grey >= _DIMMEST_GLASS) & (np.ptp(sample, axis=0) < 24) & (magenta < 10)
    if np.count_nonzero(bright) < 1e-3 * bright.size:
        return np.full(3, _DEFAULT_WHITE, np.float32)
    levels = grey.astype(np.uint8)
    commonest = np.bincount(levels[bright]).argmax()
    return np.median(sample[:, levels == commonest], axis=1)


def _pen(smooth: Floats, white: Floats, mpp: float) -> Mask:
    """Mask of felt pen and black borders, by the ratios of the channels' optical densities.

    Haematoxylin, eosin and DAB absorb green at least about as much as red; green and blue ink do not.
    Red ink absorbs blue as much as green but no red, eosin absorbs less blue, DAB more red. Clear
    marks are found first and then extended to their pale rims. The thresholds of the rims exclude all
    three stains, so that one dark speck does not mark the tissue around it as pen.
    """
    from scipy.ndimage import binary_propagation

    red, green, blue = -np.log10((smooth + 1) / (white[:, None, None] + 1))
    brightest = smooth.max(0)
    clear = (red > 1.4 * green) & (red > 0.15)
    clear |= (red < 0.35 * green) & (blue > 0.85 * green) & (green > 0.15)
    clear |= brightest < 60
    clear = without_small(clear, 2_000 / mpp**2)
    if not clear.any():
        return clear
    faint = (red > 1.2 * green) & (red > 0.04)
    faint |= (red < 0.45 * green) & (blue > 0.75 * green) & (blue < 1.2 * green) & (green > 0.03)
    faint |= brightest < 80
    pen = binary_propagation(clear, mask=clear | faint)
    return _dilated(pen, 30 / mpp)


def _dilated(mask: Mask, radius_px: float) -> Mask:
    """The mask dilated by a disk."""
    from skimage.morphology import dilation, disk

    radius = int(radius_px + 0.5)
    return dilation(mask, disk(radius, decomposition="sequence")) if radius else mask


def without_small(mask: Mask, min_pixels: float) -> Mask:
    """The mask without 4-connected components of fewer than ``min_pixels`` pixels."""
    from scipy.ndimage import label

    labels, _ = label(mask)
    keep = np.bincount(labels.ravel()) >= min_pixels
    keep[0] = False
    return keep[labels]

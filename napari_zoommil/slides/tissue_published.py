"""The tissue detector of ZoomMIL's experiments, and all detectors by name.

scipy and scikit-image are imported inside functions, so that opening a slide does not load them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import JobError
from napari_zoommil.slides.tissue import Floats, Mask, TissueDetector, detected, luma

WHITE = 255.0

MOST_ROUNDS = 20


@dataclass(frozen=True)
class GaussianTissueDetector:
    """Gaussian tissue detector of ZoomMIL's experiments (Thandiackal et al. 2022, sec. 4.2; its code).

    Pixels of little saturation (Otsu) are made white. The inverted grey of what is not yet tissue is smoothed
    and thresholded (Otsu), what is above is tissue and grows by a square, and so on until the rest has the
    mean grey of glass. It is generous: with the published sizes, tissue grows by up to 400 µm into the glass,
    and it knows neither empty slides nor pen.

    Parameters
    ----------
    sigma_um : float
        Standard deviation of the smoothing, µm.
    kernel_um : float
        Edge of the square, µm.
    background_grey : float
        Mean grey (0 to 255) of the rest at which the rounds end.
    """

    sigma_um: float
    kernel_um: float
    background_grey: float = 228.0

    def __call__(self, rgb: NDArray[np.uint8], mpp: float) -> Mask:
        """Tissue mask of an overview, see :class:`~napari_zoommil.slides.tissue.TissueDetector`."""
        return detected(rgb, mpp, self._detect)

    def _detect(self, rgb: Floats, mpp: float) -> Mask:
        from scipy.ndimage import binary_dilation, gaussian_filter

        grey = luma(np.moveaxis(_whitened(rgb), -1, 0))
        edge = max(1, round(self.kernel_um / mpp))
        tissue = np.zeros(grey.shape, bool)
        for _ in range(MOST_ROUNDS):
            rest = ~tissue
            smooth = gaussian_filter(np.where(tissue, 0, WHITE - grey), self.sigma_um / mpp)
            found = rest & (smooth > _otsu(smooth[rest]))
            if not found.any():
                break
            for axis in range(2):  # a square is two lines
                line = np.ones((edge, 1) if axis == 0 else (1, edge), bool)
                found = binary_dilation(found, line)
            tissue |= found
            if tissue.all() or grey[~tissue].mean() >= self.background_grey:
                break
        return tissue


def _whitened(rgb: Floats) -> Floats:
    """Pixels whose saturation is below Otsu's threshold made white."""
    from skimage.color import rgb2hsv

    saturation = rgb2hsv(rgb / WHITE)[..., 1]
    return np.where((saturation <= _otsu(saturation))[..., None], np.float32(WHITE), rgb)


def _otsu(values: NDArray[np.floating]) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values)) if np.ptp(values) > 0 else np.inf


Detector = TissueDetector | GaussianTissueDetector

DEFAULT = "contrast"

DETECTORS: Mapping[str, Detector] = {
    DEFAULT: TissueDetector(),
    # Published in px of an overview of 8 µm/px: of 10x reduced 8 times, 5x 4 times, and 1.25x.
    "gaussian-camelyon16": GaussianTissueDetector(sigma_um=160, kernel_um=800),
    "gaussian-crc": GaussianTissueDetector(sigma_um=80, kernel_um=56),
    "gaussian-bright": GaussianTissueDetector(sigma_um=160, kernel_um=800),
}
"""Ours, and that of ZoomMIL's experiments with the parameters of each data set."""


def detector_of(name: str) -> Detector:
    """A tissue detector by name.

    Raises
    ------
    JobError
        If there is no such detector.
    """
    if name not in DETECTORS:
        raise JobError(f"there is no tissue detector {name!r}; choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name]

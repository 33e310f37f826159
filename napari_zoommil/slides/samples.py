"""Sample slides: a synthetic one made on the first call, and a real one that is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_zoommil.errors import SlideError, ZoomMILError
from napari_zoommil.resources import cache_folder
from napari_zoommil.synthetic import SyntheticSlide

SAMPLE_SEED = 5
SAMPLE_SIZE = 20_480

CMU_1_URL = "https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/CMU-1.svs"
CMU_1_SHA256 = "00a3d54482cd707abf254fe69dccc8d06b8ff757a1663f1290c23418c480eb30"


def sample() -> SyntheticSlide:
    """The parameters of the synthetic sample slide; they tell where its tumour is."""
    return SyntheticSlide(SAMPLE_SEED, SAMPLE_SIZE)


def synthetic_slide(folder: Path | None = None, progress: Callable[[int, int], None] | None = None) -> Path:
    """The synthetic sample, 20,480 × 20,480 px at 40x; written on the first call.

    Parameters
    ----------
    folder : Path, optional
        Where to write it; the user's cache by default.
    progress : callable, optional
        Called with (done, total) during writing; may raise an exception to cancel.
    """
    path = (folder or cache_folder()) / f"synthetic-tumour-{SAMPLE_SEED}.tif"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        sample().write(path, progress=progress)
    return path


def cmu_1(folder: Path | None = None, progress: Any = None) -> Path:
    """CMU-1 of OpenSlide's test data (CC0): Aperio, 46,000 × 32,914 px at 20x; 170 MB, downloaded once.

    Parameters
    ----------
    folder : Path, optional
        Where to write it; the user's cache by default.
    progress : object, optional
        A progress bar for :class:`pooch.HTTPDownloader`; may raise a :class:`ZoomMILError` to cancel.

    Raises
    ------
    SlideError
        If the download fails or its checksum is wrong.
    """
    import pooch

    try:
        found = pooch.retrieve(
            CMU_1_URL,
            f"sha256:{CMU_1_SHA256}",
            "CMU-1.svs",
            folder or cache_folder(),
            progressbar=progress or False,
        )
    except ZoomMILError:
        raise
    except Exception as error:  # pooch does not wrap the exceptions of its transport
        raise SlideError(
            f"CMU-1.svs could not be downloaded from openslide.cs.cmu.edu ({type(error).__name__}); "
            "check the network, or open the synthetic sample"
        ) from error
    return Path(found)

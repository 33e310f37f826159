"""Statistics of what the shipped cell models were trained on, without training them again.

They are of the colour and texture of the same free tiles and synthetic tissue; slides, labelled tiles and
texture banks are held out as a whole.

    python -m napari_zoommil.experiments.shipped.cell_familiarity --data DIR --models resources/models
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from napari_zoommil.cells.compared import PATCH_PX, image_statistics
from napari_zoommil.cells.spec import read_cell_spec
from napari_zoommil.experiments.data.nuclei import read_tiles
from napari_zoommil.experiments.shipped.cell_data import sections, synthetic_tiles
from napari_zoommil.experiments.shipped.cell_tiles import HELD_OUT_UM, resampled, rescaled
from napari_zoommil.experiments.shipped.stain_colours import restained, tissue_colours
from napari_zoommil.experiments.shipped.unlabelled import FEWEST, SLIDE, free_tiles, sure
from napari_zoommil.model_folder import keep_familiarity
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.synthetic.nuclei import UM_PER_PX

MODELS = ("yollo", "unet")
BANKS = (1, 2, 3)
COPIES = 2
"""Of each tile in the colours of other tissue."""


def training_images(folder: Path, mpp: float) -> Iterator[tuple[str, RGB]]:
    """(group, image) at a resolution, from ``nuclei/dsb2018``, ``tiles`` and a slide below a folder."""
    rng = np.random.default_rng(0)
    tissue = list(_tissue(folder, mpp))
    styles = tissue_colours([image for _, image in tissue])
    yield from tissue
    for tile in sections(read_tiles(folder / "nuclei" / "dsb2018")):
        image = rescaled(tile, HELD_OUT_UM / mpp).image
        for copy in (image, *(restained(image, styles, rng) for _ in range(COPIES))):
            yield tile.name, copy
    for tile in synthetic_tiles(BANKS, seed=1):
        yield f"bank {tile.name.split()[-3]}", resampled(tile, UM_PER_PX / mpp).image


def _tissue(folder: Path, mpp: float) -> Iterator[tuple[str, RGB]]:
    """What the models are trained on without labels: tiles with nuclei, and a slide."""
    for slide, image in free_tiles(folder, mpp):
        if min(image.shape[:2]) >= PATCH_PX and len(np.unique(sure(image, mpp))) > FEWEST + 1:
            yield slide, image
    path = folder / "slides" / SLIDE
    if path.is_file():
        with Slide.open(path) as slide_file:
            own, shape = slide_file.resolution(), slide_file.shape
            size = round(shape[0] * own[0] / mpp), round(shape[1] * own[1] / mpp)
            yield SLIDE, slide_file.read(0, 0, *size, mpp)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with nuclei, tiles and slides")
    parser.add_argument("--models", type=Path, required=True, help="folder of the model folders")
    args = parser.parse_args()
    for name in MODELS:
        mpp = read_cell_spec(args.models / name).mpp
        known = image_statistics(training_images(args.data, mpp), mpp, many_kinds=True)
        if known is None:
            raise SystemExit(f"{args.data} has too few images with patches of {PATCH_PX} px")
        keep_familiarity(args.models / name, known)
        shares = np.round(np.quantile(known.shares, (0.5, 0.9, 0.975)), 3).tolist()
        print(f"{name}: shares of held-out images (median, 90 %, 97.5 %) {shares}, limit {known.limit:.2f}")


if __name__ == "__main__":
    main()

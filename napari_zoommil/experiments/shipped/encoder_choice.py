"""Which encoder ships: candidates compared by linear probes, and by the demo that is trained on them.

    python -m napari_zoommil.experiments.shipped.encoder_choice nic FOLDER ... --data FOLDER --out choice.json
    python -m napari_zoommil.experiments.shipped.encoder_choice nic FOLDER --demo WORK --out demo.json

A candidate is the name of an encoder, or a folder that ``train-encoder`` made. Beside them stand two
controls: the shipped network with random weights, and mean and standard deviation of each colour.

The choice is not made on what is tested afterwards: nuclei are those of training patients, some of whom are
held out here; the demo is judged on its validation slides, on which its epoch is chosen too. The tiles of
``organs`` are no such data: candidates may have been trained on them, without labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.encoders import load_encoder
from napari_zoommil.encoders.encoder import Encoder
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.data.cell_types import (
    LabelledPatches,
    cut,
    data_folder,
    left_out,
    read_cells,
    read_tiles,
    split_patients,
)
from napari_zoommil.experiments.shipped.demo_model import DemoRecipe, fit, judge, write_cohort
from napari_zoommil.experiments.shipped.nic_encoder import (
    CODE,
    TEST_TEXTURES,
    TRAIN_TEXTURES,
    labelled_patches,
)
from napari_zoommil.files import write_json
from napari_zoommil.model_card import markdown_table
from napari_zoommil.training.encoders.probe import Probe, colour_statistics, linear_probe

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

CONTROLS = ("untrained", "rgb-mean-sd")

ABOUT = {
    "cells": "nuclei of patients held out of the training patients; no test patient is among them",
    "organs": "tiles that candidates may have been trained on, without labels: not to choose by",
    "synthetic": "slides of other seeds and textures than those trained on; the textures are the tests'",
}
"""What the figures are of."""

ABOUT_DEMO = {"slides": "the demo's validation slides, on which its epoch is chosen too; no test slides"}
ORGAN_PATCH = 128
SYNTHETIC_SLIDES, SYNTHETIC_TEST, PER_SLIDE, FIRST_SEED = 12, 6, 240, 3_000
"""Slides of seeds that no encoder was trained on; those to test have other textures."""


def encode_by(name: str) -> Encode:
    """Codes of a candidate or a control, for patches of any size."""
    if name == "rgb-mean-sd":
        return colour_statistics
    encoder = untrained() if name == "untrained" else load_encoder(name)
    return lambda pixels: np.concatenate(
        [encoder(part).numpy() for part in np.array_split(pixels, max(1, len(pixels) // 256))]
    )


def untrained() -> Encoder:
    """The shipped network with random weights, the same each time."""
    from napari_zoommil.encoders.networks import NICEncoder
    from napari_zoommil.encoders.registry import NIC_PREPROCESSING

    with own_random_numbers(0):
        return Encoder("untrained", NICEncoder(), NIC_PREPROCESSING, 128, half=False)


def probes(names: Sequence[str], root: Path) -> dict[str, dict[str, Any]]:
    """Accuracy of linear classifiers on the codes of each candidate and control.

    Returns
    -------
    dict
        Per encoder ``cells``: four types of nuclei, of patients held out of the training patients, with their
        interval over patients; ``more``: that, less the first encoder's, with the interval of the difference;
        ``organs``: breast or colon, mean and standard deviation over folds of slides that candidates may have
        been trained on without labels; ``synthetic``: tissue type on slides of other textures.
    """
    cells = tuple(resized(part) for part in held_out_of_training(read_cells(root)))
    organs, synthetic = cut(*read_tiles(root), ORGAN_PATCH), synthetic_patches()
    found: dict[str, dict[str, Any]] = {}
    first: Probe | None = None
    for name in (*names, *CONTROLS):
        encode = encode_by(name)
        own = _probe(encode, *cells)
        first = first or own
        folds = [_fold(encode, organs, held) for held in left_out(organs)]
        found[name] = {
            "cells": str(own["accuracy"]),
            "more": str(own.minus(first)) if own is not first else "–",
            "organs": f"{np.mean(folds):.3f} ± {np.std(folds, ddof=1):.3f}",
            "synthetic": str(_probe(encode, *synthetic)["accuracy"]),
        }
        print(name, found[name], flush=True)
    return found


def held_out_of_training(cells: LabelledPatches) -> tuple[LabelledPatches, LabelledPatches]:
    """Nuclei to train on and to choose by: both of training patients."""
    training, _ = split_patients(cells)
    return split_patients(training)


def resized(patches: LabelledPatches) -> LabelledPatches:
    """Patches as large as the input of the shipped network."""
    pixels = [
        np.asarray(Image.fromarray(one).resize((CODE, CODE), Image.Resampling.BILINEAR))
        for one in patches.pixels
    ]
    return LabelledPatches(np.stack(pixels), patches.labels, patches.classes, patches.patients)


def synthetic_patches() -> tuple[LabelledPatches, LabelledPatches]:
    """Patches of synthetic tissue at 5x, 10x and 20x, of two sets of texture banks; patients are slides."""
    parts = []
    for first, count, textures in (
        (FIRST_SEED, SYNTHETIC_SLIDES, TRAIN_TEXTURES),
        (FIRST_SEED + SYNTHETIC_SLIDES, SYNTHETIC_TEST, TEST_TEXTURES),
    ):
        rows = [
            (pixels, kind, seed)
            for seed in range(first, first + count)
            for pixels, kind, _ in labelled_patches(seed, PER_SLIDE, textures[seed % len(textures)])
        ]
        pixels, kinds, slides = zip(*rows, strict=True)
        parts.append(LabelledPatches(np.stack(pixels), np.array(kinds), (), np.array(slides)))
    return parts[0], parts[1]


def _probe(encode: Encode, train: LabelledPatches, test: LabelledPatches) -> Probe:
    return linear_probe(encode(train.pixels), train.labels, encode(test.pixels), test.labels, test.patients)


def _fold(encode: Encode, patches: LabelledPatches, held: tuple[int, ...]) -> float:
    """Accuracy on the slides that were left out; two patients have no interval."""
    out = np.isin(patches.patients, held)
    return _probe(encode, patches.where(~out), patches.where(out))["accuracy"].value


def demos(names: Sequence[str], work: Path) -> dict[str, dict[str, Any]]:
    """Metrics of the demo model on its validation slides, trained on each candidate as the shipped one is."""
    recipe = DemoRecipe()
    table = write_cohort(recipe, work / "slides")
    return {name: judge(recipe, fit(recipe, table, work, name), work, "val") for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "encoders", nargs="+", help="names or folders; the first is what others are compared to"
    )
    parser.add_argument(
        "--data", type=Path, help="folder with nuclei and tiles; $NAPARI_ZOOMMIL_DATA by default"
    )
    parser.add_argument(
        "--demo", type=Path, help="train the demo instead, with slides and features in this folder"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = demos(args.encoders, args.demo) if args.demo else probes(args.encoders, data_folder(args.data))
    write_json(args.out, {"about": ABOUT_DEMO if args.demo else ABOUT, "encoders": found})
    columns = list(next(iter(found.values())))
    print(
        markdown_table(
            ("encoder", *columns), ((name, *map(str, own.values())) for name, own in found.items())
        )
    )


if __name__ == "__main__":
    main()

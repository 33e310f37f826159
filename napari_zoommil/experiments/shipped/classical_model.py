"""Write the classical cell model, which needs no training, with its scores.

python -m napari_zoommil.experiments.shipped.classical_model --out resources/models
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from napari_zoommil.cells.haematoxylin import Haematoxylin
from napari_zoommil.cells.model import save_cell_model
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.experiments.data.nuclei import nuclei_folder
from napari_zoommil.experiments.shipped.cell_evaluation import evaluated, test_sets
from napari_zoommil.experiments.shipped.cell_report import figures_table
from napari_zoommil.experiments.shipped.cell_tiles import NUCLEUS
from napari_zoommil.model_card import model_card

NAME = "haematoxylin"


NOT_FOR = (
    "Not for diagnosis, and not for counts or densities that anybody relies on: it finds what is dark and "
    "blue, also if it is a fold, pigment, ink or a clump of nuclei, and misses pale nuclei. Not for "
    "immunohistochemistry or fluorescence. It does not tell kinds of nuclei apart, and it cannot be "
    "fine-tuned."
)


def card(spec: CellSpec) -> str:
    """Model card for the hub."""
    text = f"""
A classical detector of nuclei (one class, `nucleus`) at {spec.mpp:g} µm/px, to compare with. Stains are
separated (Ruifrok and Johnston 2001) with vectors estimated for each slide (Macenko 2009), or with the
published ones where the estimate is not that of haematoxylin and eosin. Haematoxylin is smoothed and compared
with a threshold: that of Otsu for the slide, shifted with the mean of the neighbourhood. Touching nuclei are
split by a watershed on the distance to the background.

It has three parameters, in `config.json` of a copy of this folder: `smoothing_um`, the standard deviation of
the smoothing; `diameter_um` of the class, of which a fifth of the area is the smallest nucleus and a half the
smallest distance of two; and `threshold`, from 0 to 1 with 0.5 for the threshold above: the slider of the
dock.

## Metrics

F1 over all nuclei of a set, in brackets its mean and standard deviation over tiles: of boxes at an IoU above
0.5, and of centres at most 4 µm apart.

{figures_table(spec.training["figures"])}

Made by `python -m napari_zoommil.experiments.shipped.classical_model`.
"""
    tags = ["cell-detection", "nuclei", NAME]
    title = f"{NAME}: nuclei in H&E without training"
    return model_card(title, text, tags=tags, license="bsd-3-clause", not_for=NOT_FOR)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--data", type=Path, help="folder of nuclei/, by default $NAPARI_ZOOMMIL_DATA")
    args = parser.parse_args()
    network = Haematoxylin()
    spec = CellSpec(NAME, network.config, network.config["mpp"], (NUCLEUS,))
    sets = test_sets(args.data or nuclei_folder().parent.parent, spec.mpp)
    figures = {key: evaluated(network, spec, tiles).summary() for key, tiles in sets.items()}
    spec = replace(spec, training={"figures": figures})
    save_cell_model(args.out / NAME, network, spec, card(spec))


if __name__ == "__main__":
    main()

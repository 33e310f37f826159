"""Detection scores of cell models on tiles with known nuclei, with their spread over tiles.

    python -m napari_zoommil.experiments.shipped.cell_evaluation yollo unet haematoxylin [--out FILE.json]

Sets: ``nuclei/monuseg`` at its resolution, and the test tiles of ``nuclei/dsb2018``, rescaled to the usual
size of nuclei because their resolution is unknown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch

from napari_zoommil.cells.boxes import instance_boxes
from napari_zoommil.cells.haematoxylin import Haematoxylin
from napari_zoommil.cells.metrics import DetectionScore, centre_score, match_boxes
from napari_zoommil.cells.model import CellNetwork, Finds, as_images, find, load_cell_model
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.experiments.data.nuclei import Tile, nuclei_folder, read_tiles
from napari_zoommil.experiments.shipped.cell_data import split_dsb
from napari_zoommil.experiments.shipped.cell_tiles import HELD_OUT_UM, resampled, rescaled
from napari_zoommil.files import write_json
from napari_zoommil.model_card import markdown_table

MONUSEG_MPP = 0.25

REACH_UM = 4.0
"""Largest distance between the centres of a nucleus and of its detection, µm."""


@dataclass(frozen=True)
class TileScore:
    """Scores of a tile: boxes at an IoU above 0.5, and centres within :data:`REACH_UM`."""

    name: str
    box: DetectionScore
    centre: DetectionScore


@dataclass(frozen=True)
class SetScore:
    """Scores of the tiles of a set, and the time of the model for them, s/mm²."""

    tiles: tuple[TileScore, ...]
    seconds_per_mm2: float

    def summary(self) -> dict[str, float]:
        """F1 over all nuclei, and its mean and standard deviation over tiles."""
        values = {"seconds per mm²": self.seconds_per_mm2}
        for kind in ("box", "centre"):
            scores = [getattr(tile, kind) for tile in self.tiles]
            f1 = [score.f1 for score in scores]
            total = reduce(add, scores)
            values |= {f"{kind} F1": total.f1, f"{kind} mean": float(np.mean(f1))}
            values |= {f"{kind} sd": float(np.std(f1)), f"{kind} recall": total.recall}
            values |= {f"{kind} precision": total.precision}
        return values


def test_sets(data: Path, mpp: float) -> dict[str, list[Tile]]:
    """The tiles of each set at a resolution, without training tiles."""
    nuclei = data / "nuclei"
    sets = {"dsb2018": [rescaled(one, HELD_OUT_UM / mpp) for one in split_dsb(nuclei / "dsb2018")["test"]]}
    if (nuclei / "monuseg").is_dir():
        tiles = read_tiles(nuclei / "monuseg")
        sets["monuseg"] = [resampled(tile, MONUSEG_MPP / mpp) for tile in tiles]
    return sets


def tile_finds(network: CellNetwork, spec: CellSpec, tile: Tile) -> Finds:
    """Detections of a tile that count; the classical detector takes the stains of the tile."""
    if isinstance(network, Haematoxylin):
        network = network.adapted([tile.image])
    found = find(network, spec, as_images(tile.image[None]))[0]
    return found.chosen(found.scores >= spec.threshold)


def tile_score(tile: Tile, found: Finds, mpp: float) -> TileScore:
    """Scores of the detections of a tile."""
    known, _ = instance_boxes(tile.instances)
    right = int((match_boxes(known, found.boxes, found.scores) >= 0).sum())
    box = DetectionScore(right, len(found) - right, len(known) - right)
    centres = (known[:, :2] + known[:, 2:]) / 2
    return TileScore(tile.name, box, centre_score(centres, found.centres, REACH_UM / mpp))


def evaluated(network: CellNetwork, spec: CellSpec, tiles: Sequence[Tile]) -> SetScore:
    """Scores of a model on tiles at its resolution."""
    started = time.perf_counter()
    found = [tile_finds(network, spec, tile) for tile in tiles]
    seconds = time.perf_counter() - started
    area = sum(tile.instances.size for tile in tiles) * spec.mpp**2 / 1e6
    scores = (tile_score(tile, one, spec.mpp) for tile, one in zip(tiles, found, strict=True))
    return SetScore(tuple(scores), seconds / area)


def table(results: Mapping[str, Mapping[str, SetScore]]) -> str:
    """Model → set → scores as a Markdown table; F1 over all nuclei, and mean ± sd over tiles."""
    rows = []
    for model, sets in results.items():
        for name, score in sets.items():
            values = score.summary()
            kinds = [
                f"{values[f'{kind} F1']:.3f} ({values[f'{kind} mean']:.2f} ± {values[f'{kind} sd']:.2f})"
                for kind in ("box", "centre")
            ]
            rows.append((model, name, str(len(score.tiles)), *kinds, f"{values['seconds per mm²']:.1f}"))
    return markdown_table(("model", "set", "tiles", "box F1", "centre F1", "s/mm²"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="shipped models or folders")
    parser.add_argument("--data", type=Path, help="folder of nuclei/, by default $NAPARI_ZOOMMIL_DATA")
    parser.add_argument("--out", type=Path, help="JSON file for the scores of each tile")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = args.data or nuclei_folder().parent.parent
    results: dict[str, dict[str, SetScore]] = {}
    for name in args.models:
        network, spec = load_cell_model(name)
        sets = test_sets(data, spec.mpp)
        results[name] = {key: evaluated(network, spec, tiles) for key, tiles in sets.items()}
    print(table(results))
    if args.out:
        write_json(args.out, _plain(results))


def _plain(results: Mapping[str, Mapping[str, SetScore]]) -> dict[str, dict[str, dict[str, object]]]:
    return {
        model: {
            name: score.summary()
            | {"tiles": {tile.name: [tile.box.f1, tile.centre.f1] for tile in score.tiles}}
            for name, score in sets.items()
        }
        for model, sets in results.items()
    }


if __name__ == "__main__":
    main()

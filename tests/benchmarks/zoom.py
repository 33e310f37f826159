"""Zooming against reading everything: patches, multiply-adds and wall time, side by side in one run.

    python tests/benchmarks/zoom.py --json [--encoder nic resnet50-random] [--slide SLIDE]

Both sides read the same 20,480-px synthetic slide (or SLIDE) from disk with the same encoder and
batch size; the exhaustive side encodes every 20x patch with tissue. ``resnet50-random`` has
untrained weights, which cost what trained ones cost.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from napari_zoommil import Slide
from napari_zoommil.bags import LazyBag
from napari_zoommil.encoders import load_encoder
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models import create
from napari_zoommil.models.mil import MILModel
from napari_zoommil.models.spec import load_model
from napari_zoommil.slides.patching import Tissue, detect_tissue, patch_grid
from napari_zoommil.slides.samples import synthetic_slide

MAGNIFICATIONS = (5.0, 10.0, 20.0)


def model_for(encoder: str) -> tuple[MILModel, int]:
    """A model on the encoder and its patch size: the shipped one, or the paper's CRC configuration."""
    if encoder == "nic":
        model, spec = load_model("demo")
        return model, spec.patch_size
    return create("zoommil", in_features=1024, classes=3, magnifications=MAGNIFICATIONS, k=16).eval(), 256


def measure(path: Path, tissue: Tissue, encoder_name: str) -> dict[str, object]:
    """Both sides with one encoder, each on a slide handle of its own."""
    model, size = model_for(encoder_name)
    encoder = load_encoder(encoder_name)
    with Slide.open(path) as slide:
        grid = patch_grid(slide, tissue, MAGNIFICATIONS, size)
        bag = LazyBag(slide, grid, encoder)
        bag.features(0, torch.arange(min(8, len(grid.levels[0]))).numpy())  # warm up
    zoom_seconds, encoded = zoom(path, grid, model, encoder)
    everything_seconds, patches = everything(path, tissue, size, encoder)
    per_patch = encoder.multiply_adds(size)
    return {
        "encoder": encoder_name,
        "patch_px": size,
        "multiply_adds_per_patch": per_patch,
        "patches": {"zoom": sum(encoded), "zoom_by_magnification": encoded, "exhaustive_20x": patches},
        "multiply_adds": {"zoom": per_patch * sum(encoded), "exhaustive_20x": per_patch * patches},
        "seconds": {"zoom": zoom_seconds, "exhaustive_20x": everything_seconds},
        "ratio": {
            "patches": patches / sum(encoded),
            "multiply_adds": patches / sum(encoded),
            "wall": everything_seconds / zoom_seconds,
        },
    }


def zoom(path: Path, grid: PatchGrid, model: MILModel, encoder: object) -> tuple[float, tuple[int, ...]]:
    """Seconds of a zooming pass, reading included, and patches encoded per magnification."""
    with Slide.open(path) as slide, torch.no_grad():
        bag = LazyBag(slide, grid, encoder)  # type: ignore[arg-type]
        started = time.perf_counter()
        model(bag)
        return time.perf_counter() - started, bag.encoded


def everything(path: Path, tissue: Tissue, size: int, encoder: object) -> tuple[float, int]:
    """Seconds to read and encode every 20x tissue patch, and how many there are."""
    with Slide.open(path) as slide:
        grid = patch_grid(slide, tissue, MAGNIFICATIONS[-1:], size)
        bag = LazyBag(slide, grid, encoder)  # type: ignore[arg-type]
        started = time.perf_counter()
        bag.features(0, torch.arange(len(grid.levels[0])).numpy())
        return time.perf_counter() - started, len(grid.levels[0])


def count_case() -> dict[str, float]:
    """The paper's BRIGHT average: 62 patches at 1.25x, 3,968 at 10x, K = 8 (Table 2)."""
    model = create("zoommil", in_features=1024, classes=3, magnifications=(1.25, 2.5), k=8)
    zoomed = sum(model.patches_needed((62, 62 * 4), (2,)))
    return {"exhaustive": 62 * 64, "zoom": zoomed, "ratio": round(62 * 64 / zoomed, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--encoder", nargs="+", default=["nic", "resnet50-random"])
    parser.add_argument("--slide", type=Path, default=None)
    args = parser.parse_args()
    path = args.slide or synthetic_slide()
    with Slide.open(path) as slide:
        tissue = detect_tissue(slide)
        shape = slide.shape
    results = [measure(path, tissue, name) for name in args.encoder]
    found = {
        "slide_px": shape,
        "threads": torch.get_num_threads(),
        "results": results,
        "count_case": count_case(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

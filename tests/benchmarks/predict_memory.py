"""Peak memory of predicting and explaining a slide of many patches, over the features that are kept.

    python tests/benchmarks/predict_memory.py --json [--patches 50000] [--width 1024] [--explain no grad-cam]

The model is gated attention pooling (ABMIL, 512 hidden, 256 attention) as another package brings it
(``tests/models/outside``), on an encoder whose features cost nothing to compute. ``predict`` (``no``), or
``explain`` by a method, runs in a process of its own; what counts is the most that is resident (the kernel's
``VmHWM``) from when all patches are encoded to the end, less what was resident then. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

OUTSIDE = Path(__file__).parents[1] / "models" / "outside"
MODEL, ENCODER = "outside-abmil", "repeated-colours"
NO = "no"
"""Predict, and explain by no method."""
MIB = 1 << 20
PATCH = 16


def resident(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def register(width: int) -> None:
    """Make the model known, and an encoder that repeats the mean colour up to a width."""
    import torch

    import napari_zoommil.models.registry as models
    from napari_zoommil.encoders import Encoder
    from napari_zoommil.encoders import registry as encoders
    from napari_zoommil.encoders.encoder import Preprocessing

    class Colours(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)).repeat(1, 1 + width // 3)[:, :width]

    encoders.REGISTRY[ENCODER] = lambda name: Encoder(name, Colours(), Preprocessing(), width, half=False)
    sys.path.insert(0, str(OUTSIDE))
    models.OWN[MODEL] = "zoommil_abmil:ENTRY"


def write_model(folder: Path, width: int) -> Path:
    """An untrained model."""
    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import ModelSpec, save_model

    model = create(MODEL, in_features=width, classes=2, magnifications=(10,))
    spec = ModelSpec(MODEL, model.config(), ENCODER, load_encoder(ENCODER).hash, PATCH, ("a", "b"))
    save_model(folder / "model", model, spec, "# Test\n")
    return folder / "model"


def write_slide(path: Path, patches: int) -> Path:
    """Tissue alone, 1 µm/px (10x), of so many patches or a few more."""
    import numpy as np
    import tifffile

    edge = PATCH * math.ceil(math.sqrt(patches))
    pixels = np.full((edge, edge, 3), (190, 110, 160), np.uint8)
    pixels += np.random.default_rng(0).integers(0, 30, pixels.shape, np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), resolution=(1e4, 1e4), resolutionunit="CENTIMETER")
    return path


def child(patches: int, width: int, method: str) -> None:
    """Predict or explain, and print what was resident."""
    import numpy as np

    from napari_zoommil.jobs import Progress, explain, predict, run
    from napari_zoommil.slides import Slide
    from napari_zoommil.slides.patching import Tissue

    register(width)
    start = 0

    def watch(progress: Progress) -> None:
        nonlocal start
        if progress.done == progress.total > 1 and not start:
            start = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts anew

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, path = write_model(folder, width), write_slide(folder / "slide.tif", patches)
        with Slide.open(path) as slide:
            tissue = Tissue(np.ones((8, 8), bool), (slide.shape[0] / 8, slide.shape[1] / 8))
            how = {"tissue": tissue, "device": "cpu", "threads": 1}
            job = predict if method == NO else partial(explain, method=method)
            found = run(job(slide, str(model), **how), watch)
    prediction = found if method == NO else found.prediction
    said = {
        "patches": len(prediction.steps[0].rows),
        "over_features_mib": round((resident("VmHWM") - start) / MIB),
    }
    print(json.dumps(said))


def measure(patches: int, width: int, methods: Sequence[str]) -> dict[str, object]:
    """A run for each method, or for none (``no``)."""
    results = {}
    for method in methods:
        sizes = ["--patches", str(patches), "--width", str(width)]
        done = subprocess.run([sys.executable, __file__, "--child", method, *sizes], stdout=subprocess.PIPE)
        if done.returncode:
            raise SystemExit(f"the prediction ended in {done.returncode}")
        results[method] = json.loads(done.stdout)
    return {"width": width, "features_mib": round(4 * patches * width / MIB), "explain": results}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--patches", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--explain", nargs="+", default=[NO, "evidence", "grad-cam", "saliency"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.patches, args.width, args.child)
    print(json.dumps(measure(args.patches, args.width, args.explain), indent=2))


if __name__ == "__main__":
    main()

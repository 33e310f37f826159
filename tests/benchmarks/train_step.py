"""A training step of a cell model: through the library, in a bare PyTorch loop, and with either loss.

    python tests/benchmarks/train_step.py --json [--rounds 5] [--steps 30]

``library`` drives the fit as ``finetune`` does: Lightning on a thread of its own, a report and a chance to
cancel after each step. ``bare`` is the same network, windows, augmentation, loss and optimiser in a ``for``
loop. They take turns, in each round one after the other; the first steps of a fit are not counted.
``library_over_bare`` and ``ece_over_ce`` are medians over the rounds of a round's ratio.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch

from napari_zoommil.cells.model import ARCHITECTURES
from napari_zoommil.cells.windows import Window, window_of_instances
from napari_zoommil.training.callbacks import seed_of
from napari_zoommil.training.cells.module import CellModule, CellRecipe, train_loader
from napari_zoommil.training.cells.presets import recipe
from napari_zoommil.training.fit import fit_steps

NETWORKS = {"yollo": {}, "unet": {"width": 16, "padding": "same"}}
WARM_UP = 5
EDGE = 288


def windows(count: int) -> list[Window]:
    """Noise with forty discs in each, a third of them annotated."""
    rng, found = np.random.default_rng(0), []
    ys, xs = np.mgrid[:EDGE, :EDGE]
    for _ in range(count):
        instances = np.zeros((EDGE, EDGE), np.int32)
        for number, (y, x) in enumerate(rng.uniform(10, EDGE - 10, (40, 2)), 1):
            instances[(ys - y) ** 2 + (xs - x) ** 2 < 64] = number
        image = rng.integers(150, 255, (EDGE, EDGE, 3), dtype=np.uint8)
        image[instances > 0] //= 2
        found.append(window_of_instances(image, np.where(instances % 3 == 1, instances, 0)))
    return found


def library(name: str, settings: CellRecipe, data: list[Window]) -> float:
    """Seconds of a step."""
    module = CellModule(ARCHITECTURES[name](**NETWORKS[name]), settings)
    steps = fit_steps(
        module,
        train_loader(data, settings, module.network),
        epochs=settings.epochs,
    )
    times = []
    with closing(steps):
        for step in steps:
            if "train_loss" in step.metrics:
                times.append(time.perf_counter())
    return float(times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)


def bare(name: str, settings: CellRecipe, data: list[Window]) -> float:
    """Seconds of a step."""
    network = ARCHITECTURES[name](**NETWORKS[name])
    module = CellModule(network, settings)
    loader, optimizer = train_loader(data, settings, network), module.configure_optimizers()
    total = settings.epochs * len(loader)
    network.train()
    times = []
    for _ in range(settings.epochs):
        for images, targets, places in loader:
            generator = torch.Generator().manual_seed(seed_of(settings.seed, len(times)))
            loss = module.loss_of(images, targets, len(times) / total, generator, places)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            times.append(time.perf_counter())
    return float(times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    data, found = windows(16), {}
    for name in NETWORKS:
        one = recipe("interactive", "yollo", "ece")
        ece = replace(one, epochs=1, draws=args.steps * one.batch_size)
        ce = replace(ece, loss="ce", options=None)
        rounds = [
            {"library": library(name, ece, data), "bare": bare(name, ece, data), "ce": bare(name, ce, data)}
            for _ in range(args.rounds)
        ]
        found[name] = {
            "step_ms": {key: round(1000 * min(one[key] for one in rounds), 1) for key in rounds[0]},
            "library_over_bare": round(float(np.median([one["library"] / one["bare"] for one in rounds])), 3),
            "ece_over_ce": round(float(np.median([one["bare"] / one["ce"] for one in rounds])), 3),
        }
    print(json.dumps({"threads": torch.get_num_threads(), **found}, indent=2))


if __name__ == "__main__":
    main()

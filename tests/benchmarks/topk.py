"""Perturbed top-k in index form against the dense form, side by side in one run.

    python tests/benchmarks/topk.py --json [--patches 2473] [--k 300] [--samples 100] [--threads 1]

The default is the average CAMELYON16 bag of ZoomMIL. The dense form keeps S one-hot selections of
size k × N, as the published code does: ``paper`` multiplies their mean product with the noise
element by element, ``exact`` is the score function on the same one-hots. ``operator`` is scores → T
and back. ``zoom`` also mixes the children of the selected: on the union here, with T ⊗ I there, and
both find the features that they ask for in memory. ``step`` is a whole training step of ZoomMIL at 10x
and 20x: embedding, attention, selection, loss, backward and Adam, out of a bag in memory. Ratios are
dense over ours. Extra memory is the rise of the resident peak in a process of its own. Cosines compare
ours with finite differences and with the dense form under the same noise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from itertools import product
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from napari_zoommil.bags.subgrid import TensorBag
from napari_zoommil.geometry import PatchGrid, PatchLevel, child_lattice, full_lattice
from napari_zoommil.models.blocks.attention import attention_pool
from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.topk import SIGMA, Mode, _Noise, normalise_scores, perturbed_topk, select
from napari_zoommil.models.zoommil import ZoomMIL, _View

CHILDREN, WIDTH = 4, 1024
SCOPES = ("operator", "zoom", "step")
MAGNIFICATIONS = (10.0, 20.0)
SIDES = ("ours", "dense")
SEED = 1


@dataclass(frozen=True)
class Size:
    patches: int = 2473
    k: int = 300
    samples: int = 100


class DenseTopK(torch.autograd.Function):
    """scores (N,), noise (S, N) → T (k, N), with all S · k · N one-hot values kept for the way back."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, noise: Tensor, k: int, mode: Mode) -> Tensor:
        chosen = torch.topk(scores + SIGMA[mode] * noise, k, dim=1, sorted=False).indices.sort(1).values
        one_hot = torch.nn.functional.one_hot(chosen, len(scores)).to(scores.dtype)
        ctx.mode = mode
        ctx.save_for_backward(one_hot, noise)
        return one_hot.mean(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        one_hot, noise = ctx.saved_tensors
        samples = len(noise)
        if ctx.mode == "paper":
            summed = (torch.einsum("skn,sn->kn", one_hot, noise) * gradient).sum(0)
        else:
            rewards = torch.einsum("skn,kn->s", one_hot, gradient)
            summed = (rewards - rewards.mean()) @ noise * (samples / (samples - 1))
        return summed / (samples * SIGMA[ctx.mode]), None, None, None


def scores_of(size: Size, mode: Mode) -> Tensor:
    logits = torch.randn(size.patches, generator=torch.Generator().manual_seed(0))
    return normalise_scores(logits, mode).requires_grad_()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def bag_of(patches: int) -> TensorBag:
    """A row of patches at 10x, each with four at 20x, and random features of all."""
    shape, edge = (512, 512 * patches), 512.0
    cells, parent, levels = full_lattice(shape, (edge, edge)), np.full(patches, -1), []
    for magnification in MAGNIFICATIONS:
        tissue = np.ones(len(cells), np.float32)
        scale = magnification, 10 / magnification
        levels.append(PatchLevel.from_lattice(*scale, (edge, edge), cells, parent, tissue))
        edge /= 2
        cells, parent = child_lattice(cells, 2, shape, (edge, edge))
    features = tuple(torch.randn(len(level), WIDTH) for level in levels)
    return TensorBag(PatchGrid(shape, 256, tuple(levels)), features)


def step(size: Size, mode: Mode, logits: Callable[[ZoomMIL, TensorBag], Tensor]) -> Callable[[], Any]:
    """A call that is a whole training step, with an optimiser that has its state."""
    model = ZoomMIL(
        WIDTH, 2, MAGNIFICATIONS, ZoomMILOptions(k=size.k, topk=mode, samples=size.samples)
    ).train()
    optimizer, target = torch.optim.Adam(model.parameters(), 1e-4), torch.tensor(1)

    def on(bag: TensorBag) -> None:
        torch.manual_seed(SEED)
        model.task.loss(logits(model, bag), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    model(bag_of(4)).logits.sum().backward()
    optimizer.step()
    return partial(on, bag_of(size.patches))


def dense_logits(size: Size, mode: Mode, model: ZoomMIL, bag: TensorBag) -> Tensor:
    """The model's pass with the dense selection: the children of all patches are read, and mixed by T ⊗ I."""
    first, second = (bag.features(n, np.arange(len(level))) for n, level in enumerate(bag.grid.levels))
    embeddings = model.embed[0](first)
    pooled = [attention_pool(embeddings, model.pool[0](embeddings)[:, 0])]
    scores = normalise_scores(model.zoom[0](embeddings)[:, 0], mode)
    noise = torch.randn(size.samples, size.patches)
    mixed = torch.kron(DenseTopK.apply(scores, noise, size.k, mode), torch.eye(CHILDREN)) @ second
    embeddings = model.embed[1](mixed)
    pooled.append(attention_pool(embeddings, model.pool[1](embeddings)[:, 0]))
    return model.classifier(torch.stack(pooled).sum(0))


def ours(size: Size, mode: Mode, scope: str) -> Callable[[], Any]:
    """A call that goes forward and backward once; what it is given exists before."""
    scores = scores_of(size, mode)
    with torch.no_grad():
        indicator, union = select(scores, size.k, size.samples, mode=mode, generator=seeded())
    if scope == "step":
        return step(size, mode, lambda model, bag: model(bag).logits)
    if scope == "operator":
        direction = torch.randn(indicator.shape)
        return lambda: select(scores, size.k, size.samples, mode=mode, generator=seeded())[0].backward(
            direction
        )
    features = torch.randn(len(union) * CHILDREN, WIDTH)
    direction = torch.randn(len(indicator) * CHILDREN, WIDTH)

    def call() -> None:
        weights, chosen = select(scores, size.k, size.samples, mode=mode, generator=seeded())
        place = torch.arange(len(chosen) * CHILDREN)
        _View(np.asarray(place), weights, place, CHILDREN).instances(features).backward(direction)

    return call


def dense(size: Size, mode: Mode, scope: str) -> Callable[[], Any]:
    """As :func:`ours`."""
    if scope == "step":
        return step(size, mode, partial(dense_logits, size, mode))
    scores = scores_of(size, mode)

    def indicator() -> Tensor:
        noise = torch.randn(size.samples, size.patches, generator=seeded())
        return DenseTopK.apply(scores, noise, size.k, mode)

    if scope == "operator":
        direction = torch.randn(size.k, size.patches)
        return lambda: indicator().backward(direction)
    features = torch.randn(size.patches * CHILDREN, WIDTH)
    direction = torch.randn(size.k * CHILDREN, WIDTH)
    return lambda: (torch.kron(indicator(), torch.eye(CHILDREN)) @ features).backward(direction)


BUILD = {"ours": ours, "dense": dense}


def seconds(size: Size, mode: Mode, scope: str, repeats: int) -> dict[str, float]:
    """Median of repeats in turns."""
    calls = {side: BUILD[side](size, mode, scope) for side in SIDES}
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(repeats + 1):
        for side, call in calls.items():
            started = time.perf_counter()
            call()
            if turn:  # the first warms up
                taken[side].append(time.perf_counter() - started)
    return {side: statistics.median(values) for side, values in taken.items()}


def peak_bytes() -> int:
    """The largest resident size this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def rise_of_peak(side: str, size: Size, mode: Mode, scope: str) -> int:
    """Bytes by which one call raises this process's peak; for a process that does nothing else."""
    BUILD[side](Size(64, 8, 16), mode, scope)()
    call = BUILD[side](size, mode, scope)
    before, ballast = peak_bytes(), []
    while peak_bytes() == before:  # what preparations gave back must not hide what the call takes
        ballast.append(np.ones(2**17, np.uint8))
    before = peak_bytes()
    call()
    return peak_bytes() - before


def extra_bytes(size: Size, mode: Mode, scope: str) -> dict[str, int]:
    """Rise of the peak on either side. A child inherits its parent's peak: ask before anything large."""
    # Arrays go back to the system when they are freed, so that none is hidden by another's remains.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    numbers = [str(value) for value in astuple(size)]

    def child(side: str) -> int:
        command = [sys.executable, __file__, "--child", side, mode, scope, *numbers]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
        return int(done.stdout)

    return {side: child(side) for side in SIDES}


def finite_differences(scores: Tensor, weights: Tensor, sigma: float, samples: int) -> Tensor:
    """Central differences of E[⟨T, weights⟩] under common noise, in four draws of ``samples``."""
    count, k, step = len(scores), len(weights), 0.05
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros_like(scores)
    for _ in range(4):
        noise = sigma * torch.randn(samples, count, generator=generator, dtype=scores.dtype)

        def value(at: Tensor, noise: Tensor = noise) -> Tensor:
            chosen = torch.topk(at + noise, k, dim=1).indices.sort(1).values
            return weights[torch.arange(k), chosen].sum(1).mean()

        for index, shift in enumerate(step * torch.eye(count, dtype=scores.dtype)):
            total[index] += (value(scores + shift) - value(scores - shift)) / (2 * step)
    return total / 4


def cosine(first: Tensor, second: Tensor) -> float:
    return float(torch.cosine_similarity(first.double(), second.double(), dim=0))


def cosine_to_finite_differences(samples: int = 1_000_000) -> dict[str, float]:
    """Both modes at N = 12, k = 4, σ = 0.5 in float64, each with noise of its own."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(12, generator=generator, dtype=torch.float64)
    weights = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    truth = finite_differences(scores, weights, 0.5, samples)

    def gradient(mode: Mode) -> Tensor:
        leaf = scores.clone().requires_grad_()
        for seed in range(4):
            source = torch.Generator().manual_seed(seed)
            (perturbed_topk(leaf, 4, samples, 0.5, mode, source) * weights).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    return {mode: cosine(gradient(mode), truth) for mode in get_args(Mode)}


def cosine_to_dense(size: Size, mode: Mode) -> float:
    """Gradients of ours and of the dense form under the same noise and the same dL/dT."""
    scores = scores_of(size, mode)
    direction = torch.randn(size.k, size.patches, generator=torch.Generator().manual_seed(2))
    noise = torch.cat([part.clone() for _, part in _Noise(size.samples, scores, seeded()).chunks()])
    (published,) = torch.autograd.grad(DenseTopK.apply(scores, noise, size.k, mode), scores, direction)
    indicator = perturbed_topk(scores, size.k, size.samples, mode=mode, generator=seeded())
    (found,) = torch.autograd.grad(indicator, scores, direction)
    return cosine(found, published)


def measure(size: Size, repeats: int) -> list[dict[str, Any]]:
    cases = list(product(get_args(Mode), SCOPES))
    memory = [extra_bytes(size, *case) for case in cases]
    results = []
    for (mode, scope), extra in zip(cases, memory, strict=True):
        taken = seconds(size, mode, scope, repeats)
        ratio = {"time": taken["dense"] / taken["ours"], "memory": extra["dense"] / extra["ours"]}
        results.append(
            {
                "mode": mode,
                "scope": scope,
                "seconds": taken,
                "extra_mib": {side: round(value / 2**20, 1) for side, value in extra.items()},
                "ratio": {name: round(value, 1) for name, value in ratio.items()},
            }
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--patches", type=int, default=Size.patches)
    parser.add_argument("--k", type=int, default=Size.k)
    parser.add_argument("--samples", type=int, default=Size.samples)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="of torch; all cores by default")
    parser.add_argument("--child", nargs=6, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        side, mode, scope, *numbers = args.child
        print(rise_of_peak(side, Size(*map(int, numbers)), mode, scope))
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    size = Size(args.patches, args.k, args.samples)
    found = {
        "patches": size.patches,
        "k": size.k,
        "samples": size.samples,
        "threads": torch.get_num_threads(),
        "results": measure(size, args.repeats),
        "gradient_cosine": {
            "to_finite_differences": cosine_to_finite_differences(),
            "to_dense_same_noise": {mode: cosine_to_dense(size, mode) for mode in get_args(Mode)},
        },
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

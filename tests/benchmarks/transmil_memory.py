"""Peak memory and time of TransMIL's pass with its overlay over a large bag of stored features.

    python tests/benchmarks/transmil_memory.py --patches 50000

The pass runs in a process of its own, so that its peak is not that of anything else. The features of the bag,
float32 of 1,024 values, are part of it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time


def measure(patches: int, training: bool) -> str:
    import numpy as np
    import torch

    from napari_zoommil.bags.subgrid import TensorBag
    from napari_zoommil.geometry import PatchGrid, PatchLevel
    from napari_zoommil.models import create

    edge = int(np.ceil(patches**0.5))
    cells = np.indices((edge, edge)).reshape(2, -1).T[:patches].astype(np.int64)
    none = np.full(patches, -1, np.int64)
    tissue = np.ones(patches, np.float32)
    level = PatchLevel.from_lattice(20.0, 0.5, (256.0, 256.0), cells, none, tissue)
    grid = PatchGrid((edge * 256, edge * 256), 256, (level,))
    model = create("transmil").train(training)
    before = peak()
    bag = TensorBag(grid, (torch.randn(patches, 1024),))
    started = time.perf_counter()
    with torch.set_grad_enabled(training):
        output = model(bag)
    if training:
        output.logits[0].backward()
    seconds = time.perf_counter() - started
    assert output.steps[0].scores.shape == (patches, 9) and output.steps[0].scores.isfinite().all()
    kind = "training step" if training else "prediction"
    return f"{kind}: {peak():.2f} GB at its peak ({before:.2f} GB before it), {seconds:.1f} s"


def peak() -> float:
    """GB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=50_000)
    parser.add_argument("--one", choices=["predict", "train"], help="measure in this process")
    asked = parser.parse_args()
    if asked.one:
        print(measure(asked.patches, asked.one == "train"))
        return
    for one in ("predict", "train"):
        subprocess.run([sys.executable, __file__, "--patches", str(asked.patches), "--one", one], check=True)


if __name__ == "__main__":
    main()

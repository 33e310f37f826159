"""`embed` over a dask cluster: equal to one machine, speed-up, and a worker killed in mid-slide.

    python tests/benchmarks/embed_cluster.py --json [--slides 8] [--size 6144] [--encoder resnet50-random]

Synthetic slides are embedded on one machine, then with one and with two workers: processes of this machine
with one thread of torch and one reader each. Then again with two workers, of which the one with a slide
between 30 and 70 % gets SIGKILL; its nanny starts another. Each round has a store of its own. Patches are
counted where the encoder is called, so ``encoded_twice`` includes those that a killed process had encoded
and not yet stored. ``equal`` means every bit of the stored features. Seconds are from sending the slides to
the last result, with workers that have loaded the encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from distributed import Client, LocalCluster, WorkerPlugin

from napari_zoommil.bags import FeatureCache
from napari_zoommil.jobs import Progress, embed, run
from napari_zoommil.jobs.embed import BATCH_ROWS, Embedding
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.outcomes import results_of
from napari_zoommil.synthetic import SyntheticSlide

MAGNIFICATIONS = (5.0, 10.0, 20.0)


class Counting(WorkerPlugin):
    """Appends the number of patches of each call of an encoder to a file."""

    name = "counting"

    def __init__(self, path: str) -> None:
        self.path = path

    def setup(self, worker: Any) -> None:
        from napari_zoommil.encoders import Encoder

        real = getattr(Encoder, "uncounted", Encoder.__call__)
        path = self.path

        def counted(encoder: Encoder, patches: Any) -> Any:
            with open(path, "a") as file:
                file.write(f"{len(patches)}\n")
            return real(encoder, patches)

        Encoder.uncounted, Encoder.__call__ = real, counted


class Killer:
    """Kills the worker of the first slide that is told of in its middle."""

    def __init__(self, client: Client, slides: list[Path]) -> None:
        self.client, self.numbers = client, {path.name: number for number, path in enumerate(slides)}
        self.pids = client.run(os.getpid)
        self.killed = ""

    def __call__(self, progress: Progress) -> None:
        found = re.search(r"; (\S+) \S+: ([\d,]+) of ([\d,]+) patches", progress.note)
        if self.killed or found is None:
            return
        name, done, total = found[1], *(int(one.replace(",", "")) for one in found.groups()[1:])
        if not 0.3 <= done / total <= 0.7:
            return
        for address, keys in self.client.processing().items():
            if any(str(key).endswith(f"-{self.numbers[name]}") for key in keys):
                os.kill(self.pids[address], signal.SIGKILL)
                self.killed = f"{name} at {done} of {total} patches"


def features(found: Embedding, store: Path) -> list[np.ndarray]:
    bag = found.bag(FeatureCache(store))
    return [bag.features(n, np.arange(len(level))).numpy() for n, level in enumerate(bag.grid.levels)]


def embedded(
    slides: list[Path], store: Path, encoder: str, cluster: str | None = None, on_progress: Any = None
) -> tuple[tuple[Embedding, ...], float]:
    """What came of it, and the seconds it took."""
    job = partial(embed, encoder=encoder, magnifications=MAGNIFICATIONS, store=store, workers=1)
    started = time.perf_counter()
    outcomes = run(over(job, slides, cluster=cluster), on_progress)
    return results_of(outcomes), time.perf_counter() - started


def with_workers(
    count: int, slides: list[Path], work: Path, encoder: str, kill: bool = False
) -> tuple[tuple[Embedding, ...], dict[str, Any]]:
    """On a cluster of its own; and the figures."""
    name = f"{count}-workers" + ("-kill" if kill else "")
    store, log = work / name, work / f"{name}.log"
    local = {"threads_per_worker": 1, "dashboard_address": ":0", "local_directory": str(work / "dask")}
    with LocalCluster(n_workers=count, **local) as cluster, Client(cluster, set_as_default=False) as client:
        client.run(_warm, encoder)
        client.register_plugin(Counting(str(log)))
        killer = Killer(client, slides) if kill else None
        found, seconds = embedded(slides, store, encoder, cluster.scheduler_address, killer)
    total, counted = sum(one.total for one in found), sum(map(int, log.read_text().split()))
    figures = {"seconds": round(seconds, 1), "patches": total, "encoded_twice": counted - total}
    return found, figures | ({"killed": killer.killed} if killer else {})


def _warm(encoder: str) -> None:
    from napari_zoommil.jobs.loading import encoder_on

    with encoder_on("cpu", encoder):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slides", type=int, default=8)
    parser.add_argument("--size", type=int, default=6144, help="edge of a slide, px, a multiple of 32")
    parser.add_argument("--encoder", default="resnet50-random")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        slides = [work / f"slide-{number}.tif" for number in range(args.slides)]
        for number, path in enumerate(slides):
            SyntheticSlide(number, args.size).write(path)
        reference, seconds = embedded(slides, work / "one-machine", args.encoder)
        results: dict[str, Any] = {"one machine": {"seconds": round(seconds, 1)}}
        expected = [features(one, work / "one-machine") for one in reference]
        for count, kill in ((1, False), (2, False), (2, True)):
            found, figures = with_workers(count, slides, work, args.encoder, kill)
            figures["equal"] = all(
                np.array_equal(own, other)
                for one, levels in zip(found, expected, strict=True)
                for own, other in zip(features(one, one.store.parent), levels, strict=True)
            )
            results[f"{count} workers" + (", one killed" if kill else "")] = figures
            print(figures, file=sys.stderr, flush=True)
    speed_up = results["1 workers"]["seconds"] / results["2 workers"]["seconds"]
    told = {"cores": os.cpu_count(), "encoder": args.encoder, "batch": BATCH_ROWS}
    print(json.dumps(told | {"speed_up": round(speed_up, 2), "results": results}, indent=2))


if __name__ == "__main__":
    main()

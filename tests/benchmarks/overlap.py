"""The ``embed`` job against its two halves, reading and encoding, done apart.

    python tests/benchmarks/overlap.py --json [--encoder resnet50-random nic] [--slide SLIDE]

Where encoding is the larger half, reading should hide behind it: ``ratio.encode_only`` is the job's
wall time over that of encoding the same batches when they are in memory already, with the same
threads. Where reading is the larger half, both compete for the cores, and the least that is
possible is all their work spread evenly: ``ratio.balanced_work`` is the job's wall time over (CPU
seconds of reading alone + CPU seconds of encoding alone) / cores. Each half's work is measured on one
thread, for waiting threads of OpenMP spin and would count as work.

``job`` is all of the job, ``embedding`` the part after the encoder is loaded and the tissue found.
``resnet50-random`` has untrained weights, which cost what trained ones cost; it gets a smaller slide.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from napari_zoommil import Slide
from napari_zoommil.bags.reading import default_workers, read_batches
from napari_zoommil.encoders import Encoder, load_encoder
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.jobs import Progress, embed, run
from napari_zoommil.jobs.embed import BATCH_ROWS
from napari_zoommil.slides.patching import detect_tissue, patch_grid
from napari_zoommil.slides.readers.tiles import TILES
from napari_zoommil.slides.samples import SAMPLE_SEED, synthetic_slide
from napari_zoommil.synthetic import SyntheticSlide

MAGNIFICATIONS = (5.0, 10.0, 20.0)
SMALL_PX = 6144
Batches = list[NDArray[np.uint8]]


def small_slide(folder: Path) -> Path:
    """A synthetic slide that a large encoder is through with in seconds."""
    path = folder / "small.tif"
    SyntheticSlide(SAMPLE_SEED, SMALL_PX).write(path)
    return path


def job_seconds(path: Path, encoder: str, folder: Path) -> tuple[float, float]:
    """Wall seconds of a fresh job: in all, and from the first patch on."""
    TILES.clear()
    started = begun = time.perf_counter()

    def look(progress: Progress) -> None:
        nonlocal begun
        if not progress.note.endswith("patches"):
            begun = time.perf_counter()

    run(embed(path, encoder, magnifications=MAGNIFICATIONS, store=folder), look)
    ended = time.perf_counter()
    return ended - started, ended - begun


def read_all(path: Path, grid: PatchGrid, workers: int) -> Batches:
    """All patches, in the batches of the job."""
    TILES.clear()
    found: Batches = []
    with Slide.open(path) as slide:
        for level, patches in enumerate(grid.levels):
            rows = np.arange(len(patches))
            with closing(read_batches(slide, grid, level, rows, BATCH_ROWS, workers)) as batches:
                found += [pixels for _, pixels in batches]
    return found


def encode_all(encoder: Encoder, batches: Batches) -> None:
    for batch in batches:
        encoder(batch).cpu().numpy()


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    cpu, started = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def work_of(path: Path, grid: PatchGrid, encoder: Encoder, batches: Batches) -> tuple[float, float]:
    """CPU seconds of reading and of encoding, each on one thread."""
    reading = seconds_of(lambda: read_all(path, grid, 1))[1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return reading, seconds_of(lambda: encode_all(encoder, batches))[1]
    finally:
        torch.set_num_threads(threads)


def measure(path: Path, name: str, repeats: int) -> dict[str, object]:
    """One encoder: the job and its halves in turns."""
    encoder = load_encoder(name)
    with Slide.open(path) as slide:
        grid = patch_grid(slide, detect_tissue(slide), MAGNIFICATIONS)
    batches = read_all(path, grid, default_workers())
    encode_all(encoder, batches[:1])  # warm up
    work = work_of(path, grid, encoder, batches)
    jobs, encoding, reading = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            jobs.append(job_seconds(path, name, Path(folder)))
        encoding.append(seconds_of(lambda: encode_all(encoder, batches))[0])
        reading.append(seconds_of(lambda: read_all(path, grid, default_workers()))[0])
    job, embedding = (median(column) for column in zip(*jobs, strict=True))
    cores = default_workers()
    return {
        "encoder": name,
        "slide": path.name,
        "patches": sum(len(batch) for batch in batches),
        "threads": torch.get_num_threads(),
        "cores": cores,
        "seconds": {
            "job": round(job, 3),
            "embedding": round(embedding, 3),
            "encode_only": round(median(encoding), 3),
            "read_only": round(median(reading), 3),
        },
        "cpu_seconds": {
            "read": round(work[0], 3),
            "encode": round(work[1], 3),
        },
        "ratio": {
            "encode_only": ratios(job, embedding, median(encoding)),
            "balanced_work": ratios(job, embedding, sum(work) / cores),
        },
    }


def ratios(job: float, embedding: float, least: float) -> dict[str, float]:
    return {"job": round(job / least, 3), "embedding": round(embedding / least, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--encoder", nargs="+", default=["resnet50-random", "nic"])
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name in args.encoder:
            made = small_slide if name.startswith("resnet") else lambda _: synthetic_slide()
            found.append(measure(args.slide or made(Path(folder)), name, args.repeats))
    print(json.dumps({"results": found}, indent=2))


if __name__ == "__main__":
    main()

"""Commands on small made data, each in a fork of a process that has imported everything."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tifffile

from napari_zoommil import cli
from napari_zoommil.annotations import Points
from napari_zoommil.synthetic import SyntheticSlide

IMPORTED = (
    *("lightning", "timm", "torchmetrics", "napari_zoommil.bags", "napari_zoommil.cells.model"),
    *(f"napari_zoommil.commands.{name}" for name in ("cells", "cohort", "predict", "regions")),
    *(f"napari_zoommil.jobs.{name}" for name in ("prediction_files", "detection_files", "train", "finetune")),
    *("napari_zoommil.models", "napari_zoommil.training.mil.fitting", "napari_zoommil.training.cells.fit"),
)
"""What the commands import."""

SPLITS = ("train", "train", "train", "val", "test")
READING = ("--encoder", "nic", "--magnifications", "10,20,40", "--patch-size", "64")
OTHER_DISK = Path("/dev/shm")
ON_CPU = ("--device", "cpu", "--threads", "1")
OVERWRITING = ("predict", "explain", "detect")
"""Commands that write over older results without being told to."""

Command = list[str]


def import_all() -> None:
    """Import what the commands do, before they are forked."""
    for name in IMPORTED:
        import_module(name)


def import_more(log: Path) -> None:
    """Import what a command imported that has ended, for the next ones to start sooner."""
    for name in log.with_suffix(".modules").read_text().splitlines():
        with suppress(Exception):
            import_module(name)


def make_cohort(folder: Path, size: int) -> Path:
    """Ten slides with a table, and points on the first of them; what an earlier run has made is used."""
    folder.mkdir(exist_ok=True)
    if (folder / "points.geojson").exists():
        return folder / "cohort.csv"
    lines = ["slide,label,split"]
    for number, split in enumerate(SPLITS * 2):
        tumour = number >= len(SPLITS)
        SyntheticSlide(number, size, tumour, 0.2, texture_px=512).write(folder / f"{number}.tif")
        lines.append(f"{number}.tif,{'tumour' if tumour else 'plain'},{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    points, rng = Points(), np.random.default_rng(0)
    for name in ("normal", "tumour"):
        points.add(rng.uniform(size / 4, 3 * size / 4, (12, 2)), points.add_class(name))
    points.write(folder / "points.geojson")
    return folder / "cohort.csv"


def commands(table: Path, epochs: int = 12) -> dict[str, Callable[[Path], Command]]:
    """Commands by name, each by the place of its results."""
    folder = table.parent
    slide, points, store = str(folder / "0.tif"), str(folder / "points.geojson"), str(folder / "features")
    taught = ["--annotations", points, "--epochs", "3", *ON_CPU]
    learnt = ["--patches", "256", "--steps", "20", "--code", "16", "--min-tissue", "0", "--device", "cpu"]
    fit = ["--store", store, *READING, "--set", "k=4", "--epochs", str(epochs)]
    of_demo = ("--model", "demo", "--label", "tumour")
    return {
        "predict": lambda out: ["predict", slide, "--out", str(out), *ON_CPU],
        "explain": lambda out: ["explain", slide, "--method", "grad-cam", "--out", str(out), *ON_CPU],
        "detect": lambda out: ["detect", slide, "--out", str(out / "cells.geojson"), *ON_CPU],
        "embed": lambda out: ["embed", str(table), "--store", str(out), *READING],
        "train": lambda out: ["train", str(table), "--out", str(out), *fit],
        "finetune": lambda out: ["finetune", slide, "--out", str(out), *taught],
        "train-encoder": lambda out: ["train-encoder", str(table), "--out", str(out), *learnt],
        "finetune-mil": lambda out: ["finetune", slide, *of_demo, "--out", str(out), *taught],
    }


def forked(work: Callable[[], Any]) -> int:
    """Process that does some work and ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int) -> int:
    """Exit code, or minus the signal that ended a process."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ended_within(pid: int, seconds: float) -> int | None:
    """The same; None, and killed, of a process that goes on for longer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def called(arguments: Command, log: Path, temporary: Path | None = None) -> Callable[[], Any]:
    """A command as the program runs it, with its output in a file, and its temporary files elsewhere."""

    def work() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        elsewhere = temporary or (OTHER_DISK if OTHER_DISK.is_dir() else None)
        tempfile.tempdir = elsewhere and str(elsewhere)
        sys.argv = ["napari-zoommil", *arguments]
        try:
            cli.run()
        finally:
            log.with_suffix(".modules").write_text("\n".join(sys.modules))

    return work


def left_over(folder: Path) -> list[str]:
    """Unfinished files and folders, by their names."""
    kinds = (".new-", ".partial", ".part", ".complete", "last.ckpt", "best.ckpt", "zoommil-")
    return sorted({path.name for path in folder.rglob("*") if any(kind in path.name for kind in kinds)})


CHANGING = ("cost", "created", "seconds", "software", "magnifications")
"""What a result tells of its making: how long it took, and what was encoded before."""


def facts_of(path: Path) -> bytes:
    """The content of a result, without what changes between equal ones."""
    if path.suffix == ".tiff":
        return tifffile.imread(path).tobytes()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return b"".join(arrays[name].tobytes() for name in sorted({*arrays} - {"result"}))
    if path.suffix != ".json":
        return path.read_bytes()
    document = json.loads(path.read_bytes())
    kept = {key: value for key, value in document.items() if key not in CHANGING}
    return json.dumps(kept, sort_keys=True).encode()


def results(folder: Path) -> dict[str, bytes]:
    """Finished files by name, without hidden ones and those in hidden folders, which are unfinished."""
    every = ((path.relative_to(folder), path) for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        name.as_posix(): facts_of(path)
        for name, path in every
        if not any(part.startswith(".") for part in name.parts)
    }

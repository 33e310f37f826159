"""Kill `embed` and `train` at random moments, start them again, and compare with unbroken runs.

    python tests/benchmarks/job_kills.py --json [--jobs embed train] [--kills 20] [--seed 0]

A small synthetic cohort. Each round runs the command in a process of its own (a fork of one that has
imported everything, so that no kill falls into imports), sends SIGKILL after a random part of the time
that an unbroken run takes, and runs the same command again to its end, `train` with ``--resume``.
``equal``: of `embed`, every bit of all features; of `train`, metrics, curves, held-out predictions and
weights. The system's temporary folder lies on another disk than the results, if there is /dev/shm.
``left_over``: names of unfinished files that stay behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightning
import numpy as np
import timm
import torchmetrics

from napari_zoommil import jobs
from napari_zoommil.bags import FeatureCache, StoredBag
from napari_zoommil.cli import main as command
from napari_zoommil.commands import cohort as _commands
from napari_zoommil.jobs import train as _train
from napari_zoommil.models import create
from napari_zoommil.synthetic import SyntheticSlide
from napari_zoommil.training.mil import fitting

IMPORTED = lightning, timm, torchmetrics, jobs, StoredBag, _commands, _train, create, fitting
"""What the commands import, before they are forked."""

SPLITS = ("train", "train", "train", "val", "test")
READING = ("--encoder", "nic", "--magnifications", "10,20,40", "--patch-size", "64")
COMPARED = ("curves.csv", "predictions.csv", "held_out.json", "model.safetensors")
OTHER_DISK = Path("/dev/shm")


def make_cohort(folder: Path, size: int) -> Path:
    lines = ["slide,label,split"]
    for number, split in enumerate(SPLITS * 2):
        tumour = number >= len(SPLITS)
        SyntheticSlide(number, size, tumour, 0.2).write(folder / f"{number}.tif")
        lines.append(f"{number}.tif,{'tumour' if tumour else 'plain'},{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    return folder / "cohort.csv"


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


def called(arguments: list[str], log: Path) -> Callable[[], Any]:
    """A command with its output in a file, and its temporary files on another disk."""

    def work() -> None:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if OTHER_DISK.is_dir():
            tempfile.tempdir = str(OTHER_DISK)
        command(arguments)

    return work


def digest_of_features(store: Path) -> str:
    """Hash of what is stored, by slide, magnification and place."""
    read, write = os.pipe()

    def work() -> None:
        from napari_zoommil.bags.parts import parts_of

        FeatureCache(store)
        found = hashlib.sha256()
        for group in sorted(path for path in store.glob("*/nic-*/*") if path.is_dir()):
            parts = parts_of(group)
            origins = np.concatenate([part.origins for part in parts])
            features = np.concatenate([np.asarray(part.features[: len(part.origins)]) for part in parts])
            whole = np.flatnonzero(~np.isnan(origins).any(1))
            order = whole[np.lexsort(origins[whole].T)]
            found.update(group.relative_to(store).as_posix().encode())
            found.update(origins[order].tobytes() + features[order].tobytes())
        os.write(write, found.hexdigest().encode())

    code = ended(forked(work))
    os.close(write)
    with os.fdopen(read, "rb") as file:
        said = file.read().decode()
    return said if code == 0 else f"unreadable ({code})"


def digest_of_model(folder: Path) -> str:
    """Hash of the metrics and of the files that must be equal."""
    metrics = json.loads((folder / "run.json").read_text()).get("metrics")
    found = hashlib.sha256(json.dumps(metrics, sort_keys=True).encode())
    for name in COMPARED:
        found.update((folder / name).read_bytes())
    return found.hexdigest()


def left_over(folder: Path) -> list[str]:
    """Unfinished files and folders, by the kind of their name."""
    kinds = (".new-", ".partial", ".part", "last.ckpt", "best.ckpt")
    names = [path.name for path in folder.rglob("*")]
    hidden = [name for name in names if name.startswith(".") and name not in (".lock",)]
    return sorted({*hidden, *(name for name in names if any(kind in name for kind in kinds))} - {".lock"})


def rounds(
    of: Callable[[Path], list[str]], digest: Callable[[Path], str], work: Path, kills: int, rng: random.Random
) -> dict[str, Any]:
    """Kill and restart a command that writes to a folder of its own in each round."""
    log, whole = work / "log", work / "whole"
    started = time.monotonic()
    if (code := ended(forked(called(of(whole), log)))) != 0:
        raise SystemExit(f"the unbroken run ended in {code}: {log.read_text()[-2000:]}")
    seconds, expected = time.monotonic() - started, digest(whole)
    found: list[dict[str, Any]] = []
    for number in range(kills):
        folder, after = work / f"round-{number}", rng.uniform(0, seconds)
        pid = forked(called(of(folder), log))
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
        was = ended(pid)
        again = ended(forked(called(of(folder), log)))
        found.append(
            {
                "after_s": round(after, 2),
                "killed": was == -signal.SIGKILL,
                "again": again,
                "equal": digest(folder) == expected,
                "left_over": left_over(folder),
            }
        )
        print(found[-1], file=sys.stderr, flush=True)
    return {
        "unbroken_s": round(seconds, 1),
        "kills": len(found),
        "fell_into_the_run": sum(one["killed"] for one in found),
        "equal": sum(one["equal"] for one in found),
        "exit_codes": dict(Counter(one["again"] for one in found)),
        "rounds": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--jobs", nargs="+", choices=("embed", "train"), default=["embed", "train"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=2048, help="edge of a slide, px, a multiple of 32")
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    rng, results = random.Random(args.seed), {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        data = Path(folder)
        table = make_cohort(data, args.size)

        def embed(store: Path) -> list[str]:
            return ["embed", str(table), "--store", str(store), *READING]

        def train(out: Path) -> list[str]:
            store = str(data / "features")
            how = ["--set", "k=4", "--epochs", str(args.epochs), "--resume"]
            return ["train", str(table), "--store", store, "--out", str(out), *READING, *how]

        for name in args.jobs:
            (data / name).mkdir()
            if name == "embed":
                results[name] = rounds(embed, digest_of_features, data / name, args.kills, rng)
            else:
                ended(forked(called(embed(data / "features"), data / "log")))
                results[name] = rounds(train, digest_of_model, data / name, args.kills, rng)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

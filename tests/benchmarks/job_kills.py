"""Kill commands at random moments, start them again, and compare with unbroken runs.

    python tests/benchmarks/job_kills.py --json [--jobs embed train predict detect finetune] [--kills 20]

A small synthetic cohort. Each round runs the command in a process of its own, a fork of one that has
imported everything, so that no kill falls into imports. It sends SIGKILL after a random part of the time
that an unbroken run takes, and runs the same command again to its end; trainings with ``--resume``.
``equal``: of `embed`, every bit of all features; of `train`, metrics, curves, held-out predictions and
weights; of `predict` and `detect`, all files. These two write over the results of another slide, and
``mixed`` counts the kills after which, before the second run, the folder holds files of both. `finetune`
has to go on, to weights that load. The system's temporary folder lies on another disk than the results, if
there is /dev/shm. ``left_over``: names of unfinished files that stay behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from small_jobs import (
    Command,
    called,
    commands,
    ended,
    forked,
    import_all,
    import_more,
    left_over,
    make_cohort,
    results,
)

from napari_zoommil.bags import FeatureCache

COMPARED = ("curves.csv", "predictions.csv", "held_out.json", "model.safetensors")


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


def digest_of_results(folder: Path) -> str:
    """Hash of all finished files."""
    return hashlib.sha256(repr(results(folder)).encode()).hexdigest()


def loads(folder: Path) -> str:
    """Whether a fine-tuned model is there, with all of its epochs."""
    from napari_zoommil.cells.model import load_cell_model

    load_cell_model(folder)
    return f"{len((folder / 'curves.csv').read_text().splitlines())} lines"


DIGESTS: dict[str, Callable[[Path], str]] = {
    "embed": digest_of_features,
    "train": digest_of_model,
    "predict": digest_of_results,
    "detect": digest_of_results,
    "finetune": loads,
}


def is_mixed(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> bool:
    """Whether a reader of the folder would find files of two runs."""
    from napari_zoommil.file_sets import finish_replacing
    from napari_zoommil.jobs.prediction_files import SET

    finish_replacing(folder, SET)
    return results(folder) not in (old, new)


def rounds(
    of: Callable[[Path], Command],
    digest: Callable[[Path], str],
    work: Path,
    kills: int,
    rng: random.Random,
    other: Callable[[Path], Command] | None = None,
) -> dict[str, Any]:
    """Kill and restart a command that writes to a folder of its own in each round, or over ``other``'s."""
    log, whole, old = work / "log", work / "whole", work / "old"
    ended(forked(called(of(work / "first"), log)))
    import_more(log)
    started = time.monotonic()
    if (code := ended(forked(called(of(whole), log)))) != 0:
        raise SystemExit(f"the unbroken run ended in {code}: {log.read_text()[-2000:]}")
    seconds, expected = time.monotonic() - started, digest(whole)
    if other is not None:
        assert ended(forked(called(other(old), log))) == 0, log.read_text()[-2000:]
    found: list[dict[str, Any]] = []
    for number in range(kills):
        folder, after = work / f"round-{number}", rng.uniform(0, seconds)
        if other is not None:
            shutil.copytree(old, folder)
        pid = forked(called(of(folder), log))
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
        was = ended(pid)
        mixed = other is not None and is_mixed(folder, results(old), results(whole))
        again = ended(forked(called(of(folder), log)))
        found.append(
            {
                "after_s": round(after, 2),
                "killed": was == -signal.SIGKILL,
                "again": again,
                "equal": again == 0 and digest(folder) == expected,
                "mixed": mixed,
                "left_over": left_over(folder),
            }
        )
        print(found[-1], file=sys.stderr, flush=True)
    return {
        "unbroken_s": round(seconds, 1),
        "kills": len(found),
        "fell_into_the_run": sum(one["killed"] for one in found),
        "equal": sum(one["equal"] for one in found),
        "mixed": sum(one["mixed"] for one in found),
        "exit_codes": dict(Counter(one["again"] for one in found)),
        "left_over": sorted({name for one in found for name in one["left_over"]}),
        "rounds": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--jobs", nargs="+", choices=tuple(DIGESTS), default=list(DIGESTS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--data", type=Path, default=None, help="folder where the slides are kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=2048, help="edge of a slide, px, a multiple of 32")
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    import_all()
    rng, found = random.Random(args.seed), {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        data = Path(folder)
        table = make_cohort(args.data or data, args.size)
        known = commands(table, args.epochs)
        for name in args.jobs:
            (data / name).mkdir()
            if name == "train":
                ended(forked(called(known["embed"](table.with_name("features")), data / "log")))
            of, over = known[name], name in ("predict", "detect")
            found[name] = rounds(
                (lambda out, of=of: [*of(out), "--resume"]) if name in ("train", "finetune") else of,
                DIGESTS[name],
                data / name,
                args.kills,
                rng,
                (lambda out, of=of: [part.replace("0.tif", "7.tif") for part in of(out)]) if over else None,
            )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

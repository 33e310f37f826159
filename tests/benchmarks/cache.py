"""Two processes create and fill one feature cache, and some of them are killed: what is left is looked at.

    python tests/benchmarks/cache.py --json [--rounds 20] [--seconds 1.5] [--seed 0]

In each round two writers start at the same moment on a folder that is not there (every other round: on that
of the round before). Each adds features of random patches, some of which the other adds too, and says after
each time which. None, one or both get SIGKILL at a random moment. Then every row that counts is compared with
what it should be. ``lost`` are rows that a writer had spoken of and that are not there, ``wrong`` are rows
that count and have other features, ``raw_errors`` are writers that ended in an error that is none of ours.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_zoommil.bags.cache import EncoderKey, FeatureCache
from napari_zoommil.bags.group import FeatureGroup
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.geometry import PatchLevel, full_lattice

STRIDE, DIM, MOST_ROWS = 256.5, 64, 300
EDGE = 400
"""Patches along an edge of the made slide."""


def level() -> PatchLevel:
    """The patches of a made slide."""
    lattice = full_lattice((int(EDGE * STRIDE), int(EDGE * STRIDE)), (STRIDE, STRIDE))
    count = len(lattice)
    return PatchLevel.from_lattice(
        20.0, 0.5, (STRIDE, STRIDE), lattice, np.full(count, -1), np.ones(count, np.float32)
    )


def group_of(folder: Path, patches: PatchLevel) -> FeatureGroup:
    return FeatureCache(folder).group("f" * 32, EncoderKey("made", "e" * 16), patches, 256)


def features_of(origins: np.ndarray) -> np.ndarray:
    """(n, DIM) that tell every patch from every other."""
    return np.sin(origins @ np.array((0.37, 0.0113))[:, None] + np.arange(DIM)).astype(np.float32)


def write(folder: Path, said: Path, seed: int, seconds: float) -> int:
    """Add random patches from a word on standard input on; 3 where an error of ours ends it."""
    rng, patches = np.random.default_rng(seed), level()
    assert "torch" not in sys.modules
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + seconds
    try:
        group = group_of(folder, patches)
        with said.open("w") as file:
            while time.monotonic() < until:
                rows = rng.choice(len(patches), rng.integers(1, MOST_ROWS), replace=False)
                group.append(patches.origins[rows], features_of(patches.origins[rows]))
                print(*rows, file=file, flush=True)
    except ZoomMILError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


def play(folder: Path, rng: random.Random, seconds: float) -> dict[str, int]:
    """One round."""
    said = [folder.with_name(f"said-{number}") for number in range(2)]
    command = [sys.executable, __file__, "--folder", str(folder), "--seconds", str(seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [
        subprocess.Popen([*command, "--said", str(file), "--seed", str(rng.randrange(2**31))], **pipes)
        for file in said
    ]
    for writer in writers:
        assert writer.stdout.readline().strip() == b"ready", writer.communicate()[1].decode()
    for writer in writers:
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    started = time.monotonic()
    killed = writers[: rng.choice((0, 1, 1, 2))]
    for moment, writer in sorted(((rng.uniform(0, seconds), w) for w in killed), key=lambda each: each[0]):
        time.sleep(max(0.0, started + moment - time.monotonic()))
        writer.kill()
    raw_errors = 0
    for writer in writers:
        error = writer.communicate()[1].decode()
        if writer.returncode not in (0, 3) and writer not in killed:
            raw_errors += 1
            print(error, file=sys.stderr)
    spoken = "".join(file.read_text().rpartition("\n")[0] + " " for file in said if file.exists())
    for file in said:
        file.unlink(missing_ok=True)
    found = compared(folder, set(map(int, spoken.split())))
    return {"killed": len(killed), "raw_errors": raw_errors, **found}


def compared(folder: Path, said: set[int]) -> dict[str, int]:
    """What counts, what of it is wrong, and what is lost."""
    patches = level()
    found = group_of(folder, patches).find(patches.origins)
    rows = np.flatnonzero(found.known)
    wrong, parts = 0, len(found.parts)
    if len(rows):
        expected = features_of(patches.origins[rows]).astype(np.float16)
        wrong = int((found.read(rows) != expected).any(1).sum())
    return {"rows": len(rows), "wrong": wrong, "lost": len(said - set(rows.tolist())), "parts": parts}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.5, help="that writers write in a round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--said", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        return write(args.folder, args.said, args.seed, args.seconds)
    rng, rounds = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as work:
        for number in range(args.rounds):
            rounds.append(play(Path(work) / str(number // 2), rng, args.seconds))
            print(rounds[-1], file=sys.stderr, flush=True)
    totals = {name: sum(one[name] for one in rounds) for name in ("killed", "raw_errors", "wrong", "lost")}
    print(json.dumps({"rounds": len(rounds), **totals, "each": rounds}, indent=2))
    return int(any(totals[name] for name in ("raw_errors", "wrong", "lost")))


if __name__ == "__main__":
    sys.exit(main())

"""Commands that are interrupted, have no room or may not write, or whose slide changes under them.

    python tests/benchmarks/disturbed_jobs.py --json [--parts signals full read-only slide] [--signals 10]

Each command runs in a fork, over the results of an earlier run. `signals`: SIGINT or SIGTERM at a random
moment. `full`: on a small disk with four amounts of room, and `read-only` on one that is mounted so; both
need root, and Linux. `slide`: the slide is deleted, renamed, cut, emptied or replaced while it is read.
A command ends in 0; or in 1, 130 or 143 with one line that says why. ``faults`` are tracebacks, hangs,
other codes, lines that name no file, older results that are not as they were, and what is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from small_jobs import (
    OVERWRITING,
    Command,
    called,
    commands,
    ended,
    ended_within,
    forked,
    import_all,
    left_over,
    make_cohort,
    results,
)

SECONDS = 120.0
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
ROOM = (0, 20_000, 200_000, 1_500_000)
"""Bytes that are free on a full disk."""

RESUMED = ("last.ckpt", "best.ckpt")
"""What a training goes on from."""

Of = Callable[[Path], Command]


def last_line(log: Path) -> str:
    """What a command said last, below its progress."""
    lines = [line.strip() for line in log.read_text().splitlines()]
    return next((line for line in reversed(lines) if line), "")


def is_sentence(line: str) -> bool:
    """Whether a line tells an error, of one slide of several too, in words of ours."""
    return line.startswith(("error: ", "warning: ")) and not line.endswith(":") and "enforce fail" not in line


def fault_of(code: int | None, log: Path, codes: tuple[int, ...]) -> str:
    """What is wrong with how a command ended; empty if nothing is."""
    said = log.read_text() if log.exists() else ""
    if "Traceback" in said:
        return "traceback: " + said[-1500:]
    if code is None:
        return "hang"
    if code not in codes:
        return f"exit code {code}: {said[-300:]}"
    if code == 1 and not any(is_sentence(line.strip()) for line in said.splitlines()):
        return f"no sentence: {last_line(log)}"
    return ""


def interrupted(of: Of, work: Path, rng: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Ends of a command that gets a signal, half of them over the results of an earlier run."""
    log, old, seconds = work / "log", work / "old", 0.0
    started = time.monotonic()
    assert ended(forked(called(of(old), log))) == 0, log.read_text()
    seconds = time.monotonic() - started
    for number in range(count):
        sent, folder, temporary = list(SIGNALS)[number % 2], work / f"{number}", work / f"tmp-{number}"
        temporary.mkdir()
        log.unlink()
        over = number % 4 > 1 and of(old)[0] in OVERWRITING
        if over:
            shutil.copytree(old, folder)
        pid = forked(called(of(folder), log, temporary))
        time.sleep(rng.uniform(0.02, seconds))
        began = time.monotonic()
        os.kill(pid, sent)
        code = ended_within(pid, SECONDS)
        fault = fault_of(code, log, (0, SIGNALS[sent]))
        if not fault and code and last_line(log) != "cancelled":
            fault = f"not said: {last_line(log)}"
        if not fault and over and results(folder) != results(old):
            fault = "other results"
        left = left_over(temporary) + [name for name in left_over(folder) if name not in RESUMED]
        yield {
            "signal": sent.name,
            "code": code,
            "after_s": round(time.monotonic() - began, 2),
            "fault": fault or (f"left over: {left}" if left else ""),
        }


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A small disk."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def full(of: Of, work: Path) -> Iterator[dict[str, Any]]:
    """Ends of a command on a disk with little room, and whether it works when there is some again."""
    old, log = work / "old", work / "log"
    assert ended(forked(called(of(old), log))) == 0, log.read_text()
    overwrites = of(old)[0] in OVERWRITING
    for room in ROOM:
        with disk(work / "disk", 96 << 20) as place:
            folder, filler = place / "out", place / "filler"
            if overwrites:
                shutil.copytree(old, folder)
            with filler.open("wb") as file:
                free = os.statvfs(place)
                file.write(bytes(max(0, free.f_bavail * free.f_frsize - room)))
            log.unlink(missing_ok=True)
            code = ended_within(forked(called(of(folder), log)), SECONDS)
            fault, said = fault_of(code, log, (0, 1)), last_line(log) if code else ""
            if not fault and code and overwrites and results(folder) != results(old):
                fault = "other results"
            if not fault and code and "/" not in said and "." not in said:
                fault = f"names no file: {said}"
            if not fault and (left := [name for name in left_over(place) if name not in RESUMED]):
                fault = f"left over: {left}"
            filler.unlink()
            again = ended_within(forked(called(of(folder), log)), SECONDS)
            if not fault and again and not (again == 1 and "holds" in last_line(log)):
                fault = f"not even with room: {last_line(log)}"
            yield {"room": room, "code": code, "said": said, "fault": fault}


def read_only(of: Of, work: Path) -> Iterator[dict[str, Any]]:
    """The end of a command on a disk that may not be written to, and how soon it came."""
    log = work / "log"
    with disk(work / "disk", 1 << 20) as place:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        began = time.monotonic()
        code = ended_within(forked(called(of(place / "out"), log)), SECONDS)
        yield {
            "code": code,
            "after_s": round(time.monotonic() - began, 2),
            "said": last_line(log),
            "fault": fault_of(code, log, (1,)),
        }


def cut(slide: Path) -> None:
    os.truncate(slide, slide.stat().st_size // 3)


CHANGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "renamed": lambda slide: slide.rename(slide.with_suffix(".gone")),
    "cut": cut,
    "emptied": lambda slide: os.truncate(slide, 0),
    "replaced": lambda slide: shutil.copyfile(slide.with_name("7.tif"), slide),
}


def slide_changed(name: str, table: Path, work: Path, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Ends of a command whose slide, or one of whose two or ten slides, changes while it runs."""
    for what, change in CHANGES.items():
        folder, log = work / what, work / f"{what}.log"
        folder.mkdir()
        needs_all = name in ("train", "train-encoder")
        for path in table.parent.glob("*.tif" if needs_all else "[07].tif"):
            shutil.copy(path, folder)
        for path in (table, table.with_name("points.geojson")):
            shutil.copy(path, folder)
        if not needs_all:
            (folder / table.name).write_text("slide,label\n0.tif,a\n7.tif,b\n")
        pid = forked(called(commands(folder / table.name)[name](folder / "out"), log))
        time.sleep(rng.uniform(0.05, 0.8))
        change(folder / "0.tif")
        code = ended_within(pid, SECONDS)
        fault = fault_of(code, log, (0, 1))
        yield {"change": what, "code": code, "said": last_line(log) if code else "", "fault": fault}


def main() -> None:
    parts = ("signals", "full", "read-only", "slide")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--jobs", nargs="+", default=None, help="commands; all by default")
    parser.add_argument("--signals", type=int, default=10, help="signals to each command")
    parser.add_argument("--size", type=int, default=1024, help="edge of a slide, px, a multiple of 32")
    parser.add_argument("--data", type=Path, default=None, help="folder where the slides are kept")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import_all()
    rng, found = random.Random(args.seed), defaultdict(dict)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        data = Path(name)
        table = make_cohort(args.data or data, args.size)
        known = commands(table)
        assert ended(forked(called(known["embed"](table.with_name("features")), data / "log"))) == 0
        for part in args.parts:
            for job in args.jobs or known:
                work = data / f"{part}-{job}"
                work.mkdir()
                tries = {
                    "signals": lambda of, w=work: interrupted(of, w, rng, args.signals),
                    "full": lambda of, w=work: full(of, w),
                    "read-only": lambda of, w=work: read_only(of, w),
                    "slide": lambda of, w=work, j=job: slide_changed(j, table, w, rng),
                }[part](known[job])
                found[part][job] = []
                for one in tries:
                    found[part][job].append(one)
                    print(part, job, one, file=sys.stderr, flush=True)
                shutil.rmtree(work)
    every = [one for jobs in found.values() for ends in jobs.values() for one in ends]
    codes = {
        part: Counter(str(one["code"]) for ends in jobs.values() for one in ends)
        for part, jobs in found.items()
    }
    print(json.dumps({"codes": codes, "faults": sum(bool(one["fault"]) for one in every), **found}, indent=2))


if __name__ == "__main__":
    main()

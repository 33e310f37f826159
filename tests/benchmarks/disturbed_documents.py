"""Annotations whose file is taken away, shared, locked or on a full disk; a folder that two trainings want.

    python tests/benchmarks/disturbed_documents.py --json [--parts documents trainings] [--edits 150]

``lost`` are points that were on disk and are in no file in the end; 0 in every row. ``waited_s`` is how
long an edit took that met a lock. The full disk needs root, and Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from disturbed_jobs import disk, last_line
from small_jobs import called, commands, ended, forked, import_all, make_cohort

from napari_zoommil.annotations import Autosave, Points
from napari_zoommil.files import locked
from napari_zoommil.slides import Slide

Row = dict[str, Any]


def document(path: Path, count: int = 0) -> Autosave:
    """The annotations of a slide, or those in a file."""
    if path.suffix == ".tif":
        with Slide.open(path) as slide:
            found = Autosave.of(slide)
    else:
        found = Autosave.open(path)
    if not found.points.classes:
        found.points.add_class("tumour")
    if count:
        found.points.add(np.random.default_rng(0).uniform(0, 999, (count, 2)), 1)
    return found


def places_in(folder: Path) -> set[tuple[float, ...]]:
    """Places of the points in all files of a folder, those that were put aside among them."""
    found: set[tuple[float, ...]] = set()
    for path in folder.glob("*.geojson"):
        try:
            found |= {tuple(place) for place in Points.read(path).coordinates.tolist()}
        except Exception:  # a damaged copy that was put aside
            continue
    return found


def link_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_document(path: Path) -> None:
    other = Points()
    other.add([[1, 2]], other.add_class("other"))
    other.write(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "other text": lambda path: path.write_text("{}"),
    "a folder": as_folder,
    "a link loop": link_loop,
    "folder removed": lambda path: shutil.rmtree(path.parent),
    "another document": other_document,
}


def changed_under(folder: Path, slide: Path) -> dict[str, Row]:
    """A file changes under an open document of 200 points of a slide, which is then edited twice."""
    rows = {}
    os.environ["XDG_DATA_HOME"] = str(folder / "user")
    for what, change in CHANGES.items():
        home = folder / what.replace(" ", "-")
        home.mkdir()
        kept = document(Path(shutil.copy(slide, home / "a.tif")), 200)
        before = places_in(home)
        change(kept.path)
        for place in ([5.0, 5.0], [6.0, 6.0]):
            kept.points.add([place], 1)
        said = str(kept.problem or "")
        if kept.problem and home.is_dir():  # whoever reads the sentence takes away what is in the way
            shutil.rmtree(kept.path) if kept.path.is_dir() else kept.path.unlink()
            kept.save()
        lost, points = before - places_in(home) - places_in(kept.path.parent), len(kept.points)
        aside = sorted(path.name for path in home.glob("*-*.geojson"))
        rows[what] = {"lost": len(lost), "points": points, "said": said, "aside": aside}
    return rows


def annotate(path: Path, seed: int, edits: int) -> None:
    """Edit a document that others edit too."""
    kept, rng = document(path), np.random.default_rng(seed)
    for number in range(edits):
        kept.points.add([[seed * 10_000 + number, rng.uniform(0, 999)]], 1)
        time.sleep(float(rng.uniform(0, 0.01)))
    end = time.monotonic() + 60
    while kept.problem and time.monotonic() < end:
        time.sleep(0.2)
        kept.points.recolour_class(1, (int(rng.integers(256)), 0, 0))


def shared(folder: Path, edits: int) -> Row:
    """Three processes annotate one slide."""
    path = folder / "shared.points.geojson"
    document(path, 1)
    pids = [forked(lambda seed=seed: annotate(path, seed, edits)) for seed in (1, 2, 3)]
    codes = [ended(pid) for pid in pids]
    found = Points.read(path).coordinates[:, 0]
    return {"edits": 3 * edits, "codes": codes, "lost": 3 * edits - int((found >= 10_000).sum())}


def stale_lock(folder: Path) -> Row:
    """The lock of a process that was killed."""
    kept = document(folder / "stale.points.geojson", 1)

    def hold() -> None:
        with locked(kept.path):
            time.sleep(600)

    pid = forked(hold)
    time.sleep(1)
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    began = time.monotonic()
    kept.points.add([[1, 1]], 1)
    seconds = time.monotonic() - began
    return {
        "waited_s": round(seconds, 2),
        "lost": 2 - len(Points.read(kept.path)),
        "said": str(kept.problem or ""),
    }


def held_lock(folder: Path) -> Row:
    """The lock of a process that goes on for a while."""
    kept = document(folder / "held.points.geojson", 1)

    def hold() -> None:
        with locked(kept.path):
            time.sleep(8)

    pid = forked(hold)
    time.sleep(1)
    began = time.monotonic()
    kept.points.add([[1, 1]], 1)
    seconds, said = time.monotonic() - began, str(kept.problem or "")
    ended(pid)
    kept.points.add([[2, 2]], 1)
    return {"waited_s": round(seconds, 2), "said": said, "lost": 3 - len(Points.read(kept.path))}


def disk_full(folder: Path) -> Row:
    """Edits of a document on a disk that is full, then has room."""
    with disk(folder / "disk", 4 << 20) as place:
        kept = document(place / "a.points.geojson", 200)
        filler = place / "filler"
        free = os.statvfs(place)
        filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
        for number in range(50):
            kept.points.add([[number, number]], 1)
        said, whole = str(kept.problem or ""), len(Points.read(kept.path))
        filler.unlink()
        kept.points.add([[3, 3]], 1)
        left = sorted(path.name for path in place.glob(".*.part"))
        return {"said": said, "old_file": whole, "lost": 251 - len(Points.read(kept.path)), "left_over": left}


def two_trainings(folder: Path, table: Path) -> Row:
    """Two fine-tunings into one folder at once: one of them is refused."""
    of, logs = commands(table)["finetune"], [folder / "log-1", folder / "log-2"]
    pids = [forked(called(of(folder / "model"), log)) for log in logs]
    codes = [ended(pid) for pid in pids]
    lines = (folder / "model" / "curves.csv").read_text().splitlines()
    said = [last_line(log) for code, log in zip(codes, logs, strict=True) if code]
    return {"codes": codes, "said": said, "curves": len(lines)}


def beside_training(folder: Path, table: Path, edits: int) -> Row:
    """A document is edited while a fine-tuning reads it."""
    path = Path(shutil.copy(table.with_name("points.geojson"), folder / "edited.points.geojson"))
    command = commands(table)["finetune"](folder / "taught")
    command[command.index("--annotations") + 1] = str(path)
    pid = forked(called(command, folder / "log"))
    before = len(Points.read(path))
    annotate(path, 1, edits)
    return {"code": ended(pid), "edits": edits, "lost": before + edits - len(Points.read(path))}


def main() -> None:
    parts = ("documents", "trainings")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--edits", type=int, default=150, help="of each of three processes")
    parser.add_argument("--size", type=int, default=1024, help="edge of a slide, px, a multiple of 32")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="documents need no torch")
    args = parser.parse_args()
    if "trainings" in args.parts:
        import_all()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        table = make_cohort(folder / "data", args.size)
        rows: dict[str, Callable[[], Any]] = {
            "changed under a document": lambda: changed_under(folder, table.with_name("0.tif")),
            "three processes": lambda: shared(folder, args.edits),
            "stale lock": lambda: stale_lock(folder),
            "held lock": lambda: held_lock(folder),
            "disk full": lambda: disk_full(folder),
            "two trainings": lambda: two_trainings(folder, table),
            "beside a training": lambda: beside_training(folder, table, 3 * args.edits),
        }
        of_training = {what: "training" in what for what in rows}
        rows = {what: row for what, row in rows.items() if parts[of_training[what]] in args.parts}
        found = {}
        for what, row in rows.items():
            try:
                found[what] = row()
            except Exception as error:
                found[what] = {"failure": repr(error)}
            print(what, found[what], file=sys.stderr, flush=True)
    print(json.dumps(found, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()

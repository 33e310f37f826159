"""Whether any text can hurt the program: damaged annotation files and tables, used as a user would.

    python tests/benchmarks/text_mutants.py --json [--geojson 10000] [--tables 1000] [--keep FOLDER]

A child process reads each annotation file as points, writes and reads it again, edits it and takes the
edits back; and reads it as regions, of all classes and of each. Each table is read as a cohort, and as a
list of slides. A file is opened, or refused in one line; anything else has failed: another exception, a
document that is not the same when it was written and read, a hang, a crash, more memory than there should
be. The exit code is 1 if any failed. Number NUMBER of a run follows from the seed alone (``--only NUMBER``).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mutant_child import Report, answer
from mutants import Child
from text_mutations import documents, json_changed, table_changed, tables

SLIDES = [f"s{number}.svs" for number in range(12)]

MEMORY = 1 << 30
"""Bytes by which a child may grow over one file."""


def state(points: Any) -> tuple[Any, ...]:
    """What a document means."""
    regions = [(one.class_name, one.complete, one.polygons) for one in points.regions.values()]
    places = points.coordinates.tolist()
    return places, points.labels.tolist(), points.classes, regions, len(points.features), points.annotators


def read_points(path: Path) -> None:
    """Read, write, read again; edit, undo, write again."""
    from napari_zoommil.annotations import Points

    for origin in (None, (12.5, -7.0)):
        points, copy = Points.read(path, origin=origin), path.with_name("copy.geojson")
        before = state(points)
        points.write(copy)
        again = Points.read(copy, origin=origin)
        assert state(again) == before, "another document after it was written"
        edit(points)
        points.write(copy)
        edited = Points.read(copy, origin=origin)
        assert state(edited) == state(points), "another document after it was edited and written"
        while points.can_undo:
            points.undo()
        assert state(points) == before, "another document after all edits were undone"


def edit(points: Any) -> None:
    """One of each edit."""
    label = points.add_class(f"new class {len(points.classes)}")
    first, *_ = points.add([[5, 6], [7, 8]], label)
    points.move([first], [[1, 2]])
    ids = points.ids
    points.set_class(ids[:1], label)
    points.remove(ids[1:2])
    points.add_region([[0, 0], [0, 9], [9, 9]], label)
    points.rename_class(1, f"renamed {len(points.classes)}")
    points.recolour_class(1, (1, 2, 3))
    regions = list(points.regions)
    points.set_region_class(regions[:1], 0)
    points.redraw_regions({regions[0]: [[0, 0], [0, 5], [5, 5]]})
    points.remove_regions(regions[-1:])


def read_regions(path: Path) -> None:
    """All regions, those of each class, and their area on a slide."""
    from napari_zoommil.annotations.regions import covered
    from napari_zoommil.commands.regions import read_named

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = read_named(str(path), None)
        area = covered(found, (500, 500)).area
    assert found and 0 <= area <= 250_000, area


def read_cohort(path: Path) -> None:
    """As ``train`` reads it."""
    from napari_zoommil.training.mil.cohort import read_cohort

    cohort = read_cohort(path)
    assert len(cohort) and all(one.label and one.slide.name for one in cohort)


def read_slides(path: Path) -> None:
    """As ``predict`` reads it."""
    from napari_zoommil.training.mil.cohort import slides_of_table

    assert all(isinstance(one, Path) for one in slides_of_table(path))


READERS: dict[str, tuple[Callable[[Path], None], ...]] = {
    ".geojson": (read_points, read_regions),
    ".csv": (read_cohort, read_slides),
}


def use(path: Path) -> Report:
    """Outcome of a file for each of its readers."""
    from napari_zoommil.errors import ZoomMILError

    outcomes, said = {}, {}
    for reader in READERS[path.suffix]:
        name = reader.__name__
        try:
            reader(path)
            outcomes[name] = "opened"
        except ZoomMILError as error:
            outcomes[name] = "refused"
            # A table is refused for each of its faults, in one line.
            faults = getattr(error, "faults", ()) or (str(error),)
            said |= {f"{name} {number}": fault for number, fault in enumerate(faults)}
            if "\n" in str(error) or "\r" in str(error):
                return {"failure": "sentence", "step": name, "detail": repr(error)}
        except BaseException:
            return {"failure": "exception", "step": name, "detail": traceback.format_exc()}
    return {"outcomes": outcomes, "said": said}


def mutated(ending: str, seed: int, number: int) -> bytes:
    rng = np.random.default_rng([seed, number])
    sound = documents() if ending == ".geojson" else tables(SLIDES)
    change = json_changed if ending == ".geojson" else table_changed
    return change(sound[number % len(sound)], rng)


def try_texts(
    ending: str, numbers: list[int], seed: int, tried: Child, folder: Path, keep: Path | None
) -> Report:
    counts: dict[str, Counter[str]] = {reader.__name__: Counter() for reader in READERS[ending]}
    failures: list[Report] = []
    for number in numbers:
        path = folder / f"mutant{ending}"
        path.write_bytes(mutated(ending, seed, number))
        report = tried.ask(path)
        for reader, outcome in report.get("outcomes", {}).items():
            counts[reader][outcome] += 1
        if "failure" in report:
            failures.append({"number": number, **report})
            if keep:
                (keep / f"{seed}-{number}{ending}").write_bytes(path.read_bytes())
    kinds = Counter(one["failure"] for one in failures)
    return {"files": len(numbers), "readers": counts, "by_failure": kinds, "failures": failures[:50]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--geojson", type=int, default=10_000)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="time limit of each file")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the files to try")
    parser.add_argument("--keep", type=Path, help="folder for the files that fail")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return answer(use)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    tried = Child([sys.executable, __file__, "--child"], args.seconds, MEMORY)
    found: Report = {"seed": args.seed}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for slide in SLIDES:
            (folder / slide).touch()
        for ending, count in ((".geojson", args.geojson), (".csv", args.tables)):
            numbers = list(range(count)) if args.only is None else args.only[: count and None]
            found[ending] = try_texts(ending, numbers if count else [], args.seed, tried, folder, args.keep)
    tried.close()
    print(json.dumps(found, indent=2, ensure_ascii=False))
    sys.exit(any(found[ending]["failures"] for ending in READERS))


if __name__ == "__main__":
    main()

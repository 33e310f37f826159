"""Damaged copies of slides, read in a child process; ``tests/benchmarks/mutants.py`` tries many more."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

MADE, REAL = 20, 10
"""Copies of a made and of a real slide."""
SECONDS = 10.0

ANSWERS = """
import sys
print("{}", flush=True)
for line in sys.stdin:
"""


@pytest.fixture(scope="module")
def mutants() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        yield importlib.import_module("mutants")


@pytest.fixture(scope="module")
def reader(mutants: ModuleType) -> Iterator[Any]:
    """A child that opens and reads, but does not predict."""
    child = mutants.child(SECONDS, predicting=False)
    yield child
    child.close()


@pytest.fixture
def scripted(mutants: ModuleType) -> Iterator[Callable[..., Any]]:
    """``scripted(line)``: a child that runs a line of Python for each file."""
    children = []

    def make(line: str, seconds: float = SECONDS, memory: int = 1 << 30) -> Any:
        command = [sys.executable, "-c", f"{ANSWERS}    {line}"]
        children.append(mutants.Child(command, seconds, memory))
        return children[-1]

    yield make
    for child in children:
        child.close()


@pytest.fixture
def pyramid(tiff: Callable[..., Path]) -> Path:
    """A very small slide of two levels."""
    fine = np.random.default_rng(0).integers(0, 256, (384, 320, 3), np.uint8)
    return tiff("made.tif", fine, fine[::2, ::2], mpp=(0.5, 0.5))


def try_all(mutants: ModuleType, reader: Any, slide: Path, count: int, folder: Path) -> list[dict[str, Any]]:
    copies = [mutants.Copy(slide, 1, number) for number in range(count)]
    return mutants.try_copies(copies, reader, folder, None)


def test_a_sound_slide_is_opened(reader: Any, pyramid: Path) -> None:
    report = reader.ask(pyramid)
    assert report["outcome"] == "opened", report
    assert report["said"] == {}


def test_no_copy_of_a_made_slide_hurts(
    mutants: ModuleType, reader: Any, pyramid: Path, tmp_path: Path
) -> None:
    reports = try_all(mutants, reader, pyramid, MADE, tmp_path)
    failed = [report for report in reports if report["outcome"] == "failed"]
    assert failed == [], failed
    assert len({report["outcome"] for report in reports}) > 1, "the damage was never or always too much"


def test_no_copy_of_a_real_slide_hurts(mutants: ModuleType, reader: Any, cmu: Path, tmp_path: Path) -> None:
    reports = try_all(mutants, reader, cmu, REAL, tmp_path)
    failed = [report for report in reports if report["outcome"] == "failed"]
    assert failed == [], failed
    assert len({report["outcome"] for report in reports}) > 1, "the damage was never or always too much"


def test_a_copy_follows_from_its_number(mutants: ModuleType, pyramid: Path, tmp_path: Path) -> None:
    written = [
        mutants.Copy(pyramid, 3, number).write(tmp_path)[0].read_bytes() for number in (0, 0, 1, 2, 3, 4)
    ]
    assert written[0] == written[1]
    assert len(set(written)) == 5
    assert pyramid.read_bytes() not in written


def test_a_sentence_is_one_short_line(mutants: ModuleType) -> None:
    for sentence in ("", "two\nlines", "x" * 400):
        assert mutants.judged({"outcome": "refused", "said": {"open": sentence}}, "")["failure"] == "sentence"
    said = {"outcome": "refused", "said": {"open": "x.svs is no slide"}}
    assert mutants.judged(dict(said), "") == said


@pytest.mark.parametrize(
    ("line", "failure", "detail"),
    [
        ("raise SystemExit(3)", "crash", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "crash", "exit code"),
        ("print('careful', file=sys.stderr, flush=True); print('{}', flush=True)", "printed", "careful"),
        ("""print('{"outcome": "opened", "open": ["x.svs"]}', flush=True)""", "left open", "x.svs"),
    ],
)
def test_what_a_child_does_is_noticed(
    scripted: Callable[..., Any], tmp_path: Path, line: str, failure: str, detail: str
) -> None:
    report = scripted(line).ask(tmp_path)
    assert (report["outcome"], report["failure"]) == ("failed", failure)
    assert detail in report["detail"]


def test_a_hang_ends_and_the_next_file_is_tried(scripted: Callable[..., Any], tmp_path: Path) -> None:
    child = scripted("import time; time.sleep(60 if 'slow' in line else 0); print('{}', flush=True)", 0.3)
    assert child.ask(tmp_path / "slow")["failure"] == "hang"
    assert "failure" not in child.ask(tmp_path / "quick")


def test_growth_is_noticed(scripted: Callable[..., Any], tmp_path: Path) -> None:
    child = scripted("import time; held = b'x' * (256 << 20); time.sleep(30)", memory=128 << 20)
    assert child.ask(tmp_path)["failure"] == "memory"

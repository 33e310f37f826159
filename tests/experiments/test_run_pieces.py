"""Pieces without a result are run, one by one or several at a time, and told when they have ended."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_zoommil.errors import JobError
from napari_zoommil.experiments import run_pieces
from napari_zoommil.experiments.pieces import Pieces
from napari_zoommil.experiments.run_pieces import run_missing, summary_line
from napari_zoommil.experiments.side_by_side import Standing
from napari_zoommil.jobs import Progress, run

CPU = torch.device("cpu")


def work(number: int) -> Generator[float, None, dict[str, Any]]:
    yield 0.5
    assert torch.get_num_threads() == 1, "one thread each"
    return {"square": number**2, "text": "not told", "epochs": [1]}


def in_turn(
    work: Callable[..., None], tasks: Mapping[str, tuple[Any, ...]], count: int
) -> Generator[Standing, None, None]:
    """As side by side, without processes."""
    assert count == 2
    for done, (name, arguments) in enumerate(tasks.items()):
        yield Standing(done / len(tasks), (name,))
        work(*arguments, lambda share: None)
    yield Standing(1.0, ())


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_missing_is_run_and_told(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_pieces, "processes", lambda _: count)
    monkeypatch.setattr(run_pieces, "side_by_side", in_turn)
    pieces = Pieces(tmp_path, {name: {} for name in "abc"})
    pieces.keep("b", {"square": -1})
    tasks = {name: (number,) for number, name in enumerate("abc", 3)}
    threads, seen = torch.get_num_threads(), list[Progress]()
    run(run_missing(pieces, tasks, work, CPU), seen.append)
    assert torch.get_num_threads() == threads
    assert {name: pieces.read(name)["square"] for name in "abc"} == {"a": 9, "b": -1, "c": 25}
    lines = [line for one in seen if one.partial is not None for line in one.partial.lines]
    assert lines == ["a: square 9", "c: square 25"]
    assert seen[-1].done == seen[-1].total
    again = list[Progress]()
    run(run_missing(pieces, tasks, work, CPU), again.append)
    assert not again, "nothing is left"


def test_results_of_other_settings_are_refused_before_any_work(tmp_path: Path) -> None:
    Pieces(tmp_path, {"a": {"seed": 0}}).keep("a", {})
    with pytest.raises(JobError, match="other settings"):
        run(run_missing(Pieces(tmp_path, {"a": {"seed": 1}}), {"a": (1,)}, work, CPU))


def test_a_line_has_the_numbers_alone() -> None:
    assert (
        summary_line("x/0", {"test": 0.86123, "epochs": [1], "seconds": 1402.6})
        == "x/0: test 0.8612, seconds 1403"
    )

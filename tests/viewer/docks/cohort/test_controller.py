"""What the Cohort dock knows, without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import CohortError, FileError
from napari_zoommil.jobs.cohort import Answer, open_cohort
from napari_zoommil.models.task import Classification
from napari_zoommil.viewer.docks.cohort.controller import CohortController

TASK = Classification(("a", "b"))
LINES = ("slide,label,split", "0.svs,a,train", "1.svs,b,val", "2.svs,b,test", "3.svs,a,test")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for number in range(4):
        (tmp_path / f"{number}.svs").touch()
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(LINES))
    return path


@pytest.fixture
def controller(table: Path) -> CohortController:
    made = CohortController()
    made.show(open_cohort(table))
    return made


def say(controller: CohortController, number: int, name: str) -> None:
    values = np.array([1, 0] if name == "a" else [0, 1], np.float32)
    controller.answer(controller.cohort.path.parent / f"{number}.svs", Answer(TASK, values))


def test_answers_reach_their_rows(controller, tmp_path) -> None:
    heard: list[tuple[int, ...]] = []
    controller.rows_changed.connect(heard.append)
    say(controller, 2, "a")
    controller.answer(tmp_path / "3.svs", None, "it is damaged")
    controller.answer(tmp_path / "other.svs", None, "not in the cohort")
    assert heard == [(2,), (3,)]
    controller.answer_all({tmp_path / f"{place}.svs": controller.rows[2].answer for place in (0, 2)})
    assert heard[2:] == [(0, 2)], "one signal for all"
    controller.forget_answers()
    say(controller, 2, "a")
    controller.answer(tmp_path / "3.svs", None, "it is damaged")
    assert controller.rows[2].is_wrong and controller.rows[3].error == "it is damaged"
    assert [path.name for path in controller.waiting] == ["0.svs", "1.svs", "3.svs"], "failed ones wait too"
    controller.forget_answers()
    assert len(controller.waiting) == 4


def test_links_are_followed_when_the_cohort_is_read_and_not_in_the_window(table, monkeypatch) -> None:
    link = table.parent / "link.svs"
    link.symlink_to(table.parent / "1.svs")
    table.write_text("slide\n0.svs\nlink.svs")
    made, found = CohortController(), open_cohort(table)
    assert found.resolved == (table.parent / "0.svs", table.parent / "1.svs")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "resolve", lambda *_: pytest.fail("it was resolved"))
        made.show(found)
        made.answer_all({entry.slide: Answer(TASK, np.array([1, 0], np.float32)) for entry in found.entries})
        assert not made.waiting and made.place_of(table.parent / "1.svs") == 1
    assert made.place_of(table.parent / "other" / ".." / "0.svs") == 0


def test_a_bad_table_leaves_what_is_open(controller, tmp_path) -> None:
    before, told = controller.cohort, []
    controller.opened.connect(lambda: told.append(controller.faults))
    bad = tmp_path / "bad.csv"
    bad.write_text("slide,label\n9.svs,a\n0.svs,\n")
    with pytest.raises(CohortError) as caught:
        open_cohort(bad)
    controller.refuse(bad, caught.value)
    assert controller.cohort is before and controller.refused == "bad.csv" and len(told) == 1
    assert [fault.split(":")[0] for fault in controller.faults] == ["line 2", "line 3"]
    controller.refuse(tmp_path / "none.csv", FileError("none.csv cannot be read"))
    assert controller.refused == "none.csv" and controller.faults == ("none.csv cannot be read",)
    controller.show(before)
    assert not controller.faults and not controller.refused


def test_what_counts_by_default_is_held_out(controller) -> None:
    for number, name in enumerate("abab"):
        say(controller, number, name)
    assert controller.counted_splits == ("val", "test") and controller.wrong == 2
    assert controller.scores().matrix.tolist() == [[0, 1], [1, 1]]
    controller.count("All with a label")
    assert controller.scores().matrix.tolist() == [[1, 1], [1, 1]]
    assert "may have been trained on" in controller.sentence(controller.scores())


def test_a_cell_shows_the_slides_it_counts_and_again_all(controller) -> None:
    for number, name in enumerate("abab"):
        say(controller, number, name)

    def shown() -> list[int]:
        return [place for place, row in enumerate(controller.rows) if controller.filter.takes(row)]

    controller.choose_cell(("a", "a"))
    assert shown() == [], "the one in train does not count"
    controller.count("All with a label")
    assert shown() == [0]
    controller.set_filter("0", "", False)
    assert shown() == [0], "the cell stays chosen"
    controller.choose_cell(("a", "a"))
    controller.set_filter("", "", False)
    assert shown() == [0, 1, 2, 3]


def test_the_next_error_goes_round_in_the_order_that_is_shown(controller) -> None:
    for number, name in enumerate("bbab"):
        say(controller, number, name)
    order = [3, 2, 1, 0]
    assert [controller.next_wrong(order, after) for after in (None, 3, 2, 0)] == [3, 2, 0, 3]
    assert controller.next_wrong([1], 1) is None and controller.next_wrong([], None) is None
    assert controller.next_wrong([2, 1], 3) == 2, "the current row is not shown"


def test_a_cohort_of_images_is_counted_in_images(controller, tmp_path) -> None:
    assert controller.progress == "0 of 4 slides have a prediction of this model"
    assert controller.sentence(controller.scores()).startswith("No labelled slide of")
    for name in ("val/a/1.png", "val/b/2.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    controller.show(open_cohort(tmp_path / "images"))
    assert controller.progress == "0 of 2 images have a prediction of this model"
    assert controller.sentence(controller.scores()) == "No labelled image of val has a prediction yet."
    controller.answer(tmp_path / "images/val/b/2.png", Answer(TASK, np.array([0, 1], np.float32)))
    assert controller.sentence(controller.scores()).endswith(" on 1 image of val.")

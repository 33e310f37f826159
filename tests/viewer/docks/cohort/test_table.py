"""The table: columns, sorting, filtering, and thousands of rows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_zoommil.familiarity import Verdict
from napari_zoommil.jobs.cohort import Answer, OpenCohort
from napari_zoommil.models.task import Classification, Regression
from napari_zoommil.training.mil.labelled_slide import LabelledSlide
from napari_zoommil.viewer.docks.cohort.controller import CohortController
from napari_zoommil.viewer.docks.cohort.table import CohortTable, ranks

TASK = Classification(("a", "b"))
ASCENDING, DESCENDING = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder


def entry(number: int, label: str = "a") -> LabelledSlide:
    return LabelledSlide(Path(f"{number:05d}.svs"), label, "test", f"patient {number % 7}")


def answer(probability: float, share: float = 0.1) -> Answer:
    values = np.array([1 - probability, probability], np.float32)
    return Answer(TASK, values, Verdict("known", share, 0.5, 100))


def cohort(name: str, entries: Iterable[LabelledSlide]) -> OpenCohort:
    own = tuple(entries)
    return OpenCohort(Path(name), own, tuple(one.slide.resolve() for one in own))


@pytest.fixture
def make(qtbot):
    def made(entries) -> tuple[CohortController, CohortTable]:
        controller = CohortController()
        controller.show(cohort("cohort.csv", entries))
        table = CohortTable(controller)
        controller.rows_changed.connect(table.rows.rows_changed)
        qtbot.addWidget(table)
        return controller, table

    return made


def texts(table: CohortTable, title: str) -> list[str]:
    at = [column.title for column in table.rows.columns].index(title)
    return [table.sorted.index(line, at).data() for line in range(table.sorted.rowCount())]


def test_columns_are_those_the_cohort_has(make) -> None:
    _, table = make([entry(1), entry(2)])
    titles = [column.title for column in table.rows.columns]
    assert titles == ["Name", "Label", "Predicted", "Prob.", "Split", "Unlike", "Group"]
    _, table = make([LabelledSlide(Path("a.svs"), "")])
    assert [column.title for column in table.rows.columns] == ["Name", "Predicted", "Prob.", "Unlike"]


def test_a_row_says_what_the_model_says(make) -> None:
    controller, table = make([entry(1), entry(2), entry(3)])
    controller.answer(entry(1).slide, answer(0.9, 0.6))
    controller.answer(entry(2).slide, answer(0.2))
    controller.answer(entry(3).slide, None, "<b>it</b> is damaged")
    assert texts(table, "Predicted") == ["✗ b", "a", "failed"]
    assert texts(table, "Prob.") == ["0.90", "0.80", ""] and texts(table, "Unlike") == ["60 %", "10 %", ""]
    cell = table.sorted.index(2, 2)
    assert cell.data(Qt.ItemDataRole.ToolTipRole) == "‹b›it‹/b› is damaged"
    assert "do not rely on this" in table.sorted.index(0, 5).data(Qt.ItemDataRole.ToolTipRole)


def test_numbers_have_a_value_and_a_residual(make) -> None:
    controller, table = make([entry(1, "2"), entry(2, "3"), entry(3, "x")])
    for number, value in ((1, 5.0), (2, 2.5), (3, 9.0)):
        controller.answer(entry(number).slide, Answer(Regression("mm"), np.array([value], np.float32)))
    assert texts(table, "Value") == ["5 mm", "2.5 mm", "9 mm"]
    assert texts(table, "Residual") == ["+3", "−0.5", ""]
    at = [column.title for column in table.rows.columns].index("Residual")
    for order, slides in ((DESCENDING, [1, 2, 3]), (ASCENDING, [2, 1, 3])):
        table.sortByColumn(at, order)
        assert table.order == [number - 1 for number in slides], "by size, and without one last"


def test_sorting_puts_rows_without_an_answer_last_and_follows_new_ones(make) -> None:
    controller, table = make([entry(number) for number in range(4)])
    controller.answer(entry(2).slide, answer(0.9))
    controller.answer(entry(3).slide, answer(0.7))
    table.sortByColumn(3, DESCENDING)
    assert table.order[:2] == [2, 3]
    controller.answer(entry(0).slide, answer(0.8))
    assert table.order == [2, 0, 3, 1]
    table.sortByColumn(3, ASCENDING)
    assert table.order == [3, 0, 2, 1]


def test_the_sort_column_goes_with_its_table(make) -> None:
    controller, table = make([entry(number) for number in range(3)])
    header = table.horizontalHeader()
    table.sortByColumn(6, DESCENDING)  # the group
    assert table.order == [2, 1, 0]
    folder = [LabelledSlide(Path(f"{name}.svs"), "") for name in "cab"]
    controller.show(cohort("folder", folder))
    table.rows.reset()
    assert table.order == [0, 1, 2] and header.sortIndicatorSection() == -1
    table.sortByColumn(0, DESCENDING)
    controller.show(cohort("cohort.csv", map(entry, range(3))))
    table.rows.reset()
    assert table.order == [2, 1, 0] and header.sortIndicatorSection() == 0, "both have it"
    table.sortByColumn(5, ASCENDING)  # what is unlike the training
    controller.show(cohort("folder", folder))
    table.rows.reset()
    assert header.sortIndicatorSection() == 3, "it has moved"
    for one, share in zip(folder, (0.3, 0.1, 0.2), strict=True):
        controller.answer(one.slide, answer(0.5, share))
    assert table.order == [1, 2, 0]


def test_ranks() -> None:
    assert ranks([3, "b", None, 1, "a", 3, ""], -1.0) == [1, 3, -1, 0, 2, 1, -1]


def test_keys_go_from_row_to_row_and_open(make, qtbot) -> None:
    _, table = make([entry(number) for number in range(5)])
    opened, asked = [], []
    table.opened.connect(opened.append)
    table.next_asked.connect(lambda: asked.append(True))
    table.show()
    table.go_to(1)
    for key in (
        Qt.Key.Key_Down,
        Qt.Key.Key_Down,
        Qt.Key.Key_Return,
        Qt.Key.Key_E,
        Qt.Key.Key_Up,
        Qt.Key.Key_Enter,
    ):
        qtbot.keyClick(table, key)
    assert opened == [3, 2] and asked == [True] and table.current == 2
    qtbot.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(table.sorted.index(0, 0)).center()
    )
    assert opened == [3, 2, 0]


def test_thousands_of_rows_stay_quick(make) -> None:
    count = 5_000
    controller, table = make([entry(number, "ab"[number % 2]) for number in range(count)])
    table.show()
    rng = np.random.default_rng(0)
    table.sortByColumn(3, DESCENDING)
    answers = {entry(n).slide: answer(float(p)) for n, p in enumerate(rng.random(count))}
    begin = time.perf_counter()
    controller.answer_all(answers)
    filled = time.perf_counter()
    assert table.order == sorted(range(count), key=lambda place: -controller.rows[place].probability)
    table.sortByColumn(3, ASCENDING)
    table.sortByColumn(3, DESCENDING)
    assert texts(table, "Prob.")[0] == "1.00" and texts(table, "Prob.")[-1] == "0.50"
    ordered = time.perf_counter()
    controller.set_filter("", "", True)
    table.sorted.invalidateFilter()
    assert table.sorted.rowCount() == controller.wrong
    scores = controller.scores()
    done = time.perf_counter()
    assert scores.judged == count
    told = f"filled {filled - begin:.2f} s, sorted {ordered - filled:.2f} s, filtered {done - ordered:.2f} s"
    assert done - begin < 8, told
    print(told)

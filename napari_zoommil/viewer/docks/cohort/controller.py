"""State of the Cohort dock, without Qt: its rows, which of them are shown and counted, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from psygnal import Signal

from napari_zoommil.files import real
from napari_zoommil.jobs.cohort import Answer, CohortRow, OpenCohort, rows_of
from napari_zoommil.jobs.cohort_scores import (
    Cell,
    Filter,
    Scores,
    scores_of,
    sentence_of,
    ways_to_count,
)


class CohortController:
    """The rows of a cohort and what a model says of them.

    Attributes
    ----------
    cohort : OpenCohort or None
    refused : str
        Name of the table that was to be opened last, if it was not possible.
    faults : tuple of str
        All that is wrong with it.
    rows : list of CohortRow
        In the order of the cohort.
    filter : Filter
        Which of them are shown.
    counting : str
        Which of them count, one of :attr:`ways`.
    is_regression : bool
        Whether the model tells numbers, as far as it has answered.
    """

    opened = Signal()
    """Another cohort, or none could be opened."""

    rows_changed = Signal(tuple)
    """(tuple of int) rows got an answer or an error; one signal for many, because all are sorted anew."""

    filtered = Signal()
    """Other rows are shown or counted."""

    def __init__(self) -> None:
        self.cohort: OpenCohort | None = None
        self.refused = ""
        self.faults: tuple[str, ...] = ()
        self.rows: list[CohortRow] = []
        self.filter = Filter()
        self.counting = ""
        self.is_regression = False
        self._places: dict[Path, int] = {}

    def refuse(self, path: Path, error: Exception | None) -> None:
        """A table or folder cannot be opened; what was open stays open."""
        told = str(error) if error else "it was not read to its end"
        self.refused, self.faults = path.name, getattr(error, "faults", ()) or (told,)
        self.opened.emit()

    def show(self, cohort: OpenCohort) -> None:
        """Another cohort is open."""
        self.cohort, self.refused, self.faults = cohort, "", ()
        self.filter, self.counting = Filter(), next(iter(ways_to_count(cohort.splits)))
        self.forget_answers()
        named = [entry.slide for entry in cohort.entries]
        self._places = {path: at for paths in (cohort.resolved, named) for at, path in enumerate(paths)}
        self.opened.emit()

    def forget_answers(self) -> None:
        """Another model is asked."""
        self.rows = rows_of(self.cohort) if self.cohort else []
        self.is_regression = False
        self.filter = replace(self.filter, cell=None)

    # Answers

    def answer(self, slide: Path, answer: Answer | None, error: str = "") -> None:
        """What the model says of a slide of the cohort, or why it could not; of others nothing is kept."""
        self._take({slide: answer}, error)

    def answer_all(self, found: Mapping[Path, Answer]) -> None:
        """Answers that were stored."""
        self._take(found)

    def _take(self, found: Mapping[Path, Answer | None], error: str = "") -> None:
        changed = []
        for slide, answer in found.items():
            if (place := self.place_of(slide)) is not None:
                self.rows[place] = replace(self.rows[place], answer=answer, error=error)
                self.is_regression = self.rows[place].value is not None or self.is_regression
                changed.append(place)
        if changed:
            self.rows_changed.emit(tuple(changed))

    def place_of(self, slide: Path) -> int | None:
        """The row of a slide; None if it is not in the cohort."""
        place = self._places.get(slide)
        return self._places.get(real(slide)) if place is None else place

    @property
    def waiting(self) -> list[Path]:
        """The slides without an answer, those that failed too."""
        return [row.entry.slide for row in self.rows if row.answer is None]

    @property
    def progress(self) -> str:
        """``12 of 15 slides have a prediction``; empty without a cohort."""
        count = len(self.rows)
        done = count - len(self.waiting)
        return f"{done:,} of {count:,} {self.unit}s have a prediction of this model" if count else ""

    @property
    def unit(self) -> str:
        """What the cohort is counted in: slide or image."""
        return self.cohort.unit if self.cohort else "slide"

    # What is shown and counted

    def set_filter(self, text: str, split: str, wrong_only: bool) -> None:
        self._set_filter(replace(self.filter, text=text, split=split, wrong_only=wrong_only))

    def choose_cell(self, cell: Cell | None) -> None:
        """Show only the slides of a label and a predicted class that are counted; again: all of them."""
        chosen = None if cell == self.filter.cell else cell
        self._set_filter(replace(self.filter, cell=chosen, counted=self.counted_splits))

    def count(self, way: str) -> None:
        """Count other slides."""
        self.counting = way
        self._set_filter(replace(self.filter, counted=self.counted_splits))

    def _set_filter(self, chosen: Filter) -> None:
        self.filter = chosen
        self.filtered.emit()

    @property
    def ways(self) -> tuple[str, ...]:
        """Which rows can be chosen to count."""
        return tuple(ways_to_count(self.cohort.splits)) if self.cohort else ()

    @property
    def counted_splits(self) -> tuple[str, ...]:
        return ways_to_count(self.cohort.splits)[self.counting] if self.cohort else ()

    @property
    def wrong(self) -> int:
        """Rows with another prediction than their label."""
        return sum(row.is_wrong for row in self.rows)

    def scores(self) -> Scores:
        """Of the rows that count."""
        return scores_of(self.rows, self.counted_splits)

    def sentence(self, scores: Scores) -> str:
        """What is counted, and how good it is."""
        known = self.cohort.splits if self.cohort else ()
        return sentence_of(scores, self.counted_splits, known, self.unit)

    def next_wrong(self, order: Sequence[int], after: int | None) -> int | None:
        """The next wrong row, in the order in which rows are shown, going round; None if there is none.

        Parameters
        ----------
        order : sequence of int
            Rows that are shown.
        after : int or None
            The current row; the search begins with the first row without one.
        """
        start = order.index(after) + 1 if after in order else 0
        around = (*order[start:], *order[:start])
        return next((place for place in around if self.rows[place].is_wrong), None)

"""An ensemble of models of one architecture, such as those of the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.bags.need import Need, NeedImage
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.models.entries import EnsembleOptions
from napari_zoommil.models.mil import MILModel, MILOutput, Pass, Plane, Step, instance_heads
from napari_zoommil.models.registry import create
from napari_zoommil.models.task import Classification, Regression, Task

T = TypeVar("T")


class Ensemble(MILModel):
    """Models whose outputs are averaged: output = mean over members m of (factor_m · output_m + shift_m).

    Of a classification the outputs are logits divided by the member's temperature, so that probabilities are
    the geometric mean of those of the members; of a regression, values. As a sum over patches in each member
    stays one in the mean, an ensemble has evidence where its members have.

    The members make their passes together: what several of them ask for at a magnification is asked for once.
    A score of a patch is the mean over the members that read it, of attentions as log times the average.
    The planes are those of the members, layer by layer.

    Parameters
    ----------
    in_features : int
    classes : int
    magnifications : sequence of float
    options : EnsembleOptions

    Raises
    ------
    ModelError
        If a member cannot be built.
    """

    options: EnsembleOptions
    factors: Tensor
    shifts: Tensor

    def __init__(
        self, in_features: int, classes: int, magnifications: Sequence[float], options: EnsembleOptions
    ) -> None:
        super().__init__(in_features, classes, magnifications, options)
        if options.member == "ensemble":
            raise ModelError("an ensemble cannot be made of ensembles")
        self.members = nn.ModuleList(
            create(options.member, in_features, classes, magnifications, **options.settings)
            for _ in range(options.count)
        )
        self.register_buffer("factors", torch.ones(options.count))
        self.register_buffer("shifts", torch.zeros(options.count))
        self.task = self._task
        self.explained_layer = self._models[0].explained_layer

    @classmethod
    def of(cls, models: Sequence[MILModel], task: Task) -> Ensemble:
        """An ensemble of trained models of one architecture.

        Parameters
        ----------
        models : sequence of MILModel
        task : Task
            Its own; of a regression, values of the members are converted to its offset and scale.
        """
        first = models[0]
        own = ("in_features", "classes", "magnifications")
        settings = {name: value for name, value in first.config().items() if name not in own}
        options = EnsembleOptions(first.name, len(models), settings)
        made = cls(first.in_features, first.classes, first.magnifications, options)
        made.name, made.task = "ensemble", task
        for member, model in zip(made.members, models, strict=True):
            member.load_state_dict(model.state_dict())
        converted = [_conversion(model.task, task) for model in models]
        made.factors, made.shifts = (torch.tensor(one, dtype=torch.float32) for one in zip(*converted))  # noqa: B905
        return made.eval()

    @property
    def task(self) -> Task:
        """That of the members too, which name their heads by it."""
        return self._task

    @task.setter
    def task(self, task: Task) -> None:
        self._task = task
        for member in self._models:
            member.task = task

    @property
    def _models(self) -> list[MILModel]:
        return [member for member in self.modules() if isinstance(member, MILModel) and member is not self]

    @property
    def reads_images(self) -> bool:  # type: ignore[override]
        return self._models[0].reads_images

    @property
    def heads(self) -> tuple[str, ...]:
        return self._models[0].heads

    @property
    def reads_all(self) -> bool:
        return self._models[0].reads_all

    def patches_needed(self, counts: tuple[int, ...], ratios: tuple[int, ...]) -> tuple[int, ...]:
        """Where members choose, each may choose others."""
        needed = self._models[0].patches_needed(counts, ratios)
        if self.reads_all:
            return needed
        return tuple(min(count, len(self.members) * own) for count, own in zip(counts, needed, strict=True))

    def steps(self, grid: PatchGrid) -> Pass:
        outputs = yield from _together([member.steps(grid) for member in self._models])
        shares = [(float(factor) / len(outputs)) for factor in self.factors]
        logits = torch.stack([share * one.logits for share, one in zip(shares, outputs, strict=True)]).sum(0)
        attentions = self._attentions()
        levels = sorted({step.level for one in outputs for step in one.steps})
        return MILOutput(
            logits + self.shifts.mean(),
            tuple(
                _merged(level, [_step(one, level) for one in outputs], shares, attentions) for level in levels
            ),
            _planes(outputs, shares),
        )

    def _attentions(self) -> NDArray[np.bool_]:
        """Which heads are attentions; the others are logits of single patches."""
        return np.array([head not in instance_heads(self.task) for head in self.heads])


def _conversion(own: Task, task: Task) -> tuple[float, float]:
    """Factor and shift from the outputs of a model to those of a task."""
    if isinstance(own, Regression) and isinstance(task, Regression):
        return own.scale / task.scale, (own.offset - task.offset) / task.scale
    assert isinstance(own, Classification)
    return 1.0 / own.temperature, 0.0


def _together(passes: Sequence[Pass]) -> Any:
    """Run passes side by side; a pass that returns their outputs."""
    outputs: dict[int, MILOutput] = {}
    waiting: dict[int, Need | NeedImage] = {}

    def go_on(place: int, answer: Tensor | None) -> None:
        waiting.pop(place, None)
        try:
            waiting[place] = passes[place].send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            outputs[place] = stop.value

    with ExitStack() as ending:
        for place, one in enumerate(passes):
            ending.enter_context(closing(one))
            go_on(place, None)
        while waiting:
            need, places = _shared(waiting)
            answer = yield need
            for place, rows in places.items():
                go_on(place, answer if rows is None else answer[rows])
    return [outputs[place] for place in range(len(passes))]


def _shared(waiting: dict[int, Need | NeedImage]) -> tuple[Need | NeedImage, dict[int, Tensor | None]]:
    """What is asked for next, and of its answer the rows of each pass that it is for; None for all of it."""
    images = {place: need for place, need in waiting.items() if isinstance(need, NeedImage)}
    if images:
        first = next(iter(images.values()))
        return first, {place: None for place, need in images.items() if need == first}
    needs = {place: need for place, need in waiting.items() if isinstance(need, Need)}
    first_need = min(needs.values(), key=lambda need: need.level)
    kind = first_need.level, first_need.what, first_need.variant
    own = {place: one for place, one in needs.items() if (one.level, one.what, one.variant) == kind}
    if all(np.array_equal(one.rows, first_need.rows) for one in own.values()):
        return first_need, dict.fromkeys(own)
    rows = np.unique(np.concatenate([one.rows for one in own.values()]))
    found: dict[int, Tensor | None] = {
        place: torch.from_numpy(np.searchsorted(rows, one.rows)) for place, one in own.items()
    }
    return Need(first_need.level, rows, first_need.what, first_need.variant, first_need.preview), found


def _planes(outputs: Sequence[MILOutput], shares: Sequence[float]) -> tuple[Plane, ...]:
    """The planes of all members; the first of those of a layer has the weighted sum of their evidence."""
    found: list[Plane] = []
    for planes in zip(*(one.planes for one in outputs), strict=True):
        own = [plane.evidence for plane in planes]
        total = None
        if all(one is not None for one in own):
            total = torch.stack([share * one for share, one in zip(shares, own, strict=True)]).sum(0)
        found += [replace(planes[0], evidence=total), *(replace(one, evidence=None) for one in planes[1:])]
    return tuple(found)


def _step(output: MILOutput, level: int) -> Step | None:
    return next((step for step in output.steps if step.level == level), None)


def _merged(
    level: int, steps: Sequence[Step | None], shares: Sequence[float], attentions: NDArray[np.bool_]
) -> Step:
    """The steps of members at one magnification as one."""
    there = [(step, share) for step, share in zip(steps, shares, strict=True) if step is not None]
    rows = np.unique(np.concatenate([step.rows for step, _ in there]))
    columns = min(step.scores.shape[1] for step, _ in there)
    like = there[0][0].scores
    total, count = like.new_zeros(len(rows), columns), like.new_zeros(len(rows), 1)
    for step, _ in there:
        places = _places(rows, step.rows, like)
        total = total.index_add(0, places, _comparable(step.scores[:, :columns], attentions[:columns]))
        count = count.index_add(0, places, like.new_ones(len(step.rows), 1))
    return Step(
        level,
        rows,
        total / count,
        zoomed=np.unique(np.concatenate([step.zoomed for step, _ in there])),
        evidence=_evidence(rows, there),
        pooling=None,
    )


def _comparable(scores: Tensor, attentions: NDArray[np.bool_]) -> Tensor:
    """Scores with attentions as the logarithm of times the average, which is the same in all members."""
    logs = scores.log_softmax(0) + np.log(len(scores))
    return torch.where(torch.from_numpy(attentions).to(scores.device), logs, scores)


def _evidence(rows: Rows, steps: Sequence[tuple[Step, float]]) -> Tensor | None:
    """The weighted sum of the members' evidence; None where a member has none."""
    found = [(step.rows, step.evidence, share) for step, share in steps]
    total: Tensor | None = None
    for own, evidence, share in found:
        if evidence is None:
            return None
        start = evidence.new_zeros(len(rows), evidence.shape[1]) if total is None else total
        total = start.index_add(0, _places(rows, own, evidence), share * evidence)
    return total


def _places(rows: Rows, own: Rows, like: Tensor) -> Tensor:
    return torch.from_numpy(np.searchsorted(rows, own)).to(like.device)

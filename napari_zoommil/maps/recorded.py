"""A pass that was made, with all that is needed to explain it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.bags.need import Need, NeedImage
from napari_zoommil.encoders.device import require_room
from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import Familiarity
from napari_zoommil.geometry import ROUNDING, Pair, PatchGrid, Rows
from napari_zoommil.maps.focus import PLAIN, WHOLE, Focus, MethodOptions
from napari_zoommil.maps.heatmap import HeatMap, rasterise
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.models.mil import MILModel, MILOutput, drain

SHARE_OF_MEMORY = 0.5
"""Of the free memory that the pixels of patches may take: the model's passes need the rest."""

FLOATS = 3
"""Arrays of floats that a gradient takes at once: what it is of, itself and its size."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found.

    Attributes
    ----------
    patches : tuple of PatchScores
        From the lowest magnification on.
    maps : tuple of HeatMap
        Of all outputs, those of an output together.
    """

    patches: tuple[PatchScores, ...]
    maps: tuple[HeatMap, ...]


@dataclass(frozen=True, eq=False)
class RecordedPass:
    """A model's pass over a slide.

    Attributes
    ----------
    model : MILModel
        In evaluation mode.
    bag : LazyBag or PixelBag
        What answered it.
    output : MILOutput
    needs : tuple of Need or NeedImage
    answers : tuple of Tensor
        To each need, on the model's device.
    mpp : (float, float) or None
        Level-0 µm/px.
    again : callable
        ``again(bag)`` is another pass, of a bag that is a view on this one: a generator to be drained, which
        returns its output.
    familiarity : Familiarity or None
        Statistics of the model's training, if its folder keeps them.
    focus : Focus
        What of it is explained.
    options : MethodOptions
    """

    model: MILModel
    bag: Any
    output: MILOutput
    needs: tuple[Need | NeedImage, ...]
    answers: tuple[Tensor, ...]
    mpp: Pair | None
    again: Callable[[Any], Generator[Any, None, MILOutput]]
    familiarity: Familiarity | None = None
    focus: Focus = WHOLE
    options: MethodOptions = PLAIN

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs."""
        return self.model.task.names

    @property
    def grid(self) -> PatchGrid:
        grid: PatchGrid = self.bag.grid
        return grid

    def asked(self) -> tuple[tuple[int, Rows], ...]:
        """The patches that the model asked for: level and rows, each patch once."""
        levels: dict[int, list[Rows]] = {}
        for need in self.needs:
            if isinstance(need, Need):
                levels.setdefault(need.level, []).append(need.rows)
        return tuple((level, np.unique(np.concatenate(levels[level]))) for level in sorted(levels))

    def chosen(self) -> tuple[tuple[int, Rows], ...]:
        """Those of the patches that the model asked for which are explained."""
        kept = ((level, rows[self._is_chosen(level, rows)]) for level, rows in self.asked())
        return tuple((level, rows) for level, rows in kept if len(rows))

    def _is_chosen(self, level: int, rows: Rows) -> NDArray[np.bool_]:
        patches, box = self.grid.levels[level], self.focus.box
        if box is None or not self.focus.takes(patches.magnification):
            return np.full(len(rows), self.focus.takes(patches.magnification))
        low = patches.origins[rows]
        high = low + np.asarray(patches.size)
        ends = np.array((box.y + box.height, box.x + box.width))
        return ((low < ends - ROUNDING) & (high > np.array((box.y, box.x)) + ROUNDING)).all(1)

    def found(self, kind: str, patches: tuple[PatchScores, ...], planes: tuple[HeatMap, ...] = ()) -> Found:
        """Scores of patches with their maps, and maps that are there already; of what is explained.

        Raises
        ------
        ModelError
            If the model has read nothing there.
        """
        there = bool(patches or planes)
        patches = tuple(one for one in map(self._focused, patches) if len(one.rows))
        planes = tuple(one for one in map(self._cropped, planes) if one is not None)
        if there and not patches and not planes:
            raise ModelError("the model has read nothing in this window, or at this magnification")
        maps = []
        for index, name in enumerate(self.names):
            maps += [
                rasterise(self.grid, one.level, one.rows, one.values[index], self.mpp, kind, name)
                for one in patches
            ]
            maps += [plane for plane in planes if plane.target == name]
        return Found(patches, tuple(maps))

    def _focused(self, scores: PatchScores) -> PatchScores:
        kept = self._is_chosen(scores.level, scores.rows)
        return PatchScores(scores.level, scores.rows[kept], scores.values[:, kept])

    def _cropped(self, plane: HeatMap) -> HeatMap | None:
        if not self.focus.takes(plane.magnification):
            return None
        return plane if self.focus.box is None else plane.inside(self.focus.box)


class Replay(nn.Module):
    """A recorded pass as a function of tensors, which gradients go through, as captum wants it.

    Parameters
    ----------
    recorded : RecordedPass
    of_pixels : bool
        Whether gradients reach the pixels of patches, which takes them as floats. Else they begin at what the
        model makes of them; at features and images they begin in any case.

    Raises
    ------
    ModelError
        If the floats do not fit into the memory; and in a pass, if the model asks for other patches than
        before: gradients would be those of others.

    Attributes
    ----------
    inputs : tuple of (1, …) Tensor
        What the model was answered, with a first axis of length 1; as floats where gradients reach it.
    """

    def __init__(self, recorded: RecordedPass, of_pixels: bool = True) -> None:
        super().__init__()
        self.model, self.grid, self.needs = recorded.model, recorded.grid, recorded.needs
        count = sum(len(need.rows) for need in self.needs if isinstance(need, Need) and _is_pixels(need))
        if of_pixels and count:
            require_room_for_pixels(count, self.grid.patch_size, recorded.answers[0].device, gradients=True)
        self.inputs = tuple(
            one.detach().float()[None].requires_grad_()
            if of_pixels or not _is_pixels(need)
            else one.detach()[None]
            for need, one in zip(self.needs, recorded.answers, strict=True)
        )

    def output(self, *inputs: Tensor) -> MILOutput:
        """The pass again, on a graph that begins at ``inputs``."""
        given = iter(zip(self.needs, inputs, strict=True))

        def answer(need: Need | NeedImage) -> Tensor:
            recorded, found = next(given)
            if not _same(need, recorded):
                raise ModelError(f"{self.model.name} asked for other patches when its pass was repeated")
            return found[0]

        with torch.enable_grad():
            return drain(self.model.steps(self.grid), answer)

    def forward(self, *inputs: Tensor) -> Tensor:
        """(1, C) logits."""
        logits = self.output(*inputs).logits[None]
        with torch.enable_grad():
            # A model may ask for what its logits do not depend on; captum wants gradients of every input.
            return logits + sum(0 * one.flatten()[:1].sum() for one in inputs)


def require_room_for_pixels(
    count: int, patch_size: int, device: torch.device, gradients: bool = False
) -> None:
    """Refuse to keep the pixels of more patches than fit into half of the memory that is free.

    Parameters
    ----------
    count : int
        Patches.
    patch_size : int
        px.
    device : torch.device
    gradients : bool
        Whether gradients reach them.

    Raises
    ------
    ModelError
    """
    require_room(
        3 * patch_size**2 * count * (FLOATS * torch.float32.itemsize if gradients else 1),
        device,
        f"{'a gradient of' if gradients else 'an explanation with'} the pixels of {count:,} patches",
        "explain a smaller region" + (", or choose grad-cam" if gradients else ""),
        SHARE_OF_MEMORY,
    )


def _is_pixels(need: Need | NeedImage) -> bool:
    return isinstance(need, Need) and need.what == "pixels"


def _same(one: Need | NeedImage, other: Need | NeedImage) -> bool:
    if isinstance(one, Need) and isinstance(other, Need):
        return one.level == other.level and np.array_equal(one.rows, other.rows)
    return one == other

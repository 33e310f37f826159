"""What a training chooses, each with its reason: read from and written to ``plan.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval, MinLen

from napari_zoommil.configuration import check_arguments
from napari_zoommil.errors import ModelError
from napari_zoommil.files import read_file, write_json
from napari_zoommil.models.registry import Recipe
from napari_zoommil.training.run import PLAN

FORMAT = 1

OPTIONS, SETTINGS = "options.", "settings."
"""What the names of a model's options and of a recipe's settings begin with."""

FIXED = ("magnifications", "options", "tissue_detector", "min_tissue")
"""Fields of a recipe that are chosen by themselves."""


@dataclass(frozen=True)
class Choice:
    """One choice of a training.

    Attributes
    ----------
    name : str
        Parameter of ``train``; ``options.k`` of the model; ``settings.epochs`` of the recipe.
    value : object
    reason : str
        One line.
    """

    name: str
    value: Any
    reason: str

    @property
    def line(self) -> str:
        """``options.k = 16: of the recipe default``"""
        return f"{self.name} = {_written(self.value)}: {self.reason}"


Choices = tuple[Choice, ...]

CHECKED = (
    "magnifications",
    "patch_size",
    "min_tissue",
    "folds",
    "task",
    "encoder",
    "unit",
    "model",
    "recipe",
)
"""What a user may choose badly, in Python or in a plan; the rest is looked up by name."""


def _written(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Asked:
    """What a user chose; None where they did not.

    Attributes are parameters of ``train``; ``settings`` are fields of a :class:`Recipe`. ``followed`` names
    what comes from a plan; ``from_files`` tells that features are read from files: no encoder is loaded.
    """

    model: str | None = None
    start: str | None = None
    recipe: str | None = None
    encoder: str | None = None
    magnifications: Annotated[tuple[float, ...] | None, MinLen(1)] = None
    patch_size: Annotated[int | None, Interval(ge=16, le=4096)] = None
    min_tissue: Annotated[float | None, Interval(ge=0, le=1)] = None
    tissue_detector: str | None = None
    folds: Annotated[int | None, Interval(ge=2, le=20)] = None
    task: Literal["auto", "classification", "regression"] | None = None
    unit: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    followed: frozenset[str] = frozenset()
    from_files: bool = False

    def following(self, path: Path | None) -> Asked:
        """With what a plan says of all that the user did not choose.

        Raises
        ------
        FileError
            If the plan cannot be read.
        ModelError
            If it is no plan, or has a choice that there is not.
        """
        if path is None:
            return self
        found = read_plan(path)
        for name in ("model", "recipe", "start"):
            own = getattr(self, name)
            if own is not None and own != found.get(name, own):
                raise ModelError(
                    f"{path.name} is a plan for the {name} {found[name]}, not {own}; leave one of them out"
                )
        parts = {OPTIONS: dict(self.options), SETTINGS: dict(self.settings)}
        changes: dict[str, Any] = {}
        followed = set()
        for name, value in found.items():
            head = next((one for one in parts if name.startswith(one)), "")
            if head:
                if parts[head].setdefault(name.removeprefix(head), value) is value:
                    followed.add(name)
            elif name not in SINGLE:
                raise ModelError(f"{path.name} has the choice {name!r}, which there is not; leave it out")
            elif getattr(self, name) is None:
                changes[name] = tuple(value) if isinstance(value, list) else value
                followed.add(name)
        return replace(
            self, **changes, options=parts[OPTIONS], settings=parts[SETTINGS], followed=frozenset(followed)
        )

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ModelError
        """
        own = {name: str(one) if isinstance(one := getattr(self, name), Path) else one for name in CHECKED}
        try:
            check_arguments(Asked, own)
        except ValueError as error:
            raise ModelError(f"a training cannot be like that: {error}") from error

    def because(self, name: str, otherwise: str) -> str:
        """The reason of a choice: who asked for it, or another."""
        head, _, own = name.partition(".")
        asked = own in getattr(self, head) if own else getattr(self, name, None) is not None
        return "as in the plan" if name in self.followed else "as asked for" if asked else otherwise


SINGLE = tuple(
    one.name for one in fields(Asked) if one.name not in ("options", "settings", "followed", "from_files")
)
"""Choices with one value."""


def read_plan(path: Path) -> dict[str, Any]:
    """Values of the choices in a ``plan.json``, see :func:`read_choices`."""
    return {one.name: one.value for one in read_choices(path)}


def read_choices(path: Path) -> Choices:
    """The choices in a ``plan.json``.

    Raises
    ------
    FileError
        If it cannot be read.
    ModelError
        If it is no plan.
    """
    try:
        content = json.loads(read_file(path).decode("utf-8-sig"))
        found = tuple(
            Choice(str(name), one["value"], str(one.get("reason", "")))
            for name, one in content["choices"].items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path.name} is not a plan of a training, which has choices with a value each; "
            "train --only-plan writes one"
        ) from error
    if content.get("format", FORMAT) != FORMAT:
        raise ModelError(f"{path.name} was written by a later version of napari-zoommil; update the package")
    return found


def write_plan(folder: Path, choices: Choices) -> None:
    """Write :data:`PLAN`.

    Raises
    ------
    FileError
    """
    told = {one.name: {"value": one.value, "reason": one.reason} for one in choices}
    write_json(folder / PLAN, {"format": FORMAT, "choices": told})


def with_settings(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """A recipe with other settings, validated and converted; numbers may be given as text.

    Raises
    ------
    ModelError
        If there is no such setting, or a value does not fit.
    """
    from pydantic import TypeAdapter, ValidationError

    known = [one.name for one in fields(Recipe) if one.name not in FIXED]
    for name in given:
        if name not in known:
            raise ModelError(f"there is no setting {name!r}; there are {', '.join(known)}")
    own = {one.name: getattr(recipe, one.name) for one in fields(Recipe)}
    try:
        return TypeAdapter(Recipe).validate_python(own | dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ModelError(f"{name} = {given.get(name)!r}: {first['msg']}") from error


def joined(choices: Iterable[Choice], changed: Sequence[Choice]) -> Choices:
    """Choices, with some of them made anew."""
    new = {one.name: one for one in changed}
    return tuple(new.get(one.name, one) for one in choices)

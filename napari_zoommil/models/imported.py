"""Models of other people's checkpoints, through the tables of :mod:`napari_zoommil.models.origins`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import magnification_name
from napari_zoommil.models.checkpoint import Checkpoint
from napari_zoommil.models.origins import ORIGINS, Origin
from napari_zoommil.models.registry import create, entry

if TYPE_CHECKING:
    from torch import Tensor

    from napari_zoommil.models.mil import MILModel

ONE_OUTPUT = (
    "It had one output, whose sigmoid is the probability of the second class; the first class has the logit "
    "0, and its attention, if it has one of its own, means nothing."
)

MOST_TOLD = 12
"""Names that an error message lists of each kind; of more it tells the number."""


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A model with imported weights.

    Attributes
    ----------
    model : MILModel
        In evaluation mode.
    new_head : bool
        Whether the checkpoint has no classifier; that of the model is 0 then.
    assumed : str
        What the weights do not tell, in sentences.
    """

    model: MILModel
    new_head: bool
    assumed: str


def origin_named(name: str) -> Origin:
    """An origin by the name of its model.

    Raises
    ------
    ModelError
    """
    if name not in ORIGINS:
        raise ModelError(f"checkpoints of {name!r} are not read; choose one of {', '.join(ORIGINS)}")
    return ORIGINS[name]


def import_weights(
    checkpoint: Checkpoint,
    origin: Origin,
    magnifications: Sequence[float] | None = None,
    classes: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> ImportedModel:
    """Build the model of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
    origin : Origin
    magnifications : sequence of float, optional
        The model's own by default.
    classes : int, optional
        Of the classifier, where the checkpoint has none; 2 by default.
    options : dict, optional
        Options of the model that the weights do not tell.

    Raises
    ------
    ModelError
        If names or shapes of weights are not those of the model; all of them are listed.
    """
    kind = checkpoint.stated.get("model_type", origin.model)
    if kind != origin.model:
        raise ModelError(f"{checkpoint.file.parent} says that it holds a {kind!r}, not a {origin.model!r}")
    weights, unknown = _translated(checkpoint.entries, origin)
    new_head = bool(origin.head) and not any(name.startswith(f"{origin.head}.") for name in weights)
    if new_head and not unknown:
        weights |= _empty_head(origin, weights, classes or 2)
    try:
        config = origin.config(weights)
    except KeyError as error:
        raise _misfit(checkpoint, origin, unknown, [error.args[0]]) from error
    except (ValueError, TypeError) as error:
        wrong = ["a weight has too many or too few dimensions"]
        raise _misfit(checkpoint, origin, unknown, [], wrong) from error
    built = {**config, **_stated_options(checkpoint), **(options or {})}
    build = partial(create, origin.model, magnifications=_magnifications(origin, weights, magnifications))
    assumed = origin.assumed(weights)
    if config["classes"] == 1:
        built["classes"] = 2
        weights = _with_first_class(weights, build(**{**built, "classes": 1}), build(**built))
        assumed = " ".join(filter(None, (assumed, ONE_OUTPUT)))
    model = build(**built)
    _fill(model, weights, checkpoint, origin, unknown)
    return ImportedModel(model.eval(), new_head, assumed)


def _with_first_class(weights: dict[str, Tensor], one: MILModel, two: MILModel) -> dict[str, Tensor]:
    """Weights of a model with one output as those of two: what only the first one has is 0.

    The probabilities are the softmax of (0, z), which are 1 − sigmoid(z) and sigmoid(z).
    """
    import torch
    from torch.nn.functional import pad

    alone, wanted = one.state_dict(), two.state_dict()
    found = dict(weights)
    for name, weight in weights.items():
        if name in alone and weight.shape == alone[name].shape != wanted[name].shape:
            more = [wide - own for wide, own in zip(wanted[name].shape, weight.shape, strict=True)]
            found[name] = pad(weight, [count for width in reversed(more) for count in (width, 0)])
    for name in wanted.keys() - alone.keys():  # a module for each class: that of the first one is new
        only = name.replace(".1.", ".0.", 1)
        found[name], found[only] = weights[only], torch.zeros_like(weights[only])
    return found


def _translated(published: Mapping[str, Any], origin: Origin) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under our names, and the published names that are none of the model."""
    import torch

    weights: dict[str, Tensor] = {}
    rows: dict[str, dict[int, Tensor]] = defaultdict(dict)
    unknown = []
    for name, value in published.items():
        if name.startswith(origin.ignored):
            continue
        found = origin.ours(name) if isinstance(value, torch.Tensor) else None
        if found is None or found[0] in weights:
            unknown.append(name)
            continue
        own, row = found
        value = origin.transforms.get(own, _same)(value.float())
        if row is None:
            weights[own] = value
        else:
            rows[own][row] = value
    for own, found_rows in rows.items():
        weights[own] = torch.cat([found_rows[row] for row in sorted(found_rows)])
    return weights, unknown


def _same(weight: Tensor) -> Tensor:
    return weight


def _empty_head(origin: Origin, weights: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """A classifier that has learnt nothing: all classes are equally probable, whatever it is given."""
    import torch

    hidden = len(weights["embed.0.bias"]) if "embed.0.bias" in weights else 1
    return {
        f"{origin.head}.weight": torch.zeros(classes, hidden),
        f"{origin.head}.bias": torch.zeros(classes),
    }


def _stated_options(checkpoint: Checkpoint) -> dict[str, Any]:
    """Options that a configuration states beside the weights, and weights do not tell."""
    return {name: checkpoint.stated[name] for name in ("dropout",) if name in checkpoint.stated}


def _magnifications(
    origin: Origin, weights: dict[str, Tensor], given: Sequence[float] | None
) -> tuple[float, ...]:
    chosen, count = tuple(given or entry(origin.model).magnifications()), origin.scales(weights)
    if len(chosen) != count:
        told = ", ".join(map(magnification_name, chosen))
        raise ModelError(f"a {origin.model} of this origin reads {count} magnifications, not {told}")
    return chosen


def _fill(
    model: MILModel, weights: dict[str, Tensor], checkpoint: Checkpoint, origin: Origin, unknown: list[str]
) -> None:
    asked = model.state_dict()
    missing = [name for name in asked if name not in weights]
    surplus = [origin.published(name) for name in weights if name not in asked]
    wrong = [
        f"{origin.published(name)} is {list(weights[name].shape)} where {list(asked[name].shape)} is needed"
        for name in asked
        if name in weights and weights[name].shape != asked[name].shape
    ]
    if unknown or missing or surplus or wrong:
        raise _misfit(checkpoint, origin, [*unknown, *surplus], missing, wrong)
    model.load_state_dict(weights)


def _misfit(
    checkpoint: Checkpoint,
    origin: Origin,
    unknown: Sequence[str],
    missing: Sequence[str],
    wrong: Sequence[str] = (),
) -> ModelError:
    """All that is wrong with the weights, in one error."""
    parts = [
        _listed("it has names that are not known", unknown),
        _listed("it lacks", [origin.published(name) for name in missing]),
        _listed("shapes do not fit", wrong),
    ]
    others = [
        name
        for name, one in ORIGINS.items()
        if one is not origin
        and all(one.ours(key) or key.startswith(one.ignored) for key in checkpoint.entries)
    ]
    hint = f"; its names are those of {' or '.join(others)}" if others else ""
    told = "; ".join(part for part in parts if part)
    return ModelError(f"{checkpoint.file.name} does not hold the weights of {origin.title}: {told}{hint}")


def _listed(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
    return f"{title}: {', '.join(names[:MOST_TOLD])}{more}"

"""``models``: the models that there are, and those that ``train`` makes, with their options and recipes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_zoommil.commands.options import Json
from napari_zoommil.commands.report import print_json
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.finetune_runs import kept
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.model_card import not_for_of
from napari_zoommil.model_folder import (
    CONFIG,
    SHIPPED,
    SHIPPED_ENCODERS,
    Kind,
    cached_models,
    familiarity_of,
    find_model,
    kind_of,
    read_card,
)
from napari_zoommil.models.registry import Entry, entries
from napari_zoommil.resources import resource
from napari_zoommil.slides import Slide

KINDS = {"mil": "MIL model", "cells": "cell model", "encoder": "encoder"}

Of = Annotated[list[Path] | None, Parameter(help="Slides whose kept models are listed too.")]


def models(slides: Of = None, /, *, json: Json = False) -> None:
    """Print the models."""
    there, trainable = describe_present(slides or []), describe_models()
    if json:
        print_json([*there, *trainable], many=True)
    else:
        print(f"{present_text(there)}\n\nArchitectures that train takes\n{models_text(trainable)}")


def describe_present(slides: list[Path]) -> list[dict[str, Any]]:
    """Each model that can be used at once: shipped, kept beside slides, or in the hub's cache."""
    return [
        {
            "model": name,
            "kind": kind,
            "where": where,
            "not_for": not_for_of(read_card(folder)),
            "keeps_statistics": _keeps_statistics(folder, kind),
        }
        for name, kind, where, folder in _present(slides)
    ]


def _keeps_statistics(folder: Path, kind: Kind) -> bool:
    try:
        return (folder / CONFIG).is_file() and familiarity_of(folder, kind) is not None
    except ModelError:  # damaged: one model is not to hide the others
        return False


def _present(slides: list[Path]) -> Iterator[tuple[str, Kind, str, Path]]:
    """Name, kind, place and folder."""
    for name, kind in SHIPPED.items():
        yield name, kind, "shipped", find_model(name, kind)
    for name in SHIPPED_ENCODERS:
        yield name, "encoder", "shipped", resource("encoders", name)
    for path in slides:
        with Slide.open(path) as slide:
            for folder in kept(slide):
                yield str(folder), kind_of(folder), f"kept on {path.name}", folder
    for name, folder in cached_models().items():
        yield name, kind_of(folder), "hub cache", folder


def present_text(found: list[dict[str, Any]]) -> str:
    """:func:`describe_present` as text."""
    lines = ["Models that are there"]
    for one in found:
        lines.append(f"{one['model']} ({KINDS[one['kind']]}, {one['where']})")
        lines.append(f"  {one['not_for'] or 'its card does not say what it must not be used for'}")
    return "\n".join(lines)


def describe_models() -> list[dict[str, Any]]:
    """Each architecture's registry entry as a dictionary."""
    return [{"model": name, "where": "train", **_described(found)} for name, found in entries().items()]


def _described(found: Entry) -> dict[str, Any]:
    options = fields(found.config).values()
    return {
        "takes": found.takes,
        "scales": found.scales,
        "options": {one.name: {"default": one.default, "help": one.help} for one in options},
        "recipes": list(found.recipes),
        "citation": found.citation,
    }


def models_text(found: list[dict[str, Any]]) -> str:
    """:func:`describe_models` as text."""
    lines = []
    for one in found:
        lines.append(f"{one['model']} (takes {one['takes']}; magnifications: {one['scales']})")
        lines += [
            f"  --set {name}={option['default']}  {option['help']}".rstrip()
            for name, option in one["options"].items()
        ]
        lines.append(f"  --recipe {', '.join(one['recipes'])}")
        lines += [f"  {one['citation']}"] if one["citation"] else []
    return "\n".join(lines)

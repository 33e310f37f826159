"""``models``: the models for ``train``, with their options and recipes."""

from __future__ import annotations

from typing import Any

from napari_zoommil.commands.options import Json
from napari_zoommil.commands.report import print_json
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.models.registry import Entry, entries


def models(*, json: Json = False) -> None:
    """Print the models."""
    found = describe_models()
    if json:
        print_json(found, many=True)
    else:
        print(models_text(found))


def describe_models() -> list[dict[str, Any]]:
    """Each model's registry entry as a dictionary."""
    return [{"model": name, **_described(found)} for name, found in entries().items()]


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

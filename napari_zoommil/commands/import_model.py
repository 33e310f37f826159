"""``import-model``: a checkpoint of a model's authors as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_zoommil import jobs
from napari_zoommil.commands.options import Json, with_options
from napari_zoommil.commands.report import drive, print_json

Checkpoint = Annotated[
    Path, Parameter(help="File (.pt, .pth, .ckpt, .bin, .safetensors), or a folder of the hub.")
]
Origin = Annotated[
    str,
    Parameter(
        name="--as",
        help="Whose names its weights have: abmil (MIL-Lab, FEATHER), clam_sb, clam_mb (CLAM), dsmil, "
        "transmil or zoommil.",
    ),
]
Classes = Annotated[
    str, Parameter(help="Names of its outputs, in their order: a,b. Numbers if they are not given.")
]


@with_options(jobs.import_model, hidden=("checkpoint", "origin", "class_names"))
def import_model(
    checkpoint: Checkpoint, /, *, origin: Origin, classes: Classes = "", json: Json = False, **options: Any
) -> None:
    """Write the model folder."""
    options["class_names"] = tuple(name.strip() for name in classes.split(",")) if classes else ()
    result = drive(jobs.import_model(checkpoint, origin, **options), checkpoint.name, quiet=json)
    if json:
        found = {"origin": result.origin, "classes": list(result.class_names), "not_for": result.not_for}
        print_json([{"model": str(result.model)} | found])
    else:
        print(f"{result.model}: {result.origin}, classes {', '.join(result.class_names)}\n  {result.not_for}")

"""``train-encoder``: an encoder of patches from slides or pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_zoommil import jobs
from napari_zoommil.commands.options import Json, with_options
from napari_zoommil.commands.report import drive, print_json

Patches = Annotated[
    Path,
    Parameter(
        help="CSV with the column slide or image, and optionally label (of pictures), group and split; or a "
        "folder of pictures, whose folders are classes."
    ),
]


@with_options(jobs.train_encoder, hidden=("cohort",))
def train_encoder(cohort: Patches, /, *, json: Json = False, **options: Any) -> None:
    """Write a trained encoder, whose folder is the name of an encoder for all other commands."""
    result = drive(jobs.train_encoder(cohort, **options), cohort.name, quiet=json)
    if json:
        print_json(
            [
                {
                    "encoder": str(result.encoder),
                    "method": result.method,
                    "hash": result.hash,
                    "code": result.code,
                    "patches": result.patches,
                    "metrics": result.metrics,
                    "trained_before": result.trained_before,
                }
            ]
        )
    else:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
        before = " is trained already" if result.trained_before else ""
        print(f"{result.encoder}{before}: {result.method}, {result.code} features per patch; {figures}")

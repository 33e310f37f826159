"""``reproduce``: the papers' experiments."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from napari_zoommil.commands.options import Json, with_options
from napari_zoommil.commands.report import drive, print_json
from napari_zoommil.experiments import reproduce as experiments

Experiment = Annotated[str, Parameter(help=f"Which: {', '.join(experiments.EXPERIMENTS)}.")]


@with_options(experiments.reproduce, hidden=("experiment",))
def reproduce(experiment: Experiment, /, *, json: Json = False, **options: Any) -> None:
    """Write the results of an experiment."""
    result = drive(experiments.reproduce(experiment, **options), experiment, quiet=json, lines=_ended)
    if json:
        print_json([result.results])
    else:
        print("\n".join(map(str, result.files)))


def _ended(partial: Any) -> tuple[str, ...]:
    """A line for each piece that has ended; they stay where the bar is not shown, as in a log."""
    return getattr(partial, "lines", ())

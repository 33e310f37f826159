"""``napari-zoommil``: the commands by name; each is imported when it is run.

Every command ends in 0, or in one clear line on standard error and another code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App

import napari_zoommil
from napari_zoommil.errors import ZoomMILError

COMMANDS = {
    "demo": ("window:demo", "Show a sample slide and watch the shipped model zoom."),
    "open": ("window:open_slide", "Open a slide in the viewer."),
    "info": ("info:info", "Tell what a slide is: size, resolution, levels, vendor."),
    "predict": ("predict:predict", "Predict the class of slides and say where the model looked."),
    "explain": (
        "predict:explain",
        "Say why a model decided as it did, by one of several methods, per magnification.",
    ),
    "embed": (
        "cohort:embed",
        "Encode all tissue patches of slides into a feature store; a run that was cut off goes on.",
    ),
    "train": (
        "cohort:train",
        "Train a model on a cohort: a CSV with the columns slide, label[, split][, group].",
    ),
    "models": ("models:models", "List the models that train knows, with their options and recipes."),
    "finetune": (
        "cells:finetune",
        "Teach a cell model, or the attention of a MIL model, with a few points on a slide.",
    ),
    "detect": ("cells:detect", "Find the cells on slides."),
    "reproduce": (
        "experiments:reproduce",
        "Run an experiment of the papers, such as sparse-labels; a run that was cut off goes on.",
    ),
    "doctor": ("doctor:doctor", "Check the installation: versions, device, display, shipped weights."),
}
"""Name → function in :mod:`napari_zoommil.commands`, and what it does."""

app = App(
    name="napari-zoommil",
    help="Whole-slide images, zooming multiple-instance learning, attention overlays.",
    version=lambda: napari_zoommil.__version__,
    suppress_keyboard_interrupt=False,
)
for _name, (_function, _help) in COMMANDS.items():
    app.command(f"napari_zoommil.commands.{_function}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``napari-zoommil`` command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows pipe may not know × and µ
            stream.reconfigure(errors="replace")
    try:
        code = app(arguments, exit_on_error=True, result_action="return_value")
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
        code = 130
    except (ZoomMILError, OSError, RuntimeError) as error:
        from napari_zoommil.commands.report import sentence

        print(f"error: {sentence(error)}", file=sys.stderr)
        code = 1
    sys.exit(code or 0)


if __name__ == "__main__":
    main()

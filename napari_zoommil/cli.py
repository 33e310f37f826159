"""``napari-zoommil``: the commands by name; each is imported when it is run.

Every command ends in 0, or in one clear line on standard error and another code.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cyclopts import App

import napari_zoommil

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
    "export-features": (
        "export_features:export_features",
        "Write features of a store as h5 files in TRIDENT's layout, or as images, which other tools read.",
    ),
    "train": (
        "cohort:train",
        "Train a model on a cohort: a CSV with the columns slide, label[, split][, group].",
    ),
    "train-encoder": (
        "encoders:train_encoder",
        "Train an encoder of patches on slides or pictures: VAE, contrastive, BiGAN, or supervised.",
    ),
    "import-model": (
        "import_model:import_model",
        "Make a model of a checkpoint of CLAM, TransMIL, DSMIL, ZoomMIL or MIL-Lab (FEATHER).",
    ),
    "models": (
        "models:models",
        "List the models that are there with what they must not be used for, and those that train makes.",
    ),
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


class Terminated(KeyboardInterrupt):
    """What ``kill``, Slurm and systemd send; handled like Ctrl-C, so that whatever is open is cleaned up."""


def _terminate(*_: object) -> None:
    raise Terminated


def run() -> None:
    """Entry point of the ``napari-zoommil`` command: the exit code says how the command ended."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    finally:  # Ctrl-C while the process ends its threads would replace the code
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command by its arguments, those of this process by default; always ends in ``SystemExit``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows pipe may not know × and µ
            stream.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _warn
            code = app(arguments, exit_on_error=True, result_action="return_value")
    except KeyboardInterrupt as error:
        code = _cancelled(error)
    except Exception as error:
        interruption = _interruption(error)
        code = _failed(error) if interruption is None else _cancelled(interruption)
    if code:
        # What zarr was reading or writing is abandoned; its loop would report that when the process ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.exit(code or 0)


def _cancelled(why: BaseException) -> int:
    print("cancelled", file=sys.stderr)
    return 128 + (signal.SIGTERM if isinstance(why, Terminated) else signal.SIGINT)


def _failed(error: Exception) -> int:
    from napari_zoommil.commands.report import sentence

    print(f"error: {sentence(error)}", file=sys.stderr)
    return 1


def _interruption(error: BaseException | None) -> BaseException | None:
    """The Ctrl-C, or its like, that alone caused an error by breaking off what was being done."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A warning for users as one line; those for developers are not shown."""
    if issubclass(category, UserWarning):
        print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    run()

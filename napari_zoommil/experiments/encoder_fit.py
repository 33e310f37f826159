"""An encoder fitted within a piece of an experiment."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from napari_zoommil.encoders.device import Device
from napari_zoommil.training.encoders.fitting import FittedEncoder, fit_in
from napari_zoommil.training.encoders.patches import Source
from napari_zoommil.training.encoders.recipe import EncoderRecipe, Method
from napari_zoommil.training.run import RunFolder


def fitted(
    source: Source, method: Method, recipe: EncoderRecipe, seed: int, device: Device
) -> Generator[float, None, FittedEncoder]:
    """Train; yields the share that is done. Nothing is kept on disk."""
    with TemporaryDirectory() as folder:
        job = fit_in(RunFolder(Path(folder), {}), source, method, recipe, None, device, seed)
        with closing(job):
            while True:
                try:
                    step = next(job)
                except StopIteration as stop:
                    result: FittedEncoder = stop.value
                    return result
                yield step.step / step.total

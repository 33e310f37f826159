"""Trainings on needle-MNIST in a folder, which the experiments ``needle-*`` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.needles.training import train_one
from napari_zoommil.experiments.needles.trials import Extent, Trial
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.run_pieces import run_missing
from napari_zoommil.jobs.progress import Job


@dataclass(frozen=True)
class Bench:
    """Trainings of a preset.

    Attributes
    ----------
    out : Path
    extent : Extent
    mnist : Path
        Folder of MNIST.
    """

    out: Path
    extent: Extent
    mnist: Path

    @property
    def folder(self) -> Path:
        return self.out / "needles"

    def weights(self, name: str) -> Path:
        """Those of a training, by its name."""
        return self.folder / f"{name.replace('/', '_')}.safetensors"

    def pieces(self) -> Pieces:
        """The results of trainings."""
        made_with = {
            name: {**self.extent.described(trial), "seed": seed}
            for name, (trial, seed) in self.extent.pieces().items()
        }
        return Pieces(self.folder, made_with)

    def trained(self, only: Sequence[str], device: str) -> Job[dict[str, Run]]:
        """Train each chosen trial without a result.

        Returns
        -------
        dict of str to Run
            All trainings with a result, by name.

        Raises
        ------
        JobError
            If ``only`` matches no training, or a result in the folder has other settings.
        """
        chosen, place = self.extent.pieces(), choose_device(device).torch
        names = select(chosen, only)
        tasks = {
            name: (trial, self.extent, seed, self.mnist, self.weights(name), str(place))
            for name, (trial, seed) in chosen.items()
            if name in names
        }
        pieces = self.pieces()
        yield from run_missing(pieces, tasks, train_one, place)
        return {name: Run(*chosen[name], result) for name, result in pieces.all().items()}


@dataclass(frozen=True)
class Run:
    """A finished training."""

    trial: Trial
    seed: int
    result: dict[str, Any]

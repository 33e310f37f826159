"""Fine-tuning of a cell model in a run folder: measure, fit, measure again, as a generator."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from napari_zoommil.cells.model import save_cell_model
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.encoders.device import Device
from napari_zoommil.familiarity import Familiarity
from napari_zoommil.training.callbacks import CurveWriter, last_checkpoint
from napari_zoommil.training.cells.averaging import averaged, share_of_training
from napari_zoommil.training.cells.marks import Before, threshold_by_count, with_known_sizes
from napari_zoommil.training.cells.module import CellModule, CellRecipe, train_loader
from napari_zoommil.training.cells.scores import WindowFinds, finds_in_window, finds_in_windows, measured
from napari_zoommil.training.fit import FitStep, Stage, fit_steps
from napari_zoommil.training.flags import TrainerFlags
from napari_zoommil.training.run import RunFolder

COLUMNS = ("train_loss", "exclusive_recall", "predictions_per_mm2", "f1_complete")
"""Columns of the curves."""


@dataclass(frozen=True, eq=False)
class TrainedCells:
    """A trained cell model on the CPU, its specification, and metrics before (``before_*``) and after."""

    network: UNet | YOLLO
    spec: CellSpec
    metrics: dict[str, float]


def fit_cells(
    network: UNet | YOLLO,
    spec: CellSpec,
    recipe: CellRecipe,
    train: Sequence[Window],
    held_out: Sequence[Window],
    run: RunFolder,
    resume: bool,
    device: Device,
    knows_classes: bool = True,
    elsewhere: Sequence[Window] = (),
) -> Generator[Stage | FitStep, None, TrainedCells]:
    """Train a cell model on windows, with held-out windows for validation.

    Parameters
    ----------
    network, spec
        The initial model.
    recipe : CellRecipe
        Settings of the fit.
    train, held_out : sequence of Window
        See :func:`napari_zoommil.cells.windows.hold_out`.
    run : RunFolder
        Folder for the curves and for a checkpoint at the end of each epoch.
    resume : bool
        Resume from that checkpoint, if there is one.
    device : Device
    knows_classes : bool
        Whether the initial model tells the classes of the windows apart.
    elsewhere : sequence of Window
        Windows at random places, in which cells are only counted.

    Yields
    ------
    Stage or FitStep
        After each measured window and after each training batch.

    Raises
    ------
    ModelError
        If ``resume`` is set and the folder holds another run, or a finished one.
    """
    checkpoint = run.begin(resume)
    network.to(device.torch)
    try:
        seen = yield from finds_in_windows(network, spec, held_out, "measuring the model before")
        before = measured(seen, spec, knows_classes) | {"score_threshold": spec.threshold}
        windows = train
        if isinstance(network, YOLLO):  # other networks learn discs
            both, title = (*train, *elsewhere), "measuring the sizes of annotated cells"
            old = yield from finds_in_windows(network, spec, both, title)
            windows = with_known_sizes(old[: len(train)], spec)
        initial = {name: value.clone() for name, value in network.state_dict().items()}
        yield from _fit(network, spec, recipe, windows, held_out, run, checkpoint, device)
        network.to(device.torch)
        if isinstance(network, YOLLO):  # for other networks the threshold changes which cells there are
            known = Before.of(old[: len(train)], spec)
            if known.is_trusted:
                share = share_of_training(known.annotated, recipe.trust)
                network.load_state_dict(averaged(initial, network.state_dict(), share))
            new = yield from finds_in_windows(network, spec, both, "measuring the number of cells")
            spec = replace(spec, threshold=threshold_by_count(old, new, spec, len(train)))
        seen = yield from finds_in_windows(network, spec, held_out, "measuring the model after")
        after = measured(seen, spec) | {"score_threshold": spec.threshold}
    finally:
        network.cpu().eval()
    return TrainedCells(network, spec, {f"before_{name}": value for name, value in before.items()} | after)


def finish_cells(
    trained: TrainedCells,
    run: RunFolder,
    card: Callable[[CellSpec], str],
    familiarity: Familiarity | None = None,
) -> None:
    """Write a trained model and its metrics into its run folder.

    Parameters
    ----------
    trained : TrainedCells
    run : RunFolder
    card : callable
        Returns the model card.
    familiarity : Familiarity, optional
        Statistics of what the model was trained on.

    Raises
    ------
    FileError
        If the folder cannot be written to.
    """
    spec = replace(trained.spec, training=run.provenance | {"metrics": trained.metrics})
    save_cell_model(run.folder, trained.network, spec, card(spec), familiarity)
    run.finish(trained.metrics)


def _fit(
    network: UNet | YOLLO,
    spec: CellSpec,
    recipe: CellRecipe,
    train: Sequence[Window],
    held_out: Sequence[Window],
    run: RunFolder,
    checkpoint: Path | None,
    device: Device,
) -> Generator[FitStep, None, None]:
    steps = fit_steps(
        WatchedCells(network, recipe, spec),
        train_loader(train, recipe, network),
        DataLoader(list(held_out), batch_size=None) if held_out else None,  # type: ignore[arg-type]
        epochs=recipe.epochs,
        device=device,
        flags=TrainerFlags(accumulate=recipe.accumulate),
        callbacks=[CurveWriter(run, COLUMNS), last_checkpoint(run)],
        resume=checkpoint,
    )
    with closing(steps):
        yield from steps


class WatchedCells(CellModule):
    """A training with validation on held-out windows at the end of each epoch."""

    def __init__(self, network: UNet | YOLLO, recipe: CellRecipe, spec: CellSpec) -> None:
        super().__init__(network, recipe)
        self.spec = spec
        self._found: list[WindowFinds] = []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Held-out windows stay on the CPU; their pixels are moved when the network needs them."""
        if isinstance(batch, Window):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def validation_step(self, window: Window, _index: int) -> None:
        self._found.append(finds_in_window(self.network, self.spec, window))

    def on_validation_epoch_end(self) -> None:
        found, self._found = self._found, []
        values = measured(found, self.spec, by_class=False)
        self.log_dict({name: values[name] for name in COLUMNS if name in values})

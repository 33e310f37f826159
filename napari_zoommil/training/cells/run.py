"""A cell training as a folder: settings, provenance, curves, checkpoint, and the model at the end."""

from __future__ import annotations

import csv
import json
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from napari_zoommil.cells.model import CellSpec, save_cell_model
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.windows import Window
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.errors import ModelError
from napari_zoommil.files import make_folder, write_json, write_table
from napari_zoommil.model_card import model_card
from napari_zoommil.model_folder import WEIGHTS
from napari_zoommil.training.cells.module import CellModule, CellRecipe, train_loader
from napari_zoommil.training.cells.scores import measured
from napari_zoommil.training.fit import FitStep, fit_steps

CURVES, RUN, CHECKPOINT = "curves.csv", "run.json", "last.ckpt"
COLUMNS = ("epoch", "train_loss", "exclusive_recall", "predictions_per_mm2", "f1_complete")


@dataclass(frozen=True)
class Run:
    """A training in a folder.

    Parameters
    ----------
    folder : Path
    provenance : dict
        What it trains on and how; a run goes on only with the same.
    """

    folder: Path
    provenance: dict[str, Any]

    def fit(
        self,
        network: UNet | YOLLO,
        spec: CellSpec,
        recipe: CellRecipe,
        train: Sequence[Window],
        held_out: Sequence[Window],
        resume: bool,
        **trainer: Any,
    ) -> Generator[FitStep, None, None]:
        """Train the network; a checkpoint is kept at the end of each epoch.

        Raises
        ------
        ModelError
            If it is to go on in a folder that holds another run, or a finished one.
        """
        checkpoint = self._begin(resume)
        module = CellModule(network, recipe)
        callbacks = [
            Curves(self.folder / CURVES, spec, held_out),
            ModelCheckpoint(self.folder, filename="last", save_last=False, enable_version_counter=False),
        ]
        steps = fit_steps(
            module,
            train_loader(train, recipe, network),
            callbacks=callbacks,
            ckpt_path=checkpoint,
            max_epochs=recipe.epochs,
            accumulate_grad_batches=recipe.accumulate,
            logger=False,
            num_sanity_val_steps=0,
            **trainer,
        )
        try:
            with closing(steps):
                yield from steps
        except UnpicklingError as error:
            raise ModelError(
                f"{checkpoint} is no checkpoint of a training: it holds code, which is not run; "
                "train without resuming"
            ) from error

    def _begin(self, resume: bool) -> Path | None:
        """Where to go on from, if there is such a place; else a folder without a run in it."""
        make_folder(self.folder)
        checkpoint = self.folder / CHECKPOINT
        if resume and checkpoint.exists():
            if _lasting(self._known()) != _lasting(json.loads(json.dumps(self.provenance))):
                raise ModelError(
                    f"{self.folder} holds a training of other points, settings or model; "
                    "train without resuming, or into another folder"
                )
            return checkpoint
        if resume and (self.folder / WEIGHTS).exists() and "metrics" in (self._known() or {}):
            raise ModelError(f"the training in {self.folder} is done; train into another folder")
        checkpoint.unlink(missing_ok=True)
        (self.folder / CURVES).unlink(missing_ok=True)
        self._write(self.provenance)
        return None

    def _known(self) -> dict[str, Any] | None:
        """What the folder tells of its run."""
        try:
            known = json.loads((self.folder / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return known if isinstance(known, dict) else None

    def keep(self, network: UNet | YOLLO, spec: CellSpec, metrics: dict[str, float]) -> None:
        """The trained model, its figures beside the provenance; the checkpoint goes."""
        described = replace(spec, training=self.provenance | {"metrics": metrics})
        save_cell_model(self.folder, network, described, card(described))
        self._write(self.provenance | {"metrics": metrics})
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.folder / RUN, content)


def _lasting(provenance: dict[str, Any] | None) -> dict[str, Any]:
    """What a run may not change: it goes on under other versions, and where its end was cut off."""
    return {name: value for name, value in (provenance or {}).items() if name not in ("versions", "metrics")}


class Curves(L.Callback):
    """A line of ``curves.csv`` for each epoch, and the same in the metrics of the fit."""

    def __init__(self, path: Path, spec: CellSpec, held_out: Sequence[Window]) -> None:
        self.path, self.spec, self.held_out = path, spec, held_out
        self._rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        """A run that was killed may have written of an epoch that its checkpoint does not know."""
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._rows = list(csv.DictReader(file))[: trainer.current_epoch]

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, CellModule)
        values = measured(module.network, self.spec, self.held_out)
        module.log_dict(values)
        loss = trainer.callback_metrics.get("train_loss_epoch", trainer.callback_metrics["train_loss"])
        line = {"epoch": trainer.current_epoch, "train_loss": float(loss)} | values
        self._rows.append({name: f"{value:.6g}" for name, value in line.items()})
        write_table(self.path, COLUMNS, self._rows)


def card(spec: CellSpec) -> str:
    """Model card in the hub's form."""
    return model_card(
        f"{spec.architecture}: {', '.join(one.name for one in spec.classes)}",
        f"Sees {spec.mpp:g} µm/px. Fine-tuned from `{spec.training.get('model', 'scratch')}` on "
        f"{spec.training.get('points', {})}.",
        spec.training.get("metrics"),
        tags=["cell-detection"],
    )

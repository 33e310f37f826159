"""The plan of a training, its provenance, and the specification and card of the model that it makes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_zoommil import __version__
from napari_zoommil.geometry import NATIVE, magnification_name
from napari_zoommil.jobs.cohort_bags import Reading, Source
from napari_zoommil.jobs.train_start import Start
from napari_zoommil.model_card import model_card
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.task import Classification, Regression, Task
from napari_zoommil.training.flags import TrainerFlags

if TYPE_CHECKING:
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.models.spec import ModelSpec
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide


@dataclass(frozen=True)
class Plan:
    """What is trained, and how."""

    model: str
    options: Mapping[str, Any]
    recipe: Recipe
    recipe_name: str
    seed: int
    task: Task
    flags: TrainerFlags
    start: Start | None = None


def provenance(
    plan: Plan, reading: Reading, source: Source, entries: Sequence[LabelledSlide]
) -> dict[str, Any]:
    """What a training is made of; names no slide, for names can tell who the patients are."""
    import torch

    told = sorted((one.slide.name, one.label, one.split) for one in entries)
    versions = {"napari_zoommil": __version__, "torch": torch.__version__}
    return {
        "model": plan.model,
        "options": dict(plan.options),
        "task": asdict(plan.task),
        "recipe": plan.recipe_name,
        "settings": asdict(plan.recipe) | {"seed": plan.seed},
        "flags": asdict(plan.flags),
        "reading": asdict(reading),
        "source": asdict(source),
        "slides": _slides(entries),
        "cohort": hashlib.sha256(repr(told).encode()).hexdigest()[:16],
        "versions": versions,
        **_from(plan),
    }


def _from(plan: Plan) -> dict[str, Any]:
    """The model that a training starts from; nothing of one that starts anew."""
    return {} if plan.start is None else {"from": plan.start.facts}


def specification(
    mil: MILModel,
    plan: Plan,
    reading: Reading,
    source: Source,
    entries: Sequence[LabelledSlide],
    metrics: dict[str, float],
    folds: int | None = None,
) -> ModelSpec:
    """What the folder of the trained model states; with ``folds``, of an ensemble."""
    from napari_zoommil.models.spec import ModelSpec

    recipe = plan.recipe
    task = mil.task
    return ModelSpec(
        architecture=mil.name,
        config=mil.config(),
        encoder=source.encoder,
        encoder_hash=source.encoder_hash,
        patch_size=reading.patch_size,
        class_names=task.names if isinstance(task, Classification) else (),
        min_tissue=reading.min_tissue,
        tissue_detector=reading.tissue_detector,
        training={
            "slides": _slides(entries),
            "recipe": plan.recipe_name,
            "epochs": recipe.epochs,
            "learning_rate": recipe.learning_rate,
            "seed": plan.seed,
            "metrics": metrics,
            **({"folds": folds} if folds else {}),
            **_from(plan),
        },
        regression=task if isinstance(task, Regression) else None,
        temperature=task.temperature if isinstance(task, Classification) else 1.0,
    )


def _slides(entries: Sequence[LabelledSlide]) -> dict[str, int]:
    """Number of slides by split."""
    return {split: sum(one.split == split for one in entries) for split in ("train", "val", "test")}


def card(spec: ModelSpec, held_out: str) -> str:
    """Card of a trained model, with a table of its metrics on held-out slides."""
    magnifications = ", ".join(map(magnification_name, spec.magnifications))
    start = spec.training.get("from")
    began = (
        f"\n\nTraining began with the weights of `{start['model']}` ({start['weights']})." if start else ""
    )
    read = f"Magnifications {magnifications}, patches of {spec.patch_size} px, "
    read += f"encoder `{spec.encoder or 'none'}` ({spec.encoder_hash})."
    if spec.takes == "image":
        read = f"It reads images as a whole, or regions of slides, at: {magnifications}. No encoder."
        if spec.magnifications == (NATIVE,):
            read += " The size of the pixels that it was trained on is not known."
    return model_card(
        f"{_architecture(spec)}: {', '.join(spec.task.names)}",
        f"{read}{began}\n\n{held_out}\n\n{_how_measured(spec)} Intervals: a bootstrap of patients.",
        spec.training.get("metrics"),
        tags=["multiple-instance-learning"],
    )


def _architecture(spec: ModelSpec) -> str:
    members = spec.config.get("member")
    return f"ensemble of {spec.config['count']} {members}" if members else spec.architecture


def _how_measured(spec: ModelSpec) -> str:
    """What of the metrics flatters."""
    if spec.training.get("folds"):
        return (
            f"Slides of the {spec.training['folds']} folds are each told by the model that was trained "
            "without them. The model here is the mean of those models: the metrics are of models trained on "
            "less, and its own are known only for slides of the split test."
        )
    scaled = (
        f" and the temperature {spec.temperature:g}, by which outputs are divided"
        if spec.temperature != 1
        else ""
    )
    return f"Validation slides chose the epoch{scaled}, so their metrics flatter."

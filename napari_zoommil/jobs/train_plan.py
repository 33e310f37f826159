"""The plan of a training, its provenance, and the specification and card of the model that it makes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_zoommil import __version__
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.cohort_bags import Reading, Source
from napari_zoommil.jobs.train_start import Start
from napari_zoommil.model_card import model_card
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.task import Classification, Regression, Task
from napari_zoommil.training.flags import TrainerFlags

if TYPE_CHECKING:
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.models.spec import ModelSpec
    from napari_zoommil.training.mil.cohort import LabelledSlide


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
        "slides": {split: sum(one.split == split for one in entries) for split in ("train", "val", "test")},
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
    slides: dict[str, int],
    metrics: dict[str, float],
) -> ModelSpec:
    """What the folder of the trained model states."""
    from napari_zoommil.models.spec import ModelSpec

    recipe = plan.recipe
    return ModelSpec(
        architecture=plan.model,
        config=mil.config(),
        encoder=source.encoder,
        encoder_hash=source.encoder_hash,
        patch_size=reading.patch_size,
        class_names=plan.task.names if isinstance(plan.task, Classification) else (),
        min_tissue=reading.min_tissue,
        training={
            "slides": slides,
            "recipe": plan.recipe_name,
            "epochs": recipe.epochs,
            "learning_rate": recipe.learning_rate,
            "seed": plan.seed,
            "metrics": metrics,
            **_from(plan),
        },
        regression=plan.task if isinstance(plan.task, Regression) else None,
    )


def card(spec: ModelSpec, held_out: str) -> str:
    """Card of a trained model, with a table of its metrics on held-out slides."""
    magnifications = ", ".join(map(magnification_name, spec.magnifications))
    start = spec.training.get("from")
    began = (
        f"\n\nTraining began with the weights of `{start['model']}` ({start['weights']})." if start else ""
    )
    return model_card(
        f"{spec.architecture}: {', '.join(spec.task.names)}",
        f"Magnifications {magnifications}, patches of {spec.patch_size} px, "
        f"encoder `{spec.encoder or 'none'}` ({spec.encoder_hash}).{began}\n\n"
        f"{held_out}\n\n"
        "Validation slides chose the epoch, so their metrics flatter. Intervals: a bootstrap of patients.",
        spec.training.get("metrics"),
        tags=["multiple-instance-learning"],
    )

"""What a training is made of where it starts from a model: what that fixes, and what is left to choose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.files import read_file
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.loading import encoder_on, named_by_user, require_width
from napari_zoommil.jobs.train_choices import Asked
from napari_zoommil.model_folder import WEIGHTS, find_model
from napari_zoommil.models.task import Classification, Regression, Task

if TYPE_CHECKING:
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.models.spec import ModelSpec

DEFAULT_MODEL, DEFAULT_ENCODER, DEFAULT_PATCH = "zoommil", "nic", 256


@dataclass(frozen=True)
class Chosen:
    """What a training reads, and the model that it makes; None where the recipe decides."""

    model: str
    encoder: str
    magnifications: tuple[float, ...] | None
    patch_size: int
    min_tissue: float | None
    tissue_detector: str | None
    options: Mapping[str, Any]

    @classmethod
    def new(cls, asked: Asked) -> Chosen:
        """With the defaults of a new model."""
        return cls(
            asked.model or DEFAULT_MODEL,
            asked.encoder or DEFAULT_ENCODER,
            asked.magnifications,
            asked.patch_size or DEFAULT_PATCH,
            asked.min_tissue,
            asked.tissue_detector,
            asked.options,
        )


@dataclass(frozen=True)
class Start:
    """A model that a training starts from.

    Attributes
    ----------
    name : str
        As the user gave it.
    spec : ModelSpec
    weights : str
        Hash of its weights.
    """

    name: str
    spec: ModelSpec
    weights: str

    @classmethod
    def read(cls, name: str | Path) -> Start:
        """A model by its folder or name.

        Raises
        ------
        ModelError
        """
        from napari_zoommil.models.spec import load_model

        _, spec = load_model(name)  # refuses weights that do not fit before any work
        content = read_file(find_model(name) / WEIGHTS)
        return cls(str(name), spec, hashlib.sha256(content).hexdigest()[:16])

    @property
    def facts(self) -> dict[str, Any]:
        """For provenance; of a folder only its own name."""
        folder = Path(self.name).expanduser()
        return {"model": folder.name if folder.is_dir() else self.name, "weights": self.weights}

    def chosen(self, given: Asked) -> Chosen:
        """What is given, with the rest from the model.

        Raises
        ------
        ModelError
            If what is given differs from the model's, or options would change the shape of its weights.
        EncoderError, ConsentError
            If the encoder is not that of the model, or the user has to name it.
        """
        spec = self.spec
        scales = given.magnifications and tuple(map(float, given.magnifications))
        self._require("architecture", given.model, spec.architecture)
        self._require("magnifications", _told(scales), _told(spec.magnifications))
        self._require("patch size in px", given.patch_size, spec.patch_size)
        own = ("in_features", "classes", "magnifications")
        options = {name: value for name, value in spec.config.items() if name not in own}
        self._require_shapes(given.options)
        return Chosen(
            spec.architecture,
            self._encoder(given),
            spec.magnifications,
            spec.patch_size,
            spec.min_tissue if given.min_tissue is None else given.min_tissue,
            given.tissue_detector or spec.tissue_detector,
            {**options, **given.options},
        )

    def _require(self, what: str, given: object, own: object) -> None:
        if given not in (None, own):
            raise ModelError(
                f"{self.name} has the {what} {own}, but the training was given {given}; leave that out, or "
                "start from another model"
            )

    def _require_shapes(self, given: Mapping[str, Any]) -> None:
        import torch

        from napari_zoommil.models import create
        from napari_zoommil.models.spec import load_model
        from napari_zoommil.models.warm_start import require_same_shapes

        with torch.device("meta"):
            asked = create(self.spec.architecture, **{**self.spec.config, **given})
        require_same_shapes(load_model(self.name)[0], asked)

    def _encoder(self, asked: Asked) -> str:
        from napari_zoommil.encoders.trust import name_to_load

        given = asked.encoder
        if asked.from_files:  # which have been compared with the model
            return self.spec.encoder or given or DEFAULT_ENCODER
        if self.spec.takes != "bag":
            return DEFAULT_ENCODER  # which is not read
        if self.spec.encoder and self.spec.encoder_hash:
            name = name_to_load(self.name, self.spec.encoder, self.spec.encoder_hash, given)
        else:
            name = named_by_user(self.name, given, self.spec.encoder)
        with encoder_on("cpu", name, self.spec.encoder_hash or None) as network:
            require_width(network, self.spec, self.name)
        return name

    def task(self, found: Task) -> Task:
        """The model's task where it is that of the cohort, so that its head can go on; else the cohort's."""
        own = self.spec.task
        if isinstance(own, Classification) and isinstance(found, Classification):
            return replace(own, temperature=1.0) if set(own.names) == set(found.names) else found
        if isinstance(own, Regression) and isinstance(found, Regression):
            return own if found.unit in ("", own.unit) else found
        return found

    def fill(self, model: MILModel, task: Task, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Give a new model the weights of this one; returns the modules of a new head."""
        from napari_zoommil.models import create
        from napari_zoommil.models.spec import load_model
        from napari_zoommil.models.warm_start import copy_weights

        like = partial(create, self.spec.architecture, model.in_features, magnifications=model.magnifications)
        source, _ = load_model(self.name)
        return copy_weights(source, model, lambda count: like(count, **options), task == self.spec.task)


def _told(magnifications: tuple[float, ...] | None) -> str | None:
    return ", ".join(map(magnification_name, magnifications)) if magnifications else None

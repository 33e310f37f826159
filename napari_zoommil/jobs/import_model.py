"""``import_model``: a checkpoint of a model's authors as a model folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.loading import encoder_on
from napari_zoommil.jobs.parameters import ModelFolder, Overwrite, Range, documented
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_card import model_card
from napari_zoommil.models.task import Classification
from napari_zoommil.slides.patching import DEFAULT_PATCH
from napari_zoommil.training.run import remove_run, working_in

if TYPE_CHECKING:
    from napari_zoommil.models.imported import ImportedModel
    from napari_zoommil.models.origins import Origin
    from napari_zoommil.models.spec import ModelSpec


@dataclass(frozen=True)
class Import:
    """An imported model.

    Attributes
    ----------
    model : Path
    origin : str
        Whose checkpoint it was.
    class_names : tuple of str
    not_for : str
        What is not known of it, and what it must not be used for.
    """

    model: Path
    origin: str
    class_names: tuple[str, ...]
    not_for: str


@documented
def import_model(
    checkpoint: Path,
    origin: str,
    *,
    out: ModelFolder,
    encoder: str | None = None,
    patch_size: Annotated[int | None, Range(16, 4096, unit="px")] = None,
    magnifications: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    overwrite: Overwrite = False,
) -> Job[Import]:
    """Write a checkpoint of a model's authors as a model folder; no code of it is run.

    Parameters
    ----------
    checkpoint : Path
        File (.pt, .pth, .ckpt, .bin, .safetensors) or folder.
    origin : str
        Whose names the weights have: abmil (MIL-Lab, FEATHER), clam_sb, clam_mb, dsmil, transmil or zoommil.
    encoder : str, optional
        The encoder that it was trained on, which is loaded for its hash. Without it, predictions have to name
        it.
    patch_size : int, optional
        Edge of the patches that it was trained on; 256 is assumed if it is not given.
    magnifications : tuple of float, optional
        Those that it was trained on; 20, or of zoommil 5, 10 and 20, are assumed if they are not given.
    class_names : tuple of str
        Names of its outputs, in their order; numbers if they are not given.
    options : dict, optional
        Options of the model that its weights do not tell, such as k=16 of zoommil.

    Returns
    -------
    Import

    Raises
    ------
    ModelError
        If it cannot be read without running code, its weights are not those of the origin (all that is wrong
        is listed), or what is given does not fit them.
    EncoderError
        If there is no such encoder.
    FileError
        If ``out`` cannot be written to.
    """
    from napari_zoommil.models.checkpoint import read_checkpoint
    from napari_zoommil.models.imported import import_weights, origin_named
    from napari_zoommil.models.spec import save_model

    known = origin_named(origin)
    with working_in(out, overwrite):
        yield Progress(0, 2, f"reading {checkpoint.name}")
        found = read_checkpoint(checkpoint)
        names = tuple(class_names)
        imported = import_weights(found, known, magnifications, len(names) or None, options)
        names = _checked(names, imported.model.classes)
        yield Progress(1, 2, "writing the model")
        spec = _specification(imported, known, names, encoder, patch_size or DEFAULT_PATCH, found.file)
        not_for = _not_for(imported, spec, bool(patch_size), bool(magnifications), bool(class_names))
        remove_run(out)
        save_model(out, imported.model, spec, _card(imported, known, spec, not_for))
    yield Progress(2, 2, "done")
    return Import(out, known.title, names, not_for)


def _checked(names: tuple[str, ...], classes: int) -> tuple[str, ...]:
    if not names:
        return Classification.unnamed(classes).names
    if len(names) != classes or len(set(names)) != classes or not all(names):
        raise ModelError(f"the model has {classes} outputs, but the classes are {', '.join(names)}")
    return names


def _specification(
    imported: ImportedModel,
    origin: Origin,
    names: tuple[str, ...],
    encoder: str | None,
    patch_size: int,
    file: Path,
) -> ModelSpec:
    from napari_zoommil.models.spec import ModelSpec

    named, known_hash = _encoder(encoder, imported.model.in_features)
    return ModelSpec(
        architecture=origin.model,
        config=imported.model.config(),
        encoder=named,
        encoder_hash=known_hash,
        patch_size=patch_size,
        class_names=names,
        training={
            "imported": {
                "origin": origin.title,
                "file": file.name,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "new_head": imported.new_head,
            }
        },
    )


def _encoder(name: str | None, width: int) -> tuple[str, str]:
    """The name that a folder states of an encoder, and its hash; empty if it is not known."""
    if name is None:
        return "", ""
    from napari_zoommil.encoders.trust import name_in_folder

    with encoder_on("cpu", name) as network:
        if network.dim != width:
            raise ModelError(
                f"the model takes {width} features per patch, but the encoder {name} makes {network.dim}; "
                "name the one that it was trained on, or leave --encoder out"
            )
        return name_in_folder(name), network.hash


def _not_for(
    imported: ImportedModel, spec: ModelSpec, patch_size: bool, magnifications: bool, classes: bool
) -> str:
    told = ["Imported from another project and not checked on any slide here: not for diagnosis."]
    if imported.new_head:
        told.append(
            "It has no classifier: all classes are equally probable until it is trained (train --from)."
        )
    if not spec.encoder:
        told.append(
            "The encoder it was trained on is not known here: it answers sensibly with that one only."
        )
    unsure = []
    if not magnifications:
        unsure.append(", ".join(map(magnification_name, spec.magnifications)))
    if not patch_size:
        unsure.append(f"patches of {spec.patch_size} px")
    if not classes and not imported.new_head:
        unsure.append("the names of the classes")
    if unsure:
        told.append(f"Assumed, not known: {_and(unsure)}.")
    return " ".join(told)


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _card(imported: ImportedModel, origin: Origin, spec: ModelSpec, not_for: str) -> str:
    source = spec.training["imported"]
    lines = [
        f"Weights of {origin.title}, from `{source['file']}` (SHA-256 {source['sha256']}). Ask their authors "
        "for licence, training data and results; the file does not tell.",
        f"Magnifications {', '.join(map(magnification_name, spec.magnifications))}, patches of "
        f"{spec.patch_size} px, {imported.model.in_features} features per patch, encoder "
        f"`{spec.encoder or 'not known'}`.",
        imported.assumed,
        "Maps and answers hold only for features of the encoder, patch size and magnification that it was "
        "trained on. What its training slides looked like is not known, so familiarity is unknown.",
    ]
    return model_card(
        f"{spec.architecture}, imported: {', '.join(spec.task.names)}",
        "\n\n".join(filter(None, lines)),
        tags=["multiple-instance-learning"],
        not_for=not_for,
    )

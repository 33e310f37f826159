"""Encoders trained on slides set aside, and the slides compressed by them, as pieces of their own."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from napari_zoommil.encoders.convolutional import ConvolutionalEncoder
from napari_zoommil.encoders.folder import EncoderSpec, preprocessing_for, save_encoder
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.nic_slides.trials import BASE_STRIDE, Code, Extent, is_made, weights_of
from napari_zoommil.experiments.pieces import Pieces
from napari_zoommil.experiments.run_pieces import run_missing, shares_of, within
from napari_zoommil.experiments.zooming.cohort import TABLE, planned
from napari_zoommil.files import make_folder
from napari_zoommil.jobs import Job, embed, train_encoder
from napari_zoommil.slides.tissue_published import DEFAULT
from napari_zoommil.training.encoders.recipe import recipe_of

HOME = "nic-slides"
"""Folder of what is not shared with other experiments."""

MAGNIFICATION = 20.0
SEED = 0
"""Of encoders."""

REST = "other tissue"
"""Class of what is no tumour, for the supervised encoder."""


def encoder_name(out: Path, code: Code) -> str:
    """As jobs take it: a folder of an encoder that is made here, or a name of the registry."""
    return str(encoder_folder(out, code)) if is_made(code) else code.encoder


def encoder_folder(out: Path, code: Code) -> Path:
    return out / HOME / "encoders" / _made(code).replace("/", "_")


def prepared(out: Path, extent: Extent, codes: Iterable[Code], place: Any) -> Job[dict[str, dict[str, Any]]]:
    """Train the encoders that are missing, and compress all slides by each.

    Returns
    -------
    dict
        Metrics of each encoder of the preset that is made, by ``vae/128``: method and code, and the edge of
        its patches where that is not the usual one.
    """
    every = list(dict.fromkeys(trial.code for trial in extent.trials))
    wanted = [one for one in every if one in set(codes)]
    encoders = Pieces(
        out / HOME / "encoders", {_made(one): _settings(one, extent) for one in every if is_made(one)}
    )
    tasks = {_made(one): (one, extent, out, str(place)) for one in wanted if is_made(one)}
    yield from run_missing(encoders, tasks, make_encoder, place)
    read = {"cohort": asdict(extent.cohort), "views": extent.views, "min_tissue": extent.min_tissue}
    features = Pieces(
        out / HOME / "features", {one.name: {**read, "encoder": _settings(one, extent)} for one in every}
    )
    tasks = {one.name: (one, extent, out, str(place)) for one in wanted}
    yield from run_missing(features, tasks, compress, place)
    return encoders.all()


def _made(code: Code) -> str:
    """Name of an encoder, which reads patches of the size that it was trained on."""
    return f"{code.encoder}/{code.size}" + (f"/{code.stride}" if code.stride != BASE_STRIDE else "")


def _settings(code: Code, extent: Extent) -> dict[str, Any] | str | None:
    """What determines an encoder: its training, or the hash of one that is not made here."""
    if not is_made(code):
        return weights_of(code)
    how = replace(extent.encoders, steps={code.encoder: extent.encoders.steps.get(code.encoder)})
    patch = {"patch": code.stride} if code.stride != BASE_STRIDE else {}
    return asdict(how) | {"min_tissue": extent.min_tissue} | patch


def make_encoder(
    code: Code, extent: Extent, out: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Train an encoder by the job ``train-encoder``, or write one with random weights."""
    started, how, folder = time.perf_counter(), extent.encoders, encoder_folder(out, code)
    if code.encoder == "untrained":
        _untrained(code, extent, folder)
        return {"steps": 0, "seconds": time.perf_counter() - started}
    job = train_encoder(
        out / how.cohort.folder / TABLE,
        method=code.encoder,  # type: ignore[arg-type]
        out=folder,
        recipe=how.recipe,
        magnification=MAGNIFICATION,
        patch_size=code.stride,
        patches=how.patches,
        code=code.size,
        input_size=how.input_size,
        steps=how.steps.get(code.encoder),
        rest=REST,
        min_tissue=extent.min_tissue,
        seed=SEED,
        device=device,
        resume=True,
    )
    made = yield from shares_of(job)
    return {**made.metrics, "seconds": time.perf_counter() - started}


def _untrained(code: Code, extent: Extent, folder: Path) -> None:
    """The network of the VAE."""
    sizes = recipe_of("vae", extent.encoders.recipe).resized(extent.encoders.input_size, code.size).sizes
    with own_random_numbers(SEED):
        network = ConvolutionalEncoder(sizes).eval()
    spec = EncoderSpec(sizes, preprocessing_for(sizes), "untrained", code.stride)
    save_encoder(make_folder(folder), network, spec, "# Random weights: a control\n")


def compress(code: Code, extent: Extent, out: Path, device: str) -> Generator[float, None, dict[str, Any]]:
    """Store the features of all slides, in all views."""
    started, slides, patches = time.perf_counter(), list(planned(extent.cohort)), 0
    for number, slide in enumerate(slides):
        job = embed(
            out / extent.cohort.folder / slide.name,
            encoder_name(out, code),
            magnifications=(MAGNIFICATION,),
            store=out / "features",
            patch_size=code.stride,
            variants=extent.views,
            min_tissue=extent.min_tissue,
            tissue_detector=DEFAULT,
            device=device,
        )
        found = yield from within(shares_of(job), number / len(slides), (number + 1) / len(slides))
        patches += sum(found.counts)
    return {"patches": patches / len(slides), "seconds": time.perf_counter() - started}

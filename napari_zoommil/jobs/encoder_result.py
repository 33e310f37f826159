"""What a trained encoder's folder tells: configuration, measurements, statistics of the training, card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zoommil.familiarity import Familiarity, Patches, SlideSample, fitted
from napari_zoommil.familiarity.descriptors import LEAST_EDGE, describe
from napari_zoommil.model_card import markdown_table, model_card

if TYPE_CHECKING:
    from napari_zoommil.encoders import Encoder
    from napari_zoommil.encoders.folder import EncoderSpec
    from napari_zoommil.jobs.encoder_patches import ChosenPatches, EncoderReading
    from napari_zoommil.training.encoders.fitting import FittedEncoder
    from napari_zoommil.training.encoders.patches import PatchSet, Source
    from napari_zoommil.training.encoders.probe import Measured
    from napari_zoommil.training.encoders.recipe import EncoderRecipe

DESCRIBED = 6_000
"""About how many training patches the statistics are of."""

PER_IMAGE = (20, 300)
"""Least and most of them of a slide or picture."""

PROBED = 20_000
"""Most training patches of a linear probe."""

CONTROLS = {
    "untrained": "the same network untrained",
    "colour": "mean and standard deviation of colour",
}
"""What an encoder has to beat."""

NOT_FOR = "Not for diagnosis."

METHODS = {
    "vae": "variational autoencoder: it reconstructs patches from a code that is near a normal distribution",
    "contrastive": "contrastive: a siamese network tells whether two changed patches are of the same place",
    "bigan": "BiGAN: a discriminator cannot tell patches with their codes from generated patches with theirs",
    "supervised": "supervised: an MLP on the code names the class of a patch",
}


def provenance(
    asked: Mapping[str, Any], recipe: EncoderRecipe, reading: EncoderReading, chosen: ChosenPatches
) -> dict[str, Any]:
    """Data and settings of a run, as JSON; a run is resumed only with the same."""
    import torch

    import napari_zoommil

    read = {
        name: value
        for name, value in asdict(reading).items()
        if name not in ("data", "annotated", "supervised")
    }
    return {
        "kind": "encoder",
        **asked,
        "settings": asdict(recipe),
        "reading": read,
        "rest": reading.annotated.rest,
        "files": chosen.files,
        "patches": chosen.patches,
        "data": chosen.hash,
        "classes": chosen.classes,
        "versions": {"napari-zoommil": napari_zoommil.__version__, "torch": torch.__version__},
    }


def measured(made: FittedEncoder, source: Source, seed: int) -> dict[str, float]:
    """Accuracies of linear probes on the held-out patients, where these have labels: of the encoder, of the
    same network untrained, and of mean and standard deviation of each colour; and how much better the encoder
    is than each of these controls on the same patients. All with 95 % intervals if patients are enough."""
    from napari_zoommil.training.encoders.fitting import codes_of, untrained
    from napari_zoommil.training.encoders.probe import colour_statistics, linear_probe

    if source.test is None:
        return {}
    train, test = source.train.labelled, source.test.labelled
    known = np.unique(train.labels)
    test = test.rows(np.isin(test.labels, known))
    if len(known) < 2 or not len(test):
        return {}
    train = train.rows(np.sort(np.random.default_rng(seed).permutation(len(train))[:PROBED]))
    new = untrained(made.recipe, seed)
    ways: dict[str, Any] = {
        "probe": made.codes,
        "probe_untrained": lambda patches: codes_of(new, patches.pixels),
        "probe_colour": lambda patches: colour_statistics(patches.pixels),
    }
    probes = {
        name: linear_probe(codes(train), train.labels, codes(test), test.labels, test.groups, seed=seed)
        for name, codes in ways.items()
    }
    found: dict[str, float] = {}
    for name, probe in probes.items():
        found |= _with_bounds(f"{name}_accuracy", name, probe["accuracy"])
    for name in CONTROLS:
        more = probes["probe"].minus(probes[f"probe_{name}"])
        found |= _with_bounds(f"probe_minus_{name}", f"probe_minus_{name}", more)
    return found


def _with_bounds(name: str, prefix: str, one: Measured) -> dict[str, float]:
    bounds = {f"{prefix}_low": one.low, f"{prefix}_high": one.high}
    return {name: one.value} | {end: value for end, value in bounds.items() if value is not None}


def specification(
    made: FittedEncoder,
    chosen: ChosenPatches,
    reading: EncoderReading,
    asked: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> EncoderSpec:
    """The configuration of the encoder's folder."""
    from napari_zoommil.encoders.folder import EncoderSpec, preprocessing_for

    return EncoderSpec(
        sizes=made.network.sizes,
        preprocessing=preprocessing_for(made.network.sizes),
        method=made.method,
        patch_size=reading.patch_size,
        mpp=chosen.mpp,
        licence=asked["licence"],
        classes=chosen.classes if made.method == "supervised" else (),
        training={
            "recipe": asked["recipe"],
            "seed": asked["seed"],
            "files": chosen.files,
            "patches": chosen.patches,
            "metrics": dict(metrics),
        },
    )


def statistics(encoder: Encoder, source: Source, mpp: float | None) -> Familiarity | None:
    """Statistics of the training patches, by image; None where they are too few or too small, or their
    resolution is not known."""
    if mpp is None or source.train.edge < LEAST_EDGE or source.train.channels != 3:
        return None
    images = len(np.unique(source.train.images))
    count = int(np.clip(DESCRIBED / images, *PER_IMAGE))
    held_out = [
        sample
        for part in (source.val, source.test)
        if part is not None
        for sample in _samples(part, encoder, count)
    ]
    return fitted(
        _samples(source.train, encoder, count),
        held_out,
        mpps=[mpp],
        patch_size=source.train.edge,
        encoder_hash=encoder.hash,
    )


def _samples(patches: PatchSet, encoder: Encoder, count: int) -> list[SlideSample]:
    rng = np.random.default_rng(0)
    found = []
    for image in np.unique(patches.images):
        own = np.flatnonzero(patches.images == image)
        rows = np.sort(rng.permutation(own)[:count])
        pixels = patches.pixels[rows]
        one = Patches(describe(pixels), encoder(pixels).numpy(), len(own))
        found.append(SlideSample(str(patches.groups[own[0]]), (one,)))
    return found


def card(spec: EncoderSpec, metrics: Mapping[str, float]) -> str:
    """The card of a trained encoder."""
    training = spec.training
    counted = [
        (split, f"{training['files'][split]:,}", f"{training['patches'][split]:,}")
        for split in ("train", "val", "test")
    ]
    classes = f" Classes: {', '.join(spec.classes)}." if spec.classes else ""
    text = (
        f"A patch of {spec.scale} becomes a code of {spec.sizes.code} numbers; the input of the network is "
        f"{spec.sizes.edge} px. {METHODS[spec.method].capitalize()} (Tellez et al. 2019). Recipe "
        f"{training['recipe']}, {metrics.get('steps', 0):,.0f} steps.{classes}\n\n"
        f"{markdown_table(('part', 'slides or pictures', 'patches'), counted)}\n\n"
        f"{_pairs(metrics)}{_told(metrics)}"
    )
    title = f"Encoder: {spec.method}, {spec.scale}"
    return model_card(
        title, text, metrics, tags=["encoder", spec.method], license=spec.licence or None, not_for=NOT_FOR
    )


def _pairs(metrics: Mapping[str, float]) -> str:
    """What the pairs of a contrastive training were."""
    if "pairs_adjacent" not in metrics:
        return ""
    share = metrics["pairs_adjacent"]
    return (
        f"Of the pairs of different places, {share:.0%} were adjacent patches and {1 - share:.0%} of "
        "different slides or pictures (the paper: 75 % and 25 %).\n\n"
    )


def _told(metrics: Mapping[str, float]) -> str:
    """What the figures say of its use."""
    if "probe_accuracy" not in metrics:
        return (
            "There were no labels to test with: whether its codes tell tissues apart better than those of an "
            "untrained network is not known."
        )
    own = f"A linear probe on held-out patients names {metrics['probe_accuracy']:.1%} of the patches rightly"
    return f"{own}: {'; '.join(_compared(metrics, name, told) for name, told in CONTROLS.items())}."


def _compared(metrics: Mapping[str, float], name: str, told: str) -> str:
    """Whether it is better than a control, by the interval of the difference on the same patients."""
    more, control = metrics[f"probe_minus_{name}"], f"{told} ({metrics[f'probe_{name}_accuracy']:.1%})"
    low, high = (metrics.get(f"probe_minus_{name}_{end}") for end in ("low", "high"))
    if low is None or high is None:
        return f"{more:+.1%} against {control}, with patients too few for an interval: not decidable"
    verdict = "above" if low > 0 else "below" if high < 0 else "not decidable against"
    return f"{verdict} {control}, difference {more:+.1%} ({low:+.1%} to {high:+.1%})"

"""The range, step, unit and help of a job's parameter: written once, shown by every face.

magicgui and cyclopts each have their own way to say it; ``viewer`` and ``commands`` translate this one.
Parameters that mean the same in several jobs have a type here, with their help, which :func:`documented`
writes into the jobs' docstrings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Interval
from docstring_parser import parse

from napari_zoommil.annotations.regions import Region
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.slides.readers.base import PLAUSIBLE_MPP
from napari_zoommil.slides.tissue_published import DEFAULT, DETECTORS

J = TypeVar("J", bound=Callable[..., Any])


@dataclass(frozen=True)
class Range:
    """Allowed values of a number. ``unit`` is written as users read it; ``log`` asks for even ratios."""

    low: float
    high: float
    step: float | None = None
    unit: str = ""
    log: bool = False


@dataclass(frozen=True)
class Help:
    """What a parameter is, where its type says it and not the job that has it."""

    text: str


SlideSource = Annotated[Path | Slide, Help("The slide.")]

KnownTissue = Annotated[Tissue | None, Help("Where the tissue is; found by itself if not given.")]

Inside = Annotated[
    Sequence[Region],
    Help(
        "Areas of the slide, level-0 px: outlines, (n, 2) y and x, shapely polygons with holes, or a Box. "
        "Only what is inside counts, as far as it is on the slide: of patches those with tissue inside, of "
        "cells those with their centre inside. Without regions, all tissue."
    ),
]

ModelName = Annotated[str, Help("Shipped model, folder or hub name.")]

EncoderName = Annotated[
    str,
    Help(
        "nic, resnet50, mean-rgb, a timm name, hf-hub:owner/name, or a TorchScript file, which is code and "
        "is run."
    ),
]

EncoderOfModel = Annotated[
    str | None,
    Help(
        "The encoder that a MIL model was trained on, where the model must not choose it: its hub name, or a "
        "TorchScript file, which is code and is run. Its hash must be that of the model."
    ),
]

EncoderToTrain = Annotated[
    str | None,
    Help(
        "nic, resnet50, mean-rgb, a timm name, hf-hub:owner/name, or a TorchScript file, which is code and "
        "is run; nic by default, or that of the model that the training starts from."
    ),
]

Features = Annotated[
    Sequence[Path],
    Help(
        "Features of other tools, which are read instead of encoding: an .h5 file of CLAM, TRIDENT, STAMP or "
        "ZoomMIL, a folder of such files named as the slides, or several folders, one per magnification. The "
        "slide itself need not be there."
    ),
]

MPP_RANGE = Range(*PLAUSIBLE_MPP, unit="µm/px")

Mpp = Annotated[
    float | None,
    MPP_RANGE,
    Help("Pixel size of level 0, if the slide does not state it or states it wrongly."),
]

Icc = Annotated[bool, Help("Convert pixels to sRGB by the slide's colour profile, if it has one.")]

_STORE = "Folder of features: what it holds is not encoded again."

Store = Annotated[Path | None, Help(f"{_STORE} One in the user's cache by default.")]

NamedStore = Annotated[Path, Help(_STORE)]
"""Of jobs that fill it for others, so that the user says where it is."""

PatchSize = Annotated[
    int, Range(16, 4096, unit="px"), Help("Edge of a patch, the same at every magnification.")
]

Variants = Annotated[
    int,
    Range(1, 8),
    Help(
        "Rotations and flips of each patch that are encoded: 1 for patches as they are, 4 for their quarter "
        "turns, 8 for those mirrored too, on which nic is trained by default."
    ),
]

PatchSizeToTrain = Annotated[
    int | None,
    Range(16, 4096, unit="px"),
    Help(
        "Edge of a patch, the same at every magnification; 256 by default, or that of the model that the "
        "training starts from."
    ),
]

_TISSUE_SHARE = "Least tissue share of a patch at the lowest magnification"

TissueShare = Annotated[float, Range(0, 1, 0.05), Help(f"{_TISSUE_SHARE}.")]

MinTissue = Annotated[float | None, Range(0, 1, 0.05), Help(f"{_TISSUE_SHARE}; the model's own by default.")]
"""Of jobs with a trained model."""

TissueShareToTrain = Annotated[
    float | None,
    Range(0, 1, 0.05),
    Help(f"{_TISSUE_SHARE}; 0.1 by default, or that of the model that the training starts from."),
]

Overlap = Annotated[
    float,
    Range(0, 4096),
    Help(
        "Of neighbouring patches, for finer maps: px of the patch (64), or a share of its edge below 1 "
        "(0.5). "
        "For models of one magnification."
    ),
]

ImageMagnification = Annotated[
    float | None,
    Range(0, 100),
    Help(
        "Of models that read an image in place of patches: magnification that the slide or region is read "
        "at, 0 for its own pixels; that of the training by default."
    ),
]

_OTHERS = ", ".join(name for name in DETECTORS if name != DEFAULT)
_DETECTORS = f"{DEFAULT}, or that of ZoomMIL's experiments: {_OTHERS}"

TissueDetectorName = Annotated[str, Help(f"How tissue is found: {_DETECTORS}.")]

TissueDetectorToTrain = Annotated[
    str | None,
    Help(
        f"How tissue is found: {_DETECTORS}. That of the recipe by default, or of the model that the "
        "training starts from."
    ),
]

DeviceName = Annotated[str, Help("auto, cpu, cuda, cuda:1, mps.")]

BatchSize = Annotated[
    int,
    Range(1, 4096),
    Help("Patches encoded at once; halved by itself when device memory runs out."),
]

Workers = Annotated[
    int | None,
    Range(1, 64),
    Help("Threads that read the slide; one per core, at most 8, by default."),
]

Threads = Annotated[int | None, Range(1, 256), Help("CPU threads that compute; all cores by default.")]

ModelFolder = Annotated[Path, Help("Model folder to write.")]

Overwrite = Annotated[
    bool, Help("Replace what the folder holds; without it, a folder that is not empty is refused.")
]

Epochs = Annotated[
    int | None,
    Range(1, 10_000),
    Help("Passes over what is trained on; the recipe's or the preset's by default."),
]

LearningRate = Annotated[
    float | None,
    Range(1e-6, 1e-1, log=True),
    Help("Of the optimiser; the recipe's or the preset's by default."),
]

Seed = Annotated[
    int,
    Range(0, 2**31),
    Help("Of what is drawn at random: weights, order, augmentation, and what is held out."),
]


@dataclass(frozen=True)
class Field:
    """One parameter of a job."""

    name: str
    type: Any
    default: Any
    help: str
    range: Range | None

    @property
    def help_with_unit(self) -> str:
        """For those who do not see the unit beside the value."""
        return f"{self.help} ({self.range.unit})" if self.range and self.range.unit else self.help


def _limits(extras: Sequence[Any]) -> Range | None:
    """The range among what an annotation adds to a type; options of models have the ecosystem's own kind."""
    for extra in extras:
        if isinstance(extra, Range):
            return extra
        if isinstance(extra, Interval):
            low, high = (
                one if other is None else other for one, other in ((extra.gt, extra.ge), (extra.lt, extra.le))
            )
            return Range(low, high)  # type: ignore[arg-type]
    return None


def fields(job: Callable[..., Any]) -> dict[str, Field]:
    """Parameters of a job, or options of a model, from signature and NumPy docstring, in order."""
    help_texts = {
        name.strip(): " ".join((param.description or "").split())
        for param in parse(job.__doc__ or "").params
        for name in param.arg_name.split(",")
    }
    found = {}
    for name, parameter in inspect.signature(job, eval_str=True).parameters.items():
        kind: Any = parameter.annotation
        extras: Sequence[Any] = ()
        if get_origin(kind) is Annotated:
            kind, *extras = get_args(kind)
        limits = _limits(extras)
        text = next((extra.text for extra in extras if isinstance(extra, Help)), help_texts.get(name, ""))
        found[name] = Field(name, kind, parameter.default, text, limits)
    return found


HEADING = "Parameters\n----------\n"


def documented(job: J) -> J:
    """Add to a job's docstring the parameters whose types have their help, in the order of its signature."""
    text = inspect.cleandoc(job.__doc__ or "")
    if HEADING not in text:
        text = re.sub(r"\n\n(?=(?:Yields|Returns)\n-)", f"\n\n{HEADING}\n\n", text, count=1)
    before, heading, after = text.partition(HEADING)
    own, gap, rest = after.partition("\n\n")
    written = {
        name.strip(): entry
        for entry in re.split(r"\n(?=\S)", own)
        for name in entry.partition(" : ")[0].split(",")
    }
    entries = (written.get(name) or _entry(field) for name, field in fields(job).items())
    job.__doc__ = before + heading + "\n".join(dict.fromkeys(entries)) + gap + rest
    return job


def _entry(field: Field) -> str:
    """A parameter as a NumPy docstring has it."""
    kinds = get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)
    if get_origin(field.type) is Literal:
        names = "{" + ", ".join(f'"{choice}"' for choice in get_args(field.type)) + "}"
    else:
        names = " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)
    optional = ", optional" if NoneType in kinds else ""
    indent = "    "
    text = fill(
        field.help_with_unit, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return f"{field.name} : {names}{optional}\n{text}"

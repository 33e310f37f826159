"""What is trained on whole slides, and how (Tellez et al. 2019, sec. 4.3 to 4.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import product
from typing import Any, Literal

from napari_zoommil.encoders.registry import load_encoder
from napari_zoommil.experiments.pieces import as_json
from napari_zoommil.experiments.zooming.cohort import MadeCohort

Task = Literal["presence", "share"]
"""Whether there is a tumour, as of Camelyon16; and its share of the tissue, a number as of TUPAC16."""

TASKS: tuple[Task, ...] = ("presence", "share")

ORACLE = "supervised"
"""The paper's supervised-tumour."""

METHODS = ("vae", "contrastive", "bigan", ORACLE)
"""Encoders that are trained here, on slides set aside."""

SHIPPED = "nic"
CONTROLS = ("untrained", "mean-rgb")
"""The network of the VAE with random weights, and the mean colour of a patch."""

ENCODERS = (*METHODS, SHIPPED, *CONTROLS)
COLOURS = 3
"""Code of ``mean-rgb``."""

BASE_STRIDE = 128
"""P = S, px at 20x."""

VALID_FROM = 383
"""Least R, patches, of the paper's convolutions without padding."""


@dataclass(frozen=True)
class Code:
    """Compressed slides.

    Attributes
    ----------
    encoder : str
    size : int
        C.
    stride : int
        Distance of patches, and their edge, px at 20x.
    """

    encoder: str
    size: int = 128
    stride: int = BASE_STRIDE

    @property
    def name(self) -> str:
        """``vae/128/128``: encoder, code, stride."""
        return f"{self.encoder}/{self.size}/{self.stride}"


@dataclass(frozen=True)
class Trial:
    """A task on compressed slides.

    Attributes
    ----------
    task : Task
    code : Code
    region : float
        R, edge of a crop as a share of the preset's.
    share : float
        Of the training slides.
    """

    task: Task
    code: Code
    region: float = 1.0
    share: float = 1.0

    @property
    def name(self) -> str:
        """``presence/vae/128/128/100/100``: task, encoder, code, stride, percent of region and slides."""
        return f"{self.task}/{self.code.name}/{round(100 * self.region)}/{round(100 * self.share)}"


@dataclass(frozen=True)
class Encoders:
    """How encoders are trained.

    Attributes
    ----------
    cohort : MadeCohort
        Slides that are set aside for them.
    recipe : str
    input_size : int or None
        Edge of their input, px; the recipe's if None.
    patches : int or None
    steps : dict of str to int
        Most steps of each; the others are the recipe's.
    """

    cohort: MadeCohort
    recipe: Literal["cpu", "paper"] = "paper"
    input_size: int | None = None
    patches: int | None = None
    steps: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Extent:
    """A preset.

    Attributes
    ----------
    cohort : MadeCohort
    encoders : Encoders
    trials : tuple of Trial
    region : int
        R of the trials with all of it, patches at the stride of 128 px.
    recipes : dict of str to str
        Of ``nic``, by task.
    options : dict
        Of ``nic``, beside the recipe's.
    settings : dict
        That differ from the recipe's, such as epochs.
    views : int
        Of each slide, encoded.
    min_tissue : float
    macro : float
        Least share of the tissue of a large tumour; the paper's are larger than 2 mm.
    folds : int
    seeds : tuple of int
        Of the CNN; encoders have one.
    tuned, explained : int
        Slides on which the denoising of maps is tuned, and that are explained.
    """

    cohort: MadeCohort
    encoders: Encoders
    trials: tuple[Trial, ...]
    region: int
    recipes: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    views: int = 8
    min_tissue: float = 0.6
    macro: float = 0.02
    folds: int = 4
    seeds: tuple[int, ...] = (0, 1)
    tuned: int = 40
    explained: int = 400

    def pieces(self) -> dict[str, tuple[Trial, int]]:
        """Trial and seed by name, ordered by seed."""
        return {f"{one.name}/{seed}": (one, seed) for seed, one in product(self.seeds, self.trials)}

    def described(self, trial: Trial) -> dict[str, Any]:
        """Everything that determines a training except its seed, as JSON."""
        steps = {trial.code.encoder: self.encoders.steps.get(trial.code.encoder)}
        own = as_json(replace(self, encoders=replace(self.encoders, steps=steps)), ("trials", "seeds"))
        return own | {"trial": asdict(trial), "weights": weights_of(trial.code)}

    def options_of(self, trial: Trial) -> dict[str, Any]:
        """Of ``nic``; crops that are too small for convolutions without padding are padded."""
        edge = self.edge(trial)
        padding = {"padding": "same"} if edge < VALID_FROM else {}
        return {**padding, **self.options, "views": self.views, "region": edge}

    def edge(self, trial: Trial) -> int:
        """R of a trial, patches."""
        return max(1, round(self.region * trial.region * BASE_STRIDE / trial.code.stride))


def is_made(code: Code) -> bool:
    """Whether the experiment makes the encoder."""
    return code.encoder in (*METHODS, "untrained")


def weights_of(code: Code) -> str | None:
    """Hash of an encoder of the registry; None of one that is made here, which its settings determine."""
    return None if is_made(code) else _hash_of(code.encoder)


@cache
def _hash_of(encoder: str) -> str:
    return load_encoder(encoder).hash


def default_code(encoder: str) -> Code:
    """Of Tables 2 and 3."""
    return Code(encoder, COLOURS if encoder == "mean-rgb" else 128)


def _trials(
    codes: tuple[int, ...], strides: tuple[int, ...], regions: tuple[float, ...], shares: tuple[float, ...]
) -> Iterator[Trial]:
    """All encoders for both tasks (Tables 2 and 3), then one parameter varied (Fig. 9; region)."""
    yield from (Trial(task, default_code(encoder)) for task, encoder in product(TASKS, ENCODERS))
    base = Trial("presence", default_code(ORACLE))
    yield from (replace(base, code=Code(ORACLE, size)) for size in codes)
    yield from (replace(base, code=Code(ORACLE, stride=stride)) for stride in strides)
    yield from (replace(base, region=region) for region in regions)
    yield from (replace(base, share=share) for share in shares)


EXTENTS = {
    "cpu": Extent(
        MadeCohort(102, 8_192, 0.03, 0.3, 70_000),
        Encoders(
            MadeCohort(24, 8_192, 0.03, 0.3, 80_000), "cpu", 64, 3_000,
            {"vae": 500, "contrastive": 500, "bigan": 1_000, ORACLE: 300},
        ),
        tuple(_trials((16, 32), (256,), (0.5,), (0.25, 0.5))),
        region=32,
        recipes=dict.fromkeys(TASKS, "small"),
        settings={"epochs": 50},
        views=1,
        min_tissue=0.1,
        macro=0.1,
        tuned=12,
        explained=24,
    ),
    "paper": Extent(
        MadeCohort(340, 98_304, 0.002, 0.1, 70_000),
        Encoders(MadeCohort(60, 98_304, 0.002, 0.1, 80_000)),
        tuple(_trials((16, 32, 64), (64, 256), (0.5,), (0.25, 0.5, 0.75))),
        region=400,
        recipes={"presence": "camelyon16", "share": "tupac16"},
    ),
}  # fmt: skip
"""``cpu``: slides of 8,192 px at 40x, 32 × 32 patches, CNN with same padding. ``paper``: P = S = 128,
C = 128, R = 400, T = 10 crops × 8 views, the paper's recipes; numbers of slides of Camelyon16, 49,152 px
at 20x. Its CNN has no padding, but of trials with R = 200, which is too small for that. Values of codes,
strides, regions and shares are not in the paper's text and were chosen here."""

"""Settings of the experiment ``sparse-labels``: models, losses, shares of labels, seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

from napari_zoommil.cells.model import NETWORKS
from napari_zoommil.errors import JobError
from napari_zoommil.training.cells.module import CellRecipe
from napari_zoommil.training.cells.presets import CONSTANT, PAPER


@dataclass(frozen=True)
class Setting:
    """A loss with its options.

    Attributes
    ----------
    loss : str
    options : dict
        Options of the loss.
    background : float
        λ_background, the weight of boxes without an assigned cell; 10 in the supplement.
    models : tuple of str
        Models that can be trained with it.
    """

    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    background: float = PAPER.background
    models: tuple[str, ...] = tuple(NETWORKS)


SETTINGS = {
    "ce": Setting("ce"),
    "weighted-ce": Setting("weighted-ce"),
    "focal": Setting("focal"),
    "ece": Setting("ece"),
    "ece-margin": Setting("ece-margin"),
    "ece-constant": Setting("ece", CONSTANT),
    "ece-margin-constant": Setting("ece-margin", CONSTANT),
    "ece-background": Setting("ece", background=20.0, models=("yollo",)),
    "elr-cifar10": Setting("elr-cifar10", models=("unet",)),
    "elr-cifar100": Setting("elr-cifar100", models=("unet",)),
    "elr-asymmetric": Setting("elr-asymmetric", models=("unet",)),
}
"""``-constant``: threshold and sampling are 0.5 from the first step. ``ece-background``: the larger weight of
no-object boxes in the supplement's Table 4, whose value is not published; here twice the usual one."""


@dataclass(frozen=True)
class Trial:
    """One training of the experiment."""

    model: str
    setting: str
    percent: int
    seed: int

    def __str__(self) -> str:
        return f"{self.model}/{self.setting}/{self.percent}/{self.seed}"

    @property
    def file(self) -> str:
        return str(self).replace("/", "_") + ".json"


@dataclass(frozen=True)
class Preset:
    """An extent of the experiment.

    Attributes
    ----------
    networks : dict of str to dict
        Arguments of each model.
    recipes : dict of str to CellRecipe
        Recipe of each model, without loss and seed.
    settings : tuple of str
    percents, seeds : tuple of int
    """

    networks: dict[str, dict[str, Any]]
    recipes: dict[str, CellRecipe]
    settings: tuple[str, ...]
    percents: tuple[int, ...]
    seeds: tuple[int, ...]

    def trials(self) -> Iterator[Trial]:
        """All trials, ordered by seed, so that an interrupted run has complete first seeds."""
        for seed, percent, model, setting in product(self.seeds, self.percents, self.networks, self.settings):
            if model in SETTINGS[setting].models:
                yield Trial(model, setting, percent, seed)

    def recipe(self, trial: Trial) -> CellRecipe:
        """The recipe of a trial."""
        setting = SETTINGS[trial.setting]
        return replace(
            self.recipes[trial.model],
            loss=setting.loss,
            options=setting.options,
            background=setting.background,
            seed=trial.seed,
        )

    def described(self, trial: Trial) -> dict[str, Any]:
        """Everything that determines the result of a trial except the data, as JSON."""
        options = {name: repr(value) for name, value in SETTINGS[trial.setting].options.items()}
        return {
            "network": self.networks[trial.model],
            "recipe": asdict(replace(self.recipe(trial), options=None)) | {"options": options},
        }


_SHORT = CellRecipe(epochs=20, accumulate=1, learning_rate=1e-3, crop=128)

PRESETS = {
    "paper": Preset(
        networks={"unet": {"padding": "same", "norm": "batch"}, "yollo": {}},
        recipes={"unet": replace(PAPER, crop=512), "yollo": replace(PAPER, crop=512)},
        settings=tuple(name for name in SETTINGS if not name.endswith("-constant")),
        percents=tuple(range(10, 101, 10)),
        seeds=(0, 1, 2),
    ),
    "cpu": Preset(
        networks={"unet": {"width": 16, "padding": "same", "norm": "batch"}, "yollo": {"width": 16}},
        recipes={
            "unet": replace(_SHORT, draws=80, batch_size=4),
            "yollo": replace(_SHORT, draws=192, batch_size=8),
        },
        settings=("ce", "weighted-ce", "ece", "ece-margin", "ece-constant", "ece-margin-constant"),
        percents=(30, 100),
        seeds=(0, 1, 2),
    ),
}
"""``paper``: the published widths; the U-Net has padding, because without it a crop of 512 px does not fit.
Both have batch normalisation: without it, ECE with full annealing ends with everything foreground.
``cpu``: 155 minutes on one core, less than 90 on two."""


def select(preset: Preset, only: Sequence[str]) -> list[Trial]:
    """All trials of a preset, or those that match patterns.

    Parameters
    ----------
    preset : Preset
    only : sequence of str
        Patterns such as ``unet/ece/30/0``, ``unet/*/30``, ``yollo/ce,ece-constant``: model, setting, percent
        and seed, each as one value, several separated by commas, or * for all values of the preset. Missing
        parts at the end are *. Settings, percents and seeds need not be in the preset.

    Raises
    ------
    JobError
        If a pattern matches no trial.
    """
    if not only:
        return list(preset.trials())
    return list(dict.fromkeys(trial for pattern in only for trial in _matching(preset, pattern)))


def _matching(preset: Preset, pattern: str) -> Iterator[Trial]:
    parts = pattern.strip("/").split("/")
    if len(parts) > 4:
        raise JobError(
            f"{pattern!r} is no trial; write it as model/setting/percent/seed, such as unet/ece/30/0"
        )
    models, settings, percents, seeds = [*parts, *["*"] * (4 - len(parts))]
    found = [
        Trial(model, setting, int(percent), int(seed))
        for seed, percent, model, setting in product(
            _values(seeds, map(str, preset.seeds), None),
            _values(percents, map(str, preset.percents), [str(n) for n in range(1, 101)]),
            _values(models, preset.networks, list(preset.networks)),
            _values(settings, preset.settings, list(SETTINGS)),
        )
        if model in SETTINGS[setting].models
    ]
    if not found:
        raise JobError(f"{pattern!r} names no trial: this loss is not for this model")
    return iter(found)


def _values(part: str, usual: Any, known: list[str] | None) -> list[str]:
    if part in ("*", ""):
        return list(usual)
    values = part.split(",")
    for value in values:
        if value not in known if known is not None else not value.isdecimal():
            choice = "a number" if known is None else "a percentage" if "100" in known else ", ".join(known)
            raise JobError(f"{value!r} is not possible here; choose {choice}")
    return values

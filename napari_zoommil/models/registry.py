"""The registry of MIL models: an entry holds all that other modules must know of a model. No torch.

The entries of this package are in ``napari_zoommil/models/entries*.py``. Another package registers a model
by the entry point group ``napari_zoommil.models``::

    [project.entry-points."napari_zoommil.models"]
    mymil = "mypackage.mymodule:ENTRY"
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from napari_zoommil.errors import ModelError, first_line
from napari_zoommil.geometry import NATIVE, magnification_name
from napari_zoommil.slides.tissue_published import DEFAULT

if TYPE_CHECKING:
    from napari_zoommil.models.mil import MILModel

GROUP = "napari_zoommil.models"

OWN = {
    "zoommil": "napari_zoommil.models.entries:ZOOMMIL",
    "abmil": "napari_zoommil.models.entries_bag:ABMIL",
    "clam_sb": "napari_zoommil.models.entries_bag:CLAM_SB",
    "clam_mb": "napari_zoommil.models.entries_bag:CLAM_MB",
    "dsmil": "napari_zoommil.models.entries_bag:DSMIL",
    "maxmil": "napari_zoommil.models.entries_bag:MAXMIL",
    "meanmil": "napari_zoommil.models.entries_bag:MEANMIL",
    "transmil": "napari_zoommil.models.entries_network:TRANSMIL",
    "msmil": "napari_zoommil.models.entries_network:MSMIL",
    "sparseconvmil": "napari_zoommil.models.entries_network:SPARSECONVMIL",
    "sparseconvmil_pixels": "napari_zoommil.models.entries_network:SPARSECONVMIL_PIXELS",
    "bagnet": "napari_zoommil.models.entries_image:BAGNET",
    "nic": "napari_zoommil.models.entries_nic:NIC",
}
"""Models of this package, in the syntax of entry points."""

COMPOSED = {"ensemble": "napari_zoommil.models.entries:ENSEMBLE"}
"""Models that are made of trained models; :func:`names` leaves them out, since they are not trained."""


DEFAULT_RECIPE = "default"
"""The recipe that counts where none is asked for."""

OF_IMAGES = ("rotate_flip", "brightness", "contrast")
"""Settings of a recipe that models have which read images."""

Share = Annotated[float, Interval(ge=0, le=1)]

Takes = Literal["bag", "pixels", "image"]


@dataclass(frozen=True)
class Recipe:
    """Settings of a training; the defaults are those of ZoomMIL (Thandiackal et al. 2022, sec. 4.2).

    Attributes
    ----------
    optimizer : str
        Name in timm: ``adam``, ``adamw``, ``rmsprop``, ``lookahead_radam``, …
    learning_rate, weight_decay : float
    optimizer_options : dict
        Further arguments of the optimiser, such as ``{"betas": (0.5, 0.9)}``.
    schedule : {"plateau", "cosine", "steps", "constant"}
        ``plateau`` multiplies the learning rate by ``decay`` after ``patience`` epochs without a better
        ``monitor``; ``cosine`` lowers it to ``least_rate`` over all epochs; ``steps`` multiplies it by
        ``decay`` at each of ``milestones``.
    decay : float
    milestones : tuple of float
        Shares of the epochs, 0 to 1.
    patience : int
    least_rate : float
    epochs : int
    least_epochs : int
        Epochs before which training is not stopped early.
    stop_after : int, optional
        Epochs without a better ``monitor`` after which training stops; None for no early stopping.
    monitor : str
        Metric that selects the best epoch: ``val_loss``, ``val_f1``, ``val_bag_loss``, …
    weighted : bool
        Sample slides so that classes are equally frequent.
    batch : int
        Slides that a model passes together, over which it can normalise.
    accumulate : int
        Batches per optimiser step (gradient accumulation).
    part_rates : dict of str to float
        Learning rates of parts of the model, by the name of the submodule, where they are not
        ``learning_rate``.
    loss_weights : dict of str to float
        Weights of the model's losses in their sum, by name; 1 by default.
    rotate_flip : bool
        In each epoch, turn each image by a random number of quarter turns, and mirror it half of the time.
        Of models that read images only, as the next two; their paper has none of the three.
    brightness, contrast : float
        Largest relative change of an image's brightness, and of its contrast around its mean, at random.
    shares : (float, float, float)
        Of the groups that train, validate and test, where the cohort does not state splits.
    fold_parts : int
        Of the groups that a fold leaves, one of this number of parts validates.
    tissue_detector : str
        See :mod:`napari_zoommil.slides.tissue_published`.
    min_tissue : float
        Least tissue share of a patch at the lowest magnification.
    magnifications : tuple of float
        Default magnifications; see :meth:`Entry.magnifications`.
    options : dict
        Options of the model that go with the recipe.
    """

    optimizer: str = "adam"
    learning_rate: Annotated[float, Interval(gt=0, le=10)] = 1e-4
    weight_decay: Annotated[float, Interval(ge=0, le=1)] = 0.0
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Literal["plateau", "cosine", "steps", "constant"] = "plateau"
    decay: Annotated[float, Interval(gt=0, le=1)] = 0.8
    milestones: tuple[Share, ...] = ()
    patience: Annotated[int, Interval(ge=0, le=10_000)] = 5
    least_rate: Annotated[float, Interval(ge=0, le=10)] = 0.0
    epochs: Annotated[int, Interval(ge=1, le=10_000)] = 100
    least_epochs: Annotated[int, Interval(ge=1, le=10_000)] = 1
    stop_after: Annotated[int | None, Interval(ge=1, le=10_000)] = None
    monitor: str = "val_loss"
    weighted: bool = True
    batch: Annotated[int, Interval(ge=1, le=4096)] = 1
    accumulate: Annotated[int, Interval(ge=1, le=4096)] = 1
    part_rates: Mapping[str, float] = field(default_factory=dict)
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    rotate_flip: bool = False
    brightness: Share = 0.0
    contrast: Share = 0.0
    shares: tuple[Share, Share, Share] = (0.7, 0.15, 0.15)
    fold_parts: Annotated[int, Interval(ge=2, le=20)] = 7
    tissue_detector: str = DEFAULT
    min_tissue: Share = 0.1
    magnifications: tuple[float, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def augmentation(self) -> dict[str, Any]:
        """Settings that change images, those that are on."""
        return {name: value for name in OF_IMAGES if (value := getattr(self, name))}

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether a lower or a higher ``monitor`` is better."""
        return "min" if self.monitor.endswith(("loss", "mae")) else "max"


@dataclass(frozen=True)
class Entry:
    """All that other modules must know of a model.

    Attributes
    ----------
    target : str
        Its class, ``package.module:Class``; imported when a model is built. Its arguments are
        ``(in_features, classes, magnifications, options)``.
    config : type
        Frozen dataclass of its options, used by ``config.json``, ``--set`` and docks.
    takes : {"bag", "pixels", "image"}
        Input: features of an encoder; pixels of patches; or an image, of a whole slide or of a region, for
        which there are neither patches nor tissue.
    scales : {"one", "several", "nested"}
        One magnification; one or more; or two or more through which it zooms.
    recipes : dict of str to Recipe
        Recipes by name, with ``default``.
    citation : str
    """

    target: str
    config: type
    takes: Takes = "bag"
    scales: Literal["one", "several", "nested"] = "one"
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: {"default": Recipe()})
    citation: str = ""

    def recipe(self, name: str = "default") -> Recipe:
        """A recipe by name.

        Raises
        ------
        ModelError
            If there is no such recipe.
        """
        if not self.recipes:
            raise ModelError("it is made of trained models, and not trained itself; choose one of these")
        if name not in self.recipes:
            raise ModelError(f"there is no recipe {name!r}; choose one of {', '.join(self.recipes)}")
        return self.recipes[name]

    def magnifications(self, recipe: Recipe | None = None) -> tuple[float, ...]:
        """Default magnifications: those of the recipe, else 20x, or 5x, 10x and 20x."""
        own = (recipe or self.recipe()).magnifications
        return own or ((20.0,) if self.scales == "one" else (5.0, 10.0, 20.0))

    def options(self, given: Mapping[str, Any]) -> Any:
        """The options, validated and converted; numbers may be given as text such as ``"12"``.

        Raises
        ------
        ModelError
            If there is no such option, or a value does not fit.
        """
        from pydantic import TypeAdapter, ValidationError

        known = [one.name for one in fields(self.config)]
        for name in given:
            if name not in known:
                raise ModelError(f"there is no option {name!r}; there are {', '.join(known) or 'none'}")
        try:
            return TypeAdapter(self.config).validate_python(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # options that do not fit together
                raise ModelError(first["msg"].removeprefix("Value error, ")) from error
            name = str(first["loc"][0])
            raise ModelError(f"{name} = {given.get(name)!r}: {first['msg']}") from error

    def variants(self, given: Mapping[str, Any]) -> int:
        """Rotations and flips of each patch whose features a model with these options is trained on.

        Raises
        ------
        ModelError
            If an option is wrong.
        """
        return int(getattr(self.options(given), "variants", 1))

    def check_scales(self, magnifications: Sequence[float]) -> None:
        """Check the number of magnifications, and that only images are read in their own pixels.

        Raises
        ------
        ModelError
        """
        count, given = len(magnifications), ", ".join(map(magnification_name, magnifications))
        if self.scales == "one" and count != 1:
            raise ModelError(f"it uses one magnification, not {given or 'none'}; choose one")
        # Members of an ensemble, which has no recipes, are checked themselves.
        if NATIVE in magnifications and self.takes != "image" and self.recipes:
            raise ModelError("it reads patches, which need a magnification above 0")
        if self.scales == "nested" and count < 2:
            raise ModelError(f"it zooms: it needs two magnifications or more, not {given or 'none'}")


def _sources() -> dict[str, EntryPoint]:
    """The entry points, those of this package first; other packages cannot reuse their names."""
    own = {name: EntryPoint(name, value, GROUP) for name, value in OWN.items()}
    reserved = OWN | COMPOSED
    return own | {point.name: point for point in entry_points(group=GROUP) if point.name not in reserved}


def entry(name: str) -> Entry:
    """The entry of a model.

    Raises
    ------
    ModelError
        If there is no such model, or the entry of another package cannot be used.
    """
    own = OWN | COMPOSED
    found = EntryPoint(name, own[name], GROUP) if name in own else _sources().get(name)
    if found is None:
        raise ModelError(f"there is no model {name!r}; choose one of {', '.join(names())}")
    try:
        loaded = found.load()
    except Exception as error:  # code of another package may raise anything
        raise ModelError(f"{_title(found)} cannot be used ({_said(error)})") from error
    if not isinstance(loaded, Entry):
        raise ModelError(f"{_title(found)} cannot be used ({found.value} is not an Entry)")
    return loaded


def _title(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "napari-zoommil"
    return f"the model {point.name!r} of the package {package}"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def entries() -> dict[str, Entry]:
    """All models by name. Unusable entries of other packages are left out, with a warning."""
    found = {}
    for name in _sources():
        try:
            found[name] = entry(name)
        except ModelError as error:
            warnings.warn(str(error), stacklevel=2)
    return found


def names() -> tuple[str, ...]:
    """Names of the models that :func:`create` builds."""
    return tuple(entries())


def create(
    name: str,
    in_features: int = 1024,
    classes: int = 2,
    magnifications: Sequence[float] | None = None,
    **options: Any,
) -> MILModel:
    """Build an untrained model.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    in_features : int
        Width of the encoder's features.
    classes : int
        Number of outputs: the number of classes, or 1 for a regression.
    magnifications : sequence of float, optional
        The model's own by default.
    **options
        Options of the model; see its :attr:`Entry.config`.

    Raises
    ------
    ModelError
        If there is no such model, or an argument is wrong.
    """
    found = entry(name)
    chosen = tuple(float(one) for one in magnifications or found.magnifications())
    try:
        found.check_scales(chosen)
        model = _class(found)(in_features, classes, chosen, found.options(options))
    except (ModelError, TypeError) as error:
        raise ModelError(f"{name} cannot be built: {error}") from error
    model.name = name
    return model


def _class(found: Entry) -> Any:
    module, _, attribute = found.target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"{found.target} cannot be imported ({_said(error)})") from error

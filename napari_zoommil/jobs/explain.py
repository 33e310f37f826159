"""``explain``: a prediction with the maps of one method."""

from __future__ import annotations

from contextlib import ExitStack, closing
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.loading import loaded
from napari_zoommil.jobs.model_on_slide import ModelOnSlide, open_model_on_slide
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Features,
    Help,
    Icc,
    ImageMagnification,
    Inside,
    KnownTissue,
    MinTissue,
    ModelName,
    Mpp,
    Overlap,
    SlideSource,
    Store,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.focus import PLAIN, WHOLE, Focus, MethodOptions
from napari_zoommil.maps.methods import METHODS, Method, MethodName

if TYPE_CHECKING:
    from napari_zoommil.maps.recorded import Found, RecordedPass
    from napari_zoommil.models.mil import MILOutput

Choice = Annotated[MethodName, Help(" ".join(f"{name}: {method.help}" for name, method in METHODS.items()))]


@documented
def explain(
    slide: SlideSource,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    features: Features = (),
    method: Choice = "grad-cam",
    target: str | None = None,
    focus: Focus = WHOLE,
    method_options: MethodOptions = PLAIN,
    prediction: Prediction | None = None,
    mpp: Mpp = None,
    icc: Icc = False,
    regions: Inside = (),
    tissue: KnownTissue = None,
    min_tissue: MinTissue = None,
    overlap: Overlap = 0.0,
    magnification: ImageMagnification = None,
    store: Store = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Explanation]:
    """Say why a model decided as it did.

    Parameters
    ----------
    target : str, optional
        Output of the model that is explained, such as a class; the predicted one by default. Of attention,
        all heads by default; a class where the model has an attention for each.
    focus : Focus
        What of the prediction is explained; all of it by default.
    method_options : MethodOptions
        Options of the method.
    prediction : Prediction, optional
        One that was made before, of the same slide and model: its patches are read again, and neither tissue
        nor familiarity is looked for anew.

    Returns
    -------
    Explanation

    Raises
    ------
    ModelError
        If the model has no such output, the method has no scores of it or cannot look where it should, or the
        prediction is of another slide or model.
    """
    from napari_zoommil.models.spec import read_spec

    chosen, names = _method(method), read_spec(model).task.names
    if target and target not in names:
        raise ModelError(f"{model} has no class {target!r}; it has {', '.join(names)}")
    if target and not chosen.per_output and (method, target) not in attentions(model):
        raise ModelError(f"{method} does not tell classes apart; choose another method, or no target")
    if focus.at is not None and not chosen.inside:
        able = ", ".join(name for name, one in METHODS.items() if one.inside)
        raise ModelError(f"{method} gives a value to a patch and none to its pixels; choose one of {able}")
    with ExitStack() as stack:
        opened = yield from open_model_on_slide(
            stack,
            slide,
            model,
            encoder=encoder,
            features=features,
            mpp=mpp,
            icc=icc,
            regions=regions,
            tissue=tissue,
            min_tissue=min_tissue,
            overlap=overlap,
            magnification=magnification,
            store=store,
            device=device,
            batch_size=batch_size,
            workers=workers,
            threads=threads,
            grid=None if prediction is None else prediction.grid,
        )
        answered: list[Any] = []
        output = yield from opened.look(answered if chosen.computed else None)
        if prediction is None:
            prediction = opened.prediction(output, (yield from opened.compare()))
        else:
            opened.require_same(prediction, output)
        if target is None and chosen.per_output:
            target = prediction.explained
        found = yield from _maps(opened, chosen, target, focus, method_options, prediction, output, answered)
        return Explanation(method, target, prediction, found.patches, found.maps, focus)


def prepare_to_explain(
    model: str, encoder: str | None = None, device: str = "auto", threads: int | None = None
) -> Job[None]:
    """Load what the first explanation of a prediction would wait for: captum, the model and its encoder.

    Parameters are those of :func:`explain`.

    Raises
    ------
    ZoomMILError
        If the model or its encoder cannot be loaded.
    """
    yield Progress(0, 2, "loading captum")
    import_module("captum.attr")  # and all that it draws with
    yield Progress(1, 2, "loading the model")
    with loaded(model, device, threads, encoder):
        for method in METHODS.values():
            if method.function:
                method.load()
            if method.inside:
                method.load(inside=True)


def _maps(
    opened: ModelOnSlide,
    method: Method,
    target: str | None,
    focus: Focus,
    options: MethodOptions,
    prediction: Prediction,
    output: MILOutput,
    answered: list[Any],
) -> Job[Found]:
    """What a method finds in a pass that was made."""
    from napari_zoommil.maps.recorded import Found

    if method.computed:
        recorded = opened.recorded(output, answered, focus, options)
        found = yield from _computed(method, recorded, focus.at is not None)
    else:
        found = Found((), _maps_in(prediction, method, target, focus))
    if not found.maps:
        raise ModelError(_lack(opened.name, method, prediction))
    return found


def attentions(model: str) -> set[tuple[str, str | None]]:
    """``("attention", class)`` for each class that a model has an attention for."""
    from napari_zoommil.maps.heatmap import kind_of_head
    from napari_zoommil.models.spec import heads_of, read_spec

    spec = read_spec(model)
    return {kind_of_head(head, spec.task.names) for head in heads_of(spec)}


def _method(name: str) -> Method:
    if name not in METHODS:
        raise ModelError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name]


def _computed(method: Method, recorded: RecordedPass, inside: bool) -> Job[Found]:
    with closing(method.load(inside)(recorded)) as run:
        while True:
            try:
                done, total, note = next(run)
            except StopIteration as end:
                return end.value
            yield Progress(done, total, f"{method.title}: {note}")


def _maps_in(prediction: Prediction, method: Method, target: str | None, focus: Focus) -> tuple[HeatMap, ...]:
    """Maps of a method that is part of each prediction; of attention those of all heads, or of a class."""
    own = (one for one in prediction.maps if one.kind == method.name)
    if not method.per_output:
        heads = (one for one in prediction.maps if one.kind not in METHODS or one.kind == method.name)
        own = heads if target is None else (one for one in own if one.target == target)
    seen = (
        one if focus.box is None else one.inside(focus.box) for one in own if focus.takes(one.magnification)
    )
    return tuple(one for one in seen if one is not None)


def _lack(model: str, method: Method, prediction: Prediction) -> str:
    if method.name == "local-evidence":
        return f"{model} does not answer for each place of an image alone, so it has no local evidence"
    if method.per_output and not method.computed:
        summed = any(step.evidence is not None for step in prediction.steps)
        why = (
            "without a patch, more changes than what it adds"
            if summed
            else "its answer is no sum over patches"
        )
        return f"there is no {method.name} of {model}: {why}; take another method"
    if method.computed and prediction.steps:
        return (
            f"{model} has no embeddings of patches of its own, which {method.name} needs; take another method"
        )
    return f"{model} does not score patches one by one, so there is no map of {method.name}"

"""``explain``: a prediction with the maps of one method."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.model_on_slide import open_model_on_slide
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Features,
    Help,
    Icc,
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
from napari_zoommil.maps.methods import METHODS, Method, MethodName

if TYPE_CHECKING:
    from napari_zoommil.maps.recorded import Found, RecordedPass

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
    mpp: Mpp = None,
    icc: Icc = False,
    regions: Inside = (),
    tissue: KnownTissue = None,
    min_tissue: MinTissue = None,
    overlap: Overlap = 0.0,
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

    Returns
    -------
    Explanation

    Raises
    ------
    ModelError
        If the model has no such output, or the method has no scores of it.
    """
    from napari_zoommil.models.spec import read_spec

    chosen, names = _method(method), read_spec(model).task.names
    if target and target not in names:
        raise ModelError(f"{model} has no class {target!r}; it has {', '.join(names)}")
    if target and not chosen.per_output and (method, target) not in _attentions(model):
        raise ModelError(f"{method} does not tell classes apart; choose another method, or no target")
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
            store=store,
            device=device,
            batch_size=batch_size,
            workers=workers,
            threads=threads,
        )
        answered: list[Any] = []
        output = yield from opened.look(answered if chosen.computed else None)
        prediction, found = opened.prediction(output, (yield from opened.compare())), None
        if chosen.computed:
            found = yield from _computed(chosen, opened.recorded(output, answered))
        maps = found.maps if found else _maps_in(prediction, chosen)
        if target and not chosen.per_output:
            maps = tuple(one for one in maps if (one.kind, one.target) == (method, target))
        if not maps:
            raise ModelError(_lack(model, chosen, prediction))
        wanted = (target or prediction.explained) if chosen.per_output else target
        return Explanation(method, wanted, prediction, found.patches if found else (), maps)


def _attentions(model: str) -> set[tuple[str, str | None]]:
    """``("attention", class)`` for each class that a model has an attention for."""
    from napari_zoommil.maps.heatmap import kind_of_head
    from napari_zoommil.models.spec import heads_of, read_spec

    spec = read_spec(model)
    return {kind_of_head(head, spec.task.names) for head in heads_of(spec)}


def _method(name: str) -> Method:
    if name not in METHODS:
        raise ModelError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name]


def _computed(method: Method, recorded: RecordedPass) -> Job[Found]:
    with closing(method.load()(recorded)) as run:
        while True:
            try:
                done, total, note = next(run)
            except StopIteration as end:
                return end.value
            yield Progress(done, total, f"{method.title}: {note}")


def _maps_in(prediction: Prediction, method: Method) -> tuple[HeatMap, ...]:
    """Maps of a method whose values are part of each prediction; attention is that of all heads."""
    if method.per_output:
        return tuple(one for one in prediction.maps if one.kind == method.name)
    return tuple(one for one in prediction.maps if one.kind not in METHODS or one.kind == method.name)


def _lack(model: str, method: Method, prediction: Prediction) -> str:
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

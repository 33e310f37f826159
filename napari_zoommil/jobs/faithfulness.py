"""``faithfulness``: does the output follow the map of a method, when patches are taken away in its order?"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Annotated, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.model_on_slide import open_model_on_slide
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Features,
    Icc,
    Mpp,
    Range,
    SlideSource,
    Store,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.maps.curves import DRAWS, Curves
from napari_zoommil.maps.focus import Focus
from napari_zoommil.maps.methods import METHODS


def require_patches(focus: Focus) -> None:
    """Refuse what has no patches to take away.

    Raises
    ------
    ModelError
        If it is the inside of a patch.
    """
    if focus.at is not None:
        raise ModelError("the inside of a patch has no patches to take away; explain the slide, or a window")


@documented
def faithfulness(
    slide: SlideSource,
    explanation: Explanation,
    *,
    steps: Annotated[int, Range(2, 100)] = 10,
    draws: Annotated[int, Range(1, 100)] = DRAWS,
    encoder: EncoderOfModel = None,
    features: Features = (),
    mpp: Mpp = None,
    icc: Icc = False,
    store: Store = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Curves]:
    """Deletion and insertion curves of a method on a slide, beside random orders.

    The output is the one that is explained, or the predicted one. Of several magnifications, the order is
    that of the lowest one: each of its patches goes with all inside it. Patches of which the map says nothing
    are never taken away.

    Parameters
    ----------
    explanation : Explanation
        Of this slide; not of the inside of a patch. Its model is run again.
    steps : int
        Points of a curve.
    draws : int
        Random orders beside it.

    Returns
    -------
    Curves

    Raises
    ------
    ModelError
        If the explanation is of another slide or of the inside of a patch, or the model has changed.
    """
    require_patches(explanation.focus)
    prediction, followed = explanation.prediction, explanation.explained
    shown = min(explanation.shown, key=lambda one: one.magnification)
    with ExitStack() as stack:
        opened = yield from open_model_on_slide(
            stack,
            slide,
            prediction.model,
            encoder=encoder,
            features=features,
            mpp=mpp,
            icc=icc,
            store=store,
            device=device,
            batch_size=batch_size,
            workers=workers,
            threads=threads,
            grid=prediction.grid,
        )
        answered: list[Any] = []
        output = yield from opened.look(answered)
        opened.require_same(prediction, output)
        from napari_zoommil.maps.faithfulness import curves

        recorded = opened.recorded(output, answered)
        index, title = prediction.task.names.index(followed), METHODS[explanation.method].title
        with closing(curves(recorded, shown, index, steps, draws)) as run:
            while True:
                try:
                    done, total, note = next(run)
                except StopIteration as end:
                    return end.value
                yield Progress(done, total, f"Faithfulness of {title}: {note}")

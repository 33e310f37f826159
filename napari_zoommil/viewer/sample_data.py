"""File › Open Sample › ZoomMIL."""

from __future__ import annotations

from typing import Any

from napari.utils import cancelable_progress

from napari_zoommil.slides import samples
from napari_zoommil.viewer.slide_layer import open_slide_layer

LayerData = tuple[Any, dict[str, Any], str]


def synthetic() -> list[LayerData]:
    """The synthetic slide; writing it the first time shows progress."""
    bar: list[Any] = []

    def show(done: int, total: int) -> None:
        if not bar:
            bar.append(cancelable_progress(total=total, desc="Writing the sample slide"))
        bar[0].update(done - bar[0].n)
        if bar[0].is_canceled:
            raise KeyboardInterrupt

    try:
        return [open_slide_layer(samples.synthetic_slide(progress=show))]
    except KeyboardInterrupt:
        return []
    finally:
        if bar:
            bar[0].close()


def cmu_1() -> list[LayerData]:
    """A real Aperio slide, downloaded on the first call."""
    return [open_slide_layer(samples.cmu_1())]

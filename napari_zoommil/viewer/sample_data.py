"""File › Open Sample › ZoomMIL."""

from __future__ import annotations

from typing import Any

from napari.utils import cancelable_progress

from napari_zoommil.errors import JobError
from napari_zoommil.slides import samples
from napari_zoommil.viewer.reader import read

STEP_BYTES = 1 << 20

LayerData = tuple[Any, dict[str, Any], str]


def synthetic() -> list[LayerData]:
    """The synthetic slide, written on the first call with a progress bar."""
    bar: list[Any] = []

    def show(done: int, total: int) -> None:
        if not bar:
            bar.append(cancelable_progress(total=total, desc="Writing the sample slide"))
        bar[0].update(done - bar[0].n)
        if bar[0].is_canceled:
            raise JobError("writing the sample slide was cancelled")

    try:
        return read(str(samples.synthetic_slide(progress=show)))
    finally:
        if bar:
            bar[0].close()


class _Download:
    """Progress bar for pooch, shown by napari, with cancellation."""

    total = 0

    def __init__(self) -> None:
        self._bar: Any = None
        self._waiting = 0

    def update(self, count: int) -> None:
        """Called for each kilobyte; the window is updated for each megabyte."""
        self._waiting += count
        if self._waiting < STEP_BYTES:
            return
        if self._bar is None:
            self._bar = cancelable_progress(total=self.total, desc="Downloading CMU-1")
        self._bar.update(min(self._waiting, self.total - self._bar.n))
        self._waiting = 0
        if self._bar.is_canceled:
            raise JobError("the download was cancelled")

    def reset(self) -> None:
        """Called by pooch at the end; does nothing, because the bar is already full."""
        self._waiting = -self.total

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def cmu_1() -> list[LayerData]:
    """A real Aperio slide, downloaded on the first call."""
    return read(str(samples.cmu_1(progress=_Download())))

"""``reproduce``: the papers' experiments by name. No torch at import."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.charts import require_matplotlib
from napari_zoommil.jobs.parameters import MPP_RANGE, DeviceName, documented
from napari_zoommil.jobs.progress import Job

EXPERIMENTS = {"sparse-labels": "napari_zoommil.experiments.sparse_labels.experiment"}
"""Name → module with a job ``experiment``."""


@dataclass(frozen=True)
class Reproduction:
    """A finished experiment.

    Attributes
    ----------
    out : Path
    files : tuple of Path
        Results as JSON, tables and figures.
    results : dict
        Content of the JSON.
    """

    out: Path
    files: tuple[Path, ...]
    results: dict[str, Any]


@documented
def reproduce(
    experiment: str,
    *,
    out: Path,
    preset: Literal["cpu", "paper"] = "cpu",
    data: Path | None = None,
    only: list[str] | None = None,
    mpp: Annotated[float, MPP_RANGE] = 0.25,
    device: DeviceName = "auto",
) -> Job[Reproduction]:
    """Run an experiment; trials with results in the same folder are not repeated.

    Parameters
    ----------
    experiment : str
        sparse-labels.
    out : Path
        Folder for results, table and figures.
    preset : str
        cpu: a part that takes at most 90 minutes on two cores; paper: all published trials.
    data : Path, optional
        Folder of NAME.png and NAME_instances.png, or one of the paper's data sets in its original layout;
        nuclei/monuseg in the folder NAPARI_ZOOMMIL_DATA by default.
    only : list of str, optional
        Trials to run, such as unet/ece/30/0 or yollo/*/30: model, loss, percent of labels, seed.
    mpp : float
        Pixel size of the tiles.

    Returns
    -------
    Reproduction

    Raises
    ------
    JobError
        If there is no such experiment or trial, or matplotlib is not installed.
    CohortError
        If the data cannot be read.
    """
    if experiment not in EXPERIMENTS:
        raise JobError(f"there is no experiment {experiment!r}; choose one of {', '.join(EXPERIMENTS)}")
    require_matplotlib()
    module = import_module(EXPERIMENTS[experiment])
    result: Reproduction = yield from module.experiment(out, preset, data, only or (), mpp, device)
    return result

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
    """An experiment that is done.

    Attributes
    ----------
    out : Path
    files : tuple of Path
        Results as JSON, tables and figures.
    results : dict
        What the JSON holds.
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
    """Run an experiment; what was done before in the same folder is not done again.

    Parameters
    ----------
    experiment : str
        sparse-labels.
    out : Path
        Folder for results, table and figures.
    preset : str
        cpu: a part that takes at most 90 minutes on two cores; paper: the published extent.
    data : Path, optional
        Folder of NAME.png and NAME_instances.png, or one of the paper's data sets as published;
        nuclei/monuseg in the folder NAPARI_ZOOMMIL_DATA otherwise.
    only : list of str, optional
        Parts to do, such as unet/ece/30/0 or yollo/*/30: model, loss, percent of labels, seed.
    mpp : float
        Pixel size of the tiles.

    Returns
    -------
    Reproduction

    Raises
    ------
    JobError
        If there is no such experiment or part, or matplotlib is not installed.
    CohortError
        If the data cannot be read.
    """
    if experiment not in EXPERIMENTS:
        raise JobError(f"there is no experiment {experiment!r}; choose one of {', '.join(EXPERIMENTS)}")
    require_matplotlib()
    module = import_module(EXPERIMENTS[experiment])
    result: Reproduction = yield from module.experiment(out, preset, data, only or (), mpp, device)
    return result

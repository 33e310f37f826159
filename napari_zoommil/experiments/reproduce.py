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

EXPERIMENTS = {
    "sparse-labels": "napari_zoommil.experiments.sparse_labels.experiment",
    "zoom-efficiency": "napari_zoommil.experiments.zoom_efficiency.experiment",
    "zoom-models": "napari_zoommil.experiments.zoom_models.experiment",
    "zoom-ablation": "napari_zoommil.experiments.zoom_ablation.experiment",
    "zoom-k": "napari_zoommil.experiments.zoom_k.experiment",
    "zoom-maps": "napari_zoommil.experiments.zoom_maps.experiment",
    "needle-mnist": "napari_zoommil.experiments.needle_mnist.experiment",
    "needle-localisation": "napari_zoommil.experiments.needle_localisation.experiment",
    "needle-camelyon": "napari_zoommil.experiments.needle_camelyon.experiment",
    "nic-rectangles": "napari_zoommil.experiments.nic_rectangles.experiment",
    "nic-encoders": "napari_zoommil.experiments.nic_encoders.experiment",
    "nic-slides": "napari_zoommil.experiments.nic_slides.experiment",
}
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
    """Run an experiment; pieces with results in the same folder are not repeated.

    Parameters
    ----------
    experiment : str
        sparse-labels (losses on few labels), zoom-efficiency (cost of MIL models), zoom-models (all of them
        on a cohort), zoom-ablation (parts of ZoomMIL), zoom-k (patches zoomed into), zoom-maps (attention),
        needle-mnist (small objects in large images), needle-localisation (saliency on them), needle-camelyon
        (lesions in crops of made slides), nic-rectangles (Neural Image Compression on synthetic images),
        nic-encoders (encoders on nuclei and tiles), nic-slides (a class and a number of whole slides).
    out : Path
        Folder for results, table and figures; those of each experiment but sparse-labels lie in a folder of
        their own, beside the cohort, features and trainings that zoom-* share, or needle-*.
    preset : str
        cpu: a part that takes at most 90 minutes on two cores; paper: all published settings.
    data : Path, optional
        sparse-labels: folder of NAME.png and NAME_instances.png, or one of the paper's data sets in its
        original layout; nuclei/monuseg in the folder NAPARI_ZOOMMIL_DATA by default. zoom-*: folder with
        cohort.csv (slide, label, split) and, for each slide with a known region, its outline as GeoJSON;
        synthetic slides by default. needle-mnist, needle-localisation and nic-rectangles: folder of the
        four files of MNIST; mnist in NAPARI_ZOOMMIL_DATA by default. nic-encoders: folder with
        nuclei/crc_cell_types_27px.npz and tiles/tcga; NAPARI_ZOOMMIL_DATA by default.
    only : list of str, optional
        Pieces to run. sparse-labels: unet/ece/30/0 or yollo/*/30, for model, loss, percent of labels, seed;
        zoom-*: abmil@20x/0 or zoommil*, for model (or variant), seed; zoom-efficiency: BRIGHT/0; needle-*:
        32/17/max/base/0, for canvas, receptive field, pooling, what differs, seed; needle-camelyon:
        128/10-50/9/max/base/0, for crop, percent of lesion and the same; nic-rectangles:
        vae/16/9/100/0, for encoder, code, stride, percent of the training images, seed; nic-encoders: vae/0;
        nic-slides: presence/vae/128/128/100/100/0 or share/bigan, for task, encoder, code, stride, percent of
        the region, of the training slides, seed.
    mpp : float
        Pixel size of the tiles of sparse-labels.

    Returns
    -------
    Reproduction

    Raises
    ------
    JobError
        If there is no such experiment or piece, or matplotlib is not installed.
    CohortError
        If the data cannot be read.
    """
    if experiment not in EXPERIMENTS:
        raise JobError(f"there is no experiment {experiment!r}; choose one of {', '.join(EXPERIMENTS)}")
    require_matplotlib()
    module = import_module(EXPERIMENTS[experiment])
    result: Reproduction = yield from module.experiment(out, preset, data, only or (), mpp, device)
    return result

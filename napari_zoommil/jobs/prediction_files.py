"""A prediction as files: ``prediction.json``, a map per magnification, ``patches.csv`` and
``patches.geojson``; and ``prediction.npz``, from which it is read back as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.errors import JobError
from napari_zoommil.file_sets import finish_replacing, replaced_together
from napari_zoommil.files import make_folder, write_file, write_json
from napari_zoommil.geometry import Box, Pair, magnification_name
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.map_agreement import SlideAgreement
from napari_zoommil.jobs.patch_table import PatchTable, patch_tables, patches_csv
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.result_file import read_result, result_bytes
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.curves import Curves
from napari_zoommil.maps.curves_figure import curves_figure
from napari_zoommil.maps.export import file_name, write_ome_tiff
from napari_zoommil.maps.figure import Overview, figure_of, write_png, write_svg
from napari_zoommil.maps.focus import Focus
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.maps.overlay import Overlay, frames_of
from napari_zoommil.maps.scales import scalings_of
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide

OVERVIEW_PX = 1200
"""Longest edge of the PNGs."""


def overview_of(slide: Slide | AbsentSlide) -> Overview:
    """A small picture of the slide; white, if it is not at hand."""
    factor = max(1.0, max(slide.shape) / OVERVIEW_PX)
    height, width = (max(1, round(edge / factor)) for edge in slide.shape)
    downsample = (slide.shape[0] / height, slide.shape[1] / width)
    if isinstance(slide, AbsentSlide):
        return Overview(np.full((height, width, 3), 255, np.uint8), downsample, slide.mpp)
    pixels = np.asarray(slide.pyramid()[-1])
    from PIL import Image

    small = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))
    return Overview(small, downsample, slide.mpp)


PATCH_PX = 512
"""Edge of the picture of a patch."""


def part_of(slide: Slide | AbsentSlide, box: Box) -> Overview:
    """A picture of a small part of a slide; white, if the slide is not at hand."""
    factor = max(box.height, box.width) / PATCH_PX
    height, width = max(1, round(box.height / factor)), max(1, round(box.width / factor))
    origin = (box.y, box.x)
    if isinstance(slide, AbsentSlide):
        white = np.full((height, width, 3), 255, np.uint8)
        return Overview(white, (factor, factor), slide.mpp, origin)
    downsample = box.height / height, box.width / width
    with slide.reopen() as own:
        pixels = own.read_downsampled(*origin, height, width, downsample)
    return Overview(pixels, downsample, slide.mpp, origin)


def title_lines(prediction: Prediction) -> tuple[str, ...]:
    """The title of a figure: slide; model and what it says; a warning where it does not know such tissue."""
    says = f"{prediction.model}: {prediction.task.sentence(prediction.values)}"
    known = prediction.familiarity
    return (prediction.slide, says, known.sentence) if known.is_unlike else (prediction.slide, says)


def overlay_of(prediction: Prediction, maps: Sequence[HeatMap]) -> Overlay:
    """Maps of one kind as they are shown by default, with what was zoomed into."""
    frames = frames_of(prediction.grid, ((step.level, step.zoomed) for step in prediction.steps))
    unit = prediction.task.output_unit
    return Overlay.of(maps, scalings_of(maps[0].kind)[0], frames=frames, output_unit=unit)


SET = "prediction"
"""Name of the files of a prediction, which are replaced together."""

WHOLE = "prediction.npz"
"""The file that a prediction is read back from."""


def summary(prediction: Prediction) -> dict[str, Any]:
    """What ``prediction.json`` holds; names no file but the slide's own."""
    return {
        "slide": prediction.slide,
        "fingerprint": prediction.fingerprint,
        "model": prediction.model,
        **prediction.task.summary(prediction.values),
        "regions_mm2": prediction.regions_mm2,
        "image": prediction.cost.image,
        "magnifications": [
            {
                "magnification": level.magnification or None,
                "mpp": level.mpp or None,
                "patches": len(level),
                "encoded": encoded,
                "taken_from_cache": taken,
                "zoomed_into": sum(len(step.zoomed) for step in prediction.steps if step.level == index),
            }
            for index, (level, encoded, taken) in enumerate(
                zip(prediction.grid.levels, prediction.cost.encoded, prediction.cost.taken, strict=True)
            )
        ],
        "familiarity": prediction.familiarity.facts,
        "damaged_tiles": prediction.damaged,
        "seconds": round(prediction.cost.seconds, 3),
        "device": prediction.cost.device,
    }


def patches_geojson(tables: Sequence[PatchTable], origin: Pair = (0.0, 0.0)) -> dict[str, Any]:
    """The patches looked at as QuPath reads them: tiles with their scores as measurements.

    ``origin`` is the place, level-0 (y, x), from which QuPath counts coordinates on the slide.
    """
    return {
        "type": "FeatureCollection",
        "features": [one for table in tables for one in _tiles(table, origin)],
    }


def _tiles(table: PatchTable, origin: Pair) -> Iterator[dict[str, Any]]:
    level, (height, width) = table.patches, table.patches.size
    for at, row in enumerate(table.rows):
        y, x = level.origins[row] - origin
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
        measured = {title: float(values[at]) for title, values in table.scores.items()}
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[list(map(float, c)) for c in corners]]},
            "properties": {
                "objectType": "tile",
                "name": magnification_name(level.magnification),
                "measurements": {title: value for title, value in measured.items() if np.isfinite(value)},
            },
        }


def write_patches(
    folder: Path,
    name: str,
    prediction: Prediction,
    slide: Slide | AbsentSlide,
    explanations: Sequence[Explanation] = (),
) -> list[Path]:
    """``NAME.csv`` and ``NAME.geojson`` of the patches looked at, with the scores of explanations."""
    tables = patch_tables(prediction, explanations)
    write_file(folder / f"{name}.csv", patches_csv(tables, slide.mpp))
    write_json(folder / f"{name}.geojson", patches_geojson(tables, slide.origin))
    return [folder / f"{name}.csv", folder / f"{name}.geojson"]


def write_maps(
    slide: Slide | AbsentSlide,
    prediction: Prediction,
    maps: Sequence[HeatMap],
    out: Path,
    part: Box | None = None,
) -> list[Path]:
    """Maps of one kind and output: an OME-TIFF and a PNG for each magnification, a PNG and an SVG of all.

    The pictures show the whole slide, or ``part`` of it.
    """
    if not maps:
        return []
    overview = overview_of(slide) if part is None else part_of(slide, part)
    whole, title = overlay_of(prediction, maps), title_lines(prediction)
    written = []
    for shown in maps:
        tiff, png = (out / f"{file_name(shown.title)}{suffix}" for suffix in (".ome.tiff", ".png"))
        write_ome_tiff(tiff, shown)
        write_png(png, figure_of(overview, whole.only(shown.magnification.__eq__), title))
        written += [tiff, png]
    png, svg = (out / f"{file_name(whole.what)}{suffix}" for suffix in (".png", ".svg"))
    figure = figure_of(overview, whole, title)
    write_png(png, figure)
    write_svg(svg, figure)
    return [*written, png, svg]


def write_prediction(slide: Slide | AbsentSlide, prediction: Prediction, out: Path) -> list[Path]:
    """Everything ``predict`` writes, into a folder of its own per slide.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    written = []
    with replaced_together(out, SET) as part:
        for kind, target in prediction.kinds:
            every = kind not in METHODS or not METHODS[kind].per_output
            if every or target == prediction.explained:
                written += write_maps(slide, prediction, prediction.maps_of(kind, target), part)
        written += write_patches(part, "patches", prediction, slide)
        write_json(part / "prediction.json", summary(prediction))
        write_file(part / WHOLE, result_bytes(prediction))
    return [out / path.name for path in (*written, Path("prediction.json"), Path(WHOLE))]


def write_explanation(slide: Slide | AbsentSlide, explanation: Explanation, out: Path) -> list[Path]:
    """What ``explain`` writes: maps of the output that was asked for, and the scores of patches for all.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    written, at, prediction = [], explanation.focus.at, explanation.prediction
    out, shown = folder_in(out, explanation.focus), None if at is None else explanation.maps[0].box
    with replaced_together(out, _named(explanation.method, explanation.target)) as part:
        for kind, target in dict.fromkeys((one.kind, one.target) for one in explanation.maps):
            written += write_maps(slide, prediction, explanation.maps_of(kind, target), part, shown)
        if at is None:
            written += write_patches(part, f"patches-{explanation.method}", prediction, slide, [explanation])
    return [out / path.name for path in written]


def folder_in(out: Path, focus: Focus) -> Path:
    """The folder of an explanation inside that of the slide, so that no part replaces another, or the whole.

    ``patch-Y-X``, ``window-Y-X-H-W``, ``10x`` or ``window-Y-X-H-W-10x``; that of the slide for all.
    """
    parts: list[str] = []
    for name, place in (("patch", focus.at), ("window", focus.window)):
        parts += [] if place is None else [name, *(f"{one:.0f}" for one in place)]
    if focus.only_magnification is not None:
        parts.append(magnification_name(focus.only_magnification))
    return out / "-".join(parts) if parts else out


def _named(*parts: str | None) -> str:
    return file_name(" ".join(filter(None, parts)))


def write_agreement(agreement: SlideAgreement, explanation: Explanation, out: Path) -> Path:
    """Agreement with regions: ``agreement-METHOD-TARGET.json``.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    path = agreement_file(folder_in(out, explanation.focus), agreement.method, agreement.target)
    make_folder(path.parent)
    write_json(path, {"class": agreement.class_name, "maps": agreement.facts})
    return path


def agreement_file(folder: Path, method: str, target: str | None) -> Path:
    """``agreement-METHOD-TARGET.json`` in a folder."""
    return folder / f"{_named('agreement', method, target)}.json"


def write_curves(curves: Curves, explanation: Explanation, out: Path) -> list[Path]:
    """Deletion and insertion curves: ``faithfulness-METHOD-TARGET.json``, ``.png`` and ``.svg``.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    out, prediction = folder_in(out, explanation.focus), explanation.prediction
    name = _named("faithfulness", curves.method, curves.target)
    method = f"{METHODS[curves.method].title if curves.method in METHODS else curves.method} {curves.target}"
    title = (f"{method} at {magnification_name(curves.magnification)}", *title_lines(prediction)[:2])
    figure = curves_figure(curves, (*title, curves.verdict))
    with replaced_together(out, name) as part:
        write_json(part / f"{name}.json", curves.facts)
        write_png(part / f"{name}.png", figure)
        write_svg(part / f"{name}.svg", figure)
    return [out / f"{name}{suffix}" for suffix in (".json", ".png", ".svg")]


def read_prediction(folder: Path) -> Prediction:
    """A prediction as :func:`write_prediction` wrote it, number for number.

    Raises
    ------
    JobError
        If the folder holds none, or it is damaged.
    """
    path = folder / WHOLE
    finish_replacing(folder, SET)
    if not path.is_file():
        raise JobError(f"{folder} holds no prediction: there is no {WHOLE}; write it with predict")
    found = read_result(path, Prediction)
    if why := _contradiction(found):
        raise JobError(f"{path} is damaged: {why}; write it anew with predict")
    return found


def _contradiction(found: Prediction) -> str:
    """What in a prediction does not fit together; nothing, if it is whole."""
    counts = [len(level) for level in found.grid.levels]
    for level in found.grid.levels:
        if level.origins.shape != (len(level), 2) or not len(level.parent) == len(level.tissue) == len(level):
            return f"its patches at {magnification_name(level.magnification)} are incomplete"
    for step in found.steps:
        if not 0 <= step.level < len(counts):
            return "it has scores of a magnification that it has no patches of"
        for rows in (step.rows, step.zoomed):
            if rows.ndim != 1 or not ((rows >= 0) & (rows < counts[step.level])).all():
                return "it has scores of patches that are not there"
        if step.scores.shape != (len(step.rows), len(step.heads)):
            return "it has patches without a score"
        if step.evidence is not None and step.evidence.shape != (len(found.task.names), len(step.rows)):
            return "its evidence is not that of its patches"
        if not set(step.pooling or ()) <= set(range(len(step.heads))):
            return "its evidence is weighted by scores that are not there"
        shapes = (len(step.pooling or (0,)),), (len(found.task.names),)
        if step.rest is not None and (step.rest[0].shape, step.rest[1].shape) != shapes:
            return "its evidence does not fit that of other magnifications"
    if not len(found.values) == len(found.logits) == len(found.task.names):
        return "its values are not those of its task"
    return ""

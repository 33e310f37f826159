"""``demo``: a sample slide and the shipped model, in a window or as images and a report."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from napari_zoommil.commands.display import require_display
from napari_zoommil.commands.report import drive
from napari_zoommil.errors import DisplayError
from napari_zoommil.files import make_folder, write_file
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import Job, Progress, predict
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_files import overlay_of, overview_of, title_lines, write_prediction
from napari_zoommil.maps.agreement import Agreement, attention_agreement
from napari_zoommil.maps.figure import Overview, figure_of, write_png
from napari_zoommil.slides import Slide
from napari_zoommil.slides.samples import sample, synthetic_slide

FOLDER = Path("zoommil-demo")


def run_demo(headless: Path | None) -> None:
    """Show the demo, or write it if no window can be shown.

    Parameters
    ----------
    headless : Path, optional
        Folder for images and report; without it a window is opened.
    """
    if headless is None:
        try:
            require_display()
        except DisplayError as error:
            headless = FOLDER
            print(f"{error}\nThe demo is written into {headless.absolute()} instead.", file=sys.stderr)
    path = drive(_write_sample(), "sample slide")
    if headless is not None:
        print(f"report: {write_demo(path, headless)}")
        return
    from napari_zoommil.viewer.launch import show_demo

    show_demo(path)


def _write_sample() -> Job[Path]:
    """Write the sample slide, if it does not exist yet."""
    yield Progress(0, 1, "writing a synthetic slide (only once)")
    return synthetic_slide()


def write_demo(path: Path, out: Path) -> Path:
    """Predict the sample; write images after each magnification, maps and a report.

    Returns
    -------
    Path
        The report.
    """
    make_folder(out)
    with Slide.open(path) as slide:
        prediction = drive(predict(slide), path.name)
        write_prediction(slide, prediction, out)
        overview = overview_of(slide)
    outline = sample().outline()
    found = [
        attention_agreement(prediction.grid, step.level, step.rows, step.attention, outline)
        for step in prediction.steps
    ]
    pictures = _moments(overview, prediction, out)
    report = out / "report.html"
    write_file(report, _html(prediction, found, pictures).encode())
    return report


def _moments(overview: Overview, prediction: Prediction, out: Path) -> list[str]:
    """Write a figure of the slide after each magnification, with what was looked at until then."""
    maps = prediction.maps_of("attention")
    names = []
    for number, last in enumerate(maps, 1):
        names.append(f"moment-{number}.png")
        shown = overlay_of(prediction, maps).only(last.magnification.__ge__)
        write_png(out / names[-1], figure_of(overview, shown, title_lines(prediction)))
    return names


def _html(prediction: Prediction, found: list[Agreement], pictures: list[str]) -> str:
    chances = "".join(
        f"<li>{escape(name)}: {value:.3f}</li>"
        for name, value in zip(prediction.class_names, prediction.probabilities, strict=True)
    )
    rows = "".join(
        f"<tr><td>{magnification_name(level.magnification)}</td><td>{len(level):,}</td><td>{read:,}</td>"
        f"<td>{each.inside:.0%}</td><td>{each.expected:.0%}</td></tr>"
        for level, read, each in zip(prediction.grid.levels, prediction.cost.patches, found, strict=True)
    )
    figures = "".join(
        f'<figure><img src="{name}" width="480"><figcaption>after '
        f"{magnification_name(level.magnification)}</figcaption></figure>"
        for name, level in zip(pictures, prediction.grid.levels, strict=True)
    )
    return f"""<!doctype html><meta charset="utf-8"><title>ZoomMIL on a synthetic slide</title>
<style>body {{ font: 15px sans-serif; margin: 2em; }} figure {{ display: inline-block; margin: .5em; }}
td, th {{ padding: .2em 1em; text-align: right; }}</style>
<h1>ZoomMIL on a synthetic slide</h1>
<p>{escape(prediction.slide)}, model {escape(prediction.model)}, {prediction.cost.seconds:.1f} s on
{escape(prediction.cost.device)}. Does the model know such tissue?
{escape(prediction.familiarity.sentence)}.</p><ul>{chances}</ul>
<table><tr><th>magnification</th><th>tissue patches</th><th>read</th><th>attention in the tumour</th>
<th>tumour's share of what was read</th></tr>{rows}</table>
<p>{figures}</p>
"""

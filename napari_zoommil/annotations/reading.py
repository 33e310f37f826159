"""Reading of annotation files: GeoJSON, and XML of ASAP and ImageScope, told apart by their content."""

from __future__ import annotations

from pathlib import Path

from napari_zoommil.annotations.geojson import Content, Steps, drained, opened, read_steps
from napari_zoommil.annotations.geojson_outlines import WHOLE_SLIDE
from napari_zoommil.annotations.xml_files import is_xml, opened_xml
from napari_zoommil.files import read_file
from napari_zoommil.geometry import Pair


def read_content(path: Path, origin: Pair | None) -> Content:
    """The content of an annotation file.

    Parameters
    ----------
    path : Path
    origin : (float, float) or None
        Where on the slide, level-0 (y, x), the coordinates of QuPath begin
        (:attr:`~napari_zoommil.slides.Slide.origin`); those of XML begin at its corner. None if the slide is
        not known: they are then as in the file.

    Raises
    ------
    FileError
        If it cannot be read.
    AnnotationError
        If it is malformed.
    """
    return drained(content_steps(path, origin))


def content_steps(path: Path, origin: Pair | None) -> Steps:
    """The same step by step, for large files."""
    content = read_file(path)
    if is_xml(content):
        return (yield from read_steps(content, path.name, opened_xml, WHOLE_SLIDE))
    return (yield from read_steps(content, path.name, opened, origin))

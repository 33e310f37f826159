"""Reading of annotation files: GeoJSON, and XML of ASAP and ImageScope, told apart by their content."""

from __future__ import annotations

from pathlib import Path

from napari_zoommil.annotations.geojson import Content, Steps, drained, opened, read_steps
from napari_zoommil.annotations.xml_files import is_xml, opened_xml
from napari_zoommil.files import read_file


def read_content(path: Path) -> Content:
    """The content of an annotation file.

    Raises
    ------
    FileError
        If it cannot be read.
    AnnotationError
        If it is malformed.
    """
    return drained(content_steps(path))


def content_steps(path: Path) -> Steps:
    """The same step by step, for large files."""
    content = read_file(path)
    return (yield from read_steps(content, path.name, opened_xml if is_xml(content) else opened))

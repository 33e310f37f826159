from __future__ import annotations

from napari_zoommil.annotations import Points
from napari_zoommil.viewer.sentences import marked, marked_in


def test_what_is_in_a_file_is_counted_as_what_is_in_a_document() -> None:
    points = Points()
    assert marked(points) == marked_in(points.features.values()) == "0 points"
    points.add([[1, 1], [2, 2]], points.add_class("tumour"))
    points.add_complete([[0, 0], [0, 9], [9, 9]])
    points.add_region([[0, 0], [0, 9], [9, 9]])
    told = marked_in(points.features.values())
    assert told == marked(points) == "2 points, 2 regions (1 complete)"

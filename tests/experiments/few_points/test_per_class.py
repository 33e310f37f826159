from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.experiments.few_points.per_class import Known, Line, drawn, panels, read_known


def test_sources_are_dealt_to_two_classes_of_nearly_equal_size(tmp_path: Path) -> None:
    path = tmp_path / "slide.cells.csv"
    rows = [
        f"{n},{n + 1},8,8,{tile}"
        for tile, count in zip("abcd", (9, 7, 5, 3), strict=True)
        for n in range(count)
    ]
    path.write_text("y,x,height,width,tile\n" + "\n".join(rows) + "\n")
    known = read_known(path)
    assert known.centres.shape == (24, 2) and known.centres[1].tolist() == [1, 2]
    assert np.bincount(known.labels).tolist() == [0, 14, 10], "9 + 5 and 7 + 3"


def test_a_draw_has_as_many_points_of_each_class_and_follows_its_seed() -> None:
    rng = np.random.default_rng(0)
    known = Known(rng.random((60, 2)), np.repeat([1, 2], 30))
    first, again, other = (drawn(known, 7, seed) for seed in (0, 0, 1))
    assert np.bincount(first.labels).tolist() == [0, 7, 7]
    np.testing.assert_array_equal(first.coordinates, again.coordinates)
    assert not np.array_equal(first.coordinates, other.coordinates)
    of_first = {tuple(place) for place in known.centres[:30].tolist()}
    assert all(
        (tuple(place) in of_first) == (label == 1)
        for place, label in zip(first.coordinates.tolist(), first.labels, strict=True)
    )


def test_the_figure_has_means_over_draws() -> None:
    def line(points: int, draw: int, f1: float) -> Line:
        return Line("s", points, draw, 0.7, 0.7, 0.8, 0.9, 0.7, 0.6, 0.75, f1, 60.0)

    f1, both = panels([line(5, 0, 0.7), line(5, 1, 0.8), line(15, 0, 0.9)])
    after, before = f1.lines
    assert list(after.x) == [5, 15] and list(after.y) == pytest.approx([0.75, 0.9])
    assert after.spread == pytest.approx([0.05, 0.0]) and list(before.y) == [0.75, 0.75]
    assert [one.name for one in both.lines][:2] == ["recall, fine-tuned", "recall, before"]

"""Bars of means, with the paper's values on them."""

from pathlib import Path
from unittest.mock import patch

from matplotlib.axes import Axes

from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.zooming.bars import write_bars


def test_an_axis_holds_negative_values(tmp_path: Path) -> None:
    with patch("matplotlib.axes.Axes.set", autospec=True) as told:
        write_bars(tmp_path / "bars.svg", {"share": {"vae": Mean(-0.4, 0.1, 2)}}, "%")
    assert told.call_args.kwargs["xlim"][0] < -50


def test_the_papers_values_lie_on_the_bars_of_their_names(tmp_path: Path) -> None:
    panels = {
        "tissue": {"vae": Mean(0.6, 0.1, 2), "pixels": Mean(0.5, 0.1, 2)},
        "tumour": {"pixels": Mean(0.5, 0.1, 2)},
    }
    published = {"tissue": {"pixels": 0.7, "bigan": 0.8}, "tumour": {"vae": 0.9}}
    with patch("matplotlib.axes.Axes.scatter", autospec=True, side_effect=Axes.scatter) as drawn:
        write_bars(tmp_path / "bars.svg", panels, "%", published=published)
    assert drawn.call_count == 1, "no panel without a value on one of its own bars"
    assert drawn.call_args.args[1:] == ([70.0], [1])

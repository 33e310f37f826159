"""Curves of a training as they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_zoommil.jobs.trace import Trace
from napari_zoommil.viewer.docks.curves import Curves, smoothed, with_past

MEASURED = tuple(
    {
        "epoch": float(epoch),
        "train_loss": 1.0 - epoch / 4,
        "exclusive_recall": 0.5 + epoch / 10,
        "predictions_per_mm2": 800.0 + epoch,
    }
    for epoch in range(3)
)


@pytest.fixture
def curves(qtbot) -> Curves:
    widget = Curves()
    qtbot.addWidget(widget)
    return widget


def test_a_smoothed_curve_begins_where_the_values_do() -> None:
    np.testing.assert_allclose(smoothed([3.0, 3.0, 3.0]), 3.0)
    assert smoothed([]).size == 0
    drawn = smoothed([1.0, 0.0, 0.0], 0.5)
    np.testing.assert_allclose(drawn, [1, 1 / 3, 1 / 7])


def test_of_a_training_gone_on_with_the_past_is_told_by_epochs() -> None:
    places, losses = with_past(Trace(4, (2.5, 3.0, 3.5), (0.3, 0.2, 0.1), MEASURED))
    np.testing.assert_allclose(places, [0.5, 1.5, 2.5, 3.0, 3.5])
    np.testing.assert_allclose(losses, [1.0, 0.75, 0.3, 0.2, 0.1])
    places, _ = with_past(Trace(3, (0.5, 1.0), (1.0, 0.9), MEASURED))
    np.testing.assert_allclose(places, [0.5, 1.0])


def test_each_figure_has_its_panel(curves: Curves) -> None:
    curves.show_trace(Trace(4, (0.5, 1.0), (1.0, 0.8), MEASURED))
    x, y = curves.measured["exclusive_recall"].getData()
    np.testing.assert_allclose(x, [1, 2, 3])
    np.testing.assert_allclose(y, [0.5, 0.6, 0.7])
    assert curves.measured["predictions_per_mm2"].getData()[1][-1] == 802
    assert not any(panel.isHidden() for panel in curves.panels)
    assert "F1" not in curves.legend.text() and "annotated&nbsp;cells&nbsp;found" in curves.legend.text()
    low, high = curves.loss.plot.viewRange()[0]
    assert low <= 0 and high >= 4


def test_without_held_out_windows_there_is_the_loss_alone(curves: Curves) -> None:
    curves.show_trace(Trace(4, (0.5, 1.0), (1.0, 0.8), ({"epoch": 0.0, "train_loss": 0.9},)))
    assert [panel.isHidden() for panel in curves.panels] == [False, True, True]
    assert curves.loss.plot.getAxis("bottom").label.isVisible()


def test_of_a_mil_model_the_parts_of_its_loss_are_drawn(curves: Curves) -> None:
    history = tuple(
        {"epoch": float(n), "train_loss": 1.5 - n / 10, "bag_loss": 0.5, "point_loss": 1.0 - n / 10}
        for n in range(3)
    )
    curves.show_trace(Trace(3, (1.0, 2.0, 3.0), (1.5, 1.4, 1.3), history))
    assert [panel.isHidden() for panel in curves.panels] == [False, True, True]
    x, y = curves.measured["point_loss"].getData()
    np.testing.assert_allclose(x, [1, 2, 3])
    np.testing.assert_allclose(y, [1.0, 0.9, 0.8])
    np.testing.assert_allclose(curves.measured["bag_loss"].getData()[1], 0.5)
    assert curves.smooth.getData()[0] is None and "of&nbsp;the&nbsp;points" in curves.legend.text()
    curves.show_trace(Trace(4, (0.5, 1.0), (1.0, 0.8), MEASURED))
    assert len(curves.smooth.getData()[0]) == 2 and curves.measured["point_loss"].getData()[0] is None


def test_the_name_of_the_epochs_is_drawn_whole(curves: Curves) -> None:
    curves.show()
    curves.show_trace(Trace(4, (0.5, 1.0), (1.0, 0.8)))
    QApplication.processEvents()
    label = curves.loss.plot.getAxis("bottom").label
    assert label.mapRectToScene(label.boundingRect()).bottom() <= curves.loss.viewport().height()


@pytest.mark.parametrize(("epochs", "last"), [(1, 1), (2, 2), (12, 12), (40, 40), (300, 300), (1001, 1000)])
def test_numbers_of_epochs_do_not_run_together(curves: Curves, epochs: int, last: int) -> None:
    curves.show_trace(Trace(epochs, (0.5, 1.0), (1.0, 0.8)))
    (numbers,) = curves.loss.plot.getAxis("bottom")._tickLevels
    assert [str(at) for at, _ in numbers] == [name for _, name in numbers]
    assert 2 <= len(numbers) <= 7 and numbers[0][0] == 0 and numbers[-1][0] == last


def test_axes_are_in_the_colours_of_the_theme(curves: Curves) -> None:
    curves.set_colours("#112233", "#ddeeff")
    for panel in curves.panels:
        assert panel.plot.getAxis("left").textPen().color().name() == "#112233"
        assert panel.backgroundBrush().color().name() == "#ddeeff"

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import explain, run


def test_grad_cam_of_the_predicted_class_by_default(cmu: Path, make_model: Callable) -> None:
    explanation = run(explain(cmu, make_model((5.0, 10.0))))
    prediction = explanation.prediction
    assert (explanation.method, explanation.target) == ("grad-cam", prediction.predicted)
    assert explanation.maps == prediction.maps_of("grad-cam", prediction.predicted)
    assert [made.magnification for made in explanation.maps] == [5, 10]


def test_a_class_by_name(cmu: Path, make_model: Callable) -> None:
    explanation = run(explain(cmu, make_model((5.0, 10.0)), target="tumour"))
    assert {made.target for made in explanation.maps} == {"tumour"}


def test_attention_has_no_class(cmu: Path, make_model: Callable) -> None:
    explanation = run(explain(cmu, make_model((5.0, 10.0)), method="attention"))
    assert explanation.target is None
    assert [made.title for made in explanation.maps] == ["attention 5x", "attention 10x", "zoom attention 5x"]


def test_an_unknown_class_is_refused_before_any_work(cmu: Path, make_model: Callable) -> None:
    with pytest.raises(ModelError, match="no class 'metastasis'; it has benign, tumour"):
        next(explain(cmu, make_model(), target="metastasis"))

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import finetune, run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What each of the two kinds of fine-tuning was asked for."""
    found: dict[str, dict[str, Any]] = {}

    def remember(kind: str) -> Callable[..., Any]:
        def job(slide: Path, annotations: Any, model: str, **settings: Any) -> Any:
            found[kind] = settings
            yield from ()
            return kind

        return job

    for kind in ("cells", "mil"):
        monkeypatch.setitem(finetune.__globals__, f"finetune_{kind}", remember(kind))
    return found


def test_the_kind_of_the_model_decides(tmp_path: Path, asked: dict[str, dict[str, Any]]) -> None:
    slide, points = tmp_path / "slide.tif", Points(classes=[CellClass("cell", (1, 2, 3))])
    common = {"epochs": 7, "learning_rate": 1e-3, "seed": 4, "loss": "ce", "threads": 1, "mpp": 0.5}
    assert run(finetune(slide, points, "demo", out=tmp_path, label="tumour", patches=99, **common)) == "mil"
    assert run(finetune(slide, points, "yollo", out=tmp_path, resume=True, **common)) == "cells"
    for settings in asked.values():
        assert settings["out"] == tmp_path and common.items() <= settings.items()
    assert (asked["mil"]["label"], asked["mil"]["patches"]) == ("tumour", 99)
    assert asked["cells"]["resume"] is asked["cells"]["stain_augmentation"] is True


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"label": "tumour"}, "a label of the slide is for MIL models"),
        ({"encoder": "nic"}, "an encoder is for MIL models"),
        ({"store": Path("features")}, "a store of features is for MIL models"),
    ],
)
def test_a_cell_model_has_no_use_for_what_is_a_mil_models(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        run(finetune(tmp_path / "slide.tif", Points(), "yollo", out=tmp_path / "new", **given))
    assert not list(tmp_path.iterdir())

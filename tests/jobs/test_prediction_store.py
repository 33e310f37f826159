"""Predictions that were made in the window are there when the slide is opened again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from napari_zoommil.jobs import predict, prediction_store, run
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_store import KeptPrediction, ReadAs
from napari_zoommil.slides.patching import Tissue

MPP = (0.5, 0.5)


@pytest.fixture
def prediction(cmu: Path) -> Prediction:
    return run(predict(cmu, "demo"))


def test_predictions_of_a_slide_come_back_in_order(prediction: Prediction) -> None:
    for made in (20.0, 3.0, 100.5):
        prediction_store.keep(KeptPrediction(prediction, made, "all tissue", MPP))
    prediction_store.keep(KeptPrediction(prediction, 50.0, "all tissue", (0.25, 0.25)))
    prediction_store.keep(KeptPrediction(prediction, 55.0, "of managed colours", MPP, True))
    prediction_store.keep(KeptPrediction(replace(prediction, fingerprint="other"), 60.0, "", MPP))
    found = list(prediction_store.kept(prediction.fingerprint, MPP))
    assert [one.made for one in found] == [100.5, 20.0, 3.0]
    np.testing.assert_array_equal(found[0].prediction.logits, prediction.logits)
    prediction_store.forget(prediction.fingerprint, 20.0)
    assert [one.made for one in prediction_store.kept(prediction.fingerprint, MPP)] == [100.5, 3.0]


def test_how_the_slide_was_read_comes_back(prediction: Prediction) -> None:
    tissue = Tissue(np.eye(4, dtype=bool), (8.0, 8.0))
    box = shapely.to_wkb(shapely.box(0.1, 0.2, 9, 9), hex=True)
    read_as = ReadAs(tissue, (box,), 0.25, "gaussian-crc")
    prediction_store.keep(KeptPrediction(prediction, 1.0, "a region", MPP, read_as=read_as))
    (found,) = prediction_store.kept(prediction.fingerprint, MPP)
    assert found.read_as is not None
    np.testing.assert_array_equal(found.read_as.tissue.mask, tissue.mask)
    assert (found.read_as.regions, found.read_as.min_tissue) == ((box,), 0.25)
    assert found.read_as.detector == "gaussian-crc"


def test_damaged_ones_are_passed_over_and_the_oldest_are_deleted(prediction: Prediction) -> None:
    for made in range(1, prediction_store.MOST_OF_A_SLIDE + 3):
        prediction_store.keep(KeptPrediction(prediction, float(made), "", MPP))
    files = sorted((prediction_store.folder() / prediction.fingerprint).iterdir())
    assert len(files) == prediction_store.MOST_OF_A_SLIDE
    files[0].write_bytes(files[0].read_bytes()[:500])
    files[1].write_bytes(b"")
    *_, oldest = prediction_store.kept(prediction.fingerprint, MPP)
    assert oldest.made == 5.0


def test_all_slides_together_are_bounded(prediction: Prediction, monkeypatch) -> None:
    prediction_store.keep(KeptPrediction(prediction, 1.0, "", MPP))
    size = next((prediction_store.folder() / prediction.fingerprint).iterdir()).stat().st_size
    monkeypatch.setattr(prediction_store, "MOST_BYTES", int(2.5 * size))
    monkeypatch.setattr(prediction_store, "SUMMARY_BYTES", size // 2)
    names = ("one", "two", "three")
    for made, name in enumerate(names, 2):
        prediction_store.keep(KeptPrediction(replace(prediction, fingerprint=name), float(made), "", MPP))
    assert [name for name in names if list(prediction_store.kept(name, MPP))] == ["two", "three"]
    (oldest,) = prediction_store.summaries("one", MPP)
    assert oldest.made == 2.0 and oldest.prediction.task == prediction.task, "what it said stays"
    assert (oldest.prediction.values == prediction.values).all()
    assert oldest.prediction.familiarity == prediction.familiarity

"""Which encoder ships: candidates and controls on made patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.experiments.data.cell_types import LabelledPatches, split_patients
from napari_zoommil.experiments.shipped import encoder_choice
from napari_zoommil.experiments.shipped.encoder_choice import (
    CONTROLS,
    encode_by,
    held_out_of_training,
    probes,
    resized,
)


@pytest.fixture
def tissue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright and dark patches of six slides in place of synthetic tissue."""
    rng, kinds = np.random.default_rng(0), np.tile([0, 1], 30)
    pixels = (rng.integers(0, 60, (60, 16, 16, 3)) + 100 * kinds[:, None, None, None]).astype(np.uint8)
    made = LabelledPatches(pixels, kinds, ("dark", "bright"), np.repeat(np.arange(6), 10))
    monkeypatch.setattr(encoder_choice, "synthetic_patches", lambda: (made, made))
    monkeypatch.setattr(encoder_choice, "ORGAN_PATCH", 16)


@pytest.mark.usefixtures("tissue")
def test_controls_stand_beside_the_candidates(histology: Path) -> None:
    found = probes(("mean-rgb",), histology)
    assert tuple(found) == ("mean-rgb", *CONTROLS)
    assert found["mean-rgb"]["more"] == "–"
    assert float(found["untrained"]["more"]) <= 0, "colour tells dark from light nuclei"
    assert float(found["mean-rgb"]["synthetic"].split()[0]) == 1.0, "dark and bright differ in colour"
    assert all("±" in own["organs"] for own in found.values())


def test_no_test_patient_has_a_part_in_the_choice() -> None:
    patients = np.repeat(np.arange(20), 2)
    cells = LabelledPatches(np.zeros((40, 4, 4, 3), np.uint8), patients % 2, ("a", "b"), patients)
    train, held_out = (set(part.patients) for part in held_out_of_training(cells))
    training, test = (set(part.patients) for part in split_patients(cells))
    assert train and held_out and not train & held_out
    assert train | held_out == training and not training & test


def test_the_untrained_network_is_the_same_each_time() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 16, 16, 3), np.uint8)
    first, second = (encode_by("untrained")(pixels) for _ in range(2))
    assert first.shape == (3, 128) and np.array_equal(first, second)


def test_nuclei_are_brought_to_the_size_of_the_input() -> None:
    patches = LabelledPatches(np.full((2, 27, 27, 3), 7, np.uint8), np.zeros(2, int), ("a",), np.arange(2))
    assert resized(patches).pixels.shape == (2, 64, 64, 3) and (resized(patches).pixels == 7).all()

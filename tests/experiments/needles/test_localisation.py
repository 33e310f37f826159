"""The place of the highest saliency against that of the 3."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from napari_zoommil.experiments.data.mnist import read_mnist
from napari_zoommil.experiments.data.needle_mnist import Canvas, NeedleImages
from napari_zoommil.experiments.needle_localisation.detection import (
    brightness,
    localised,
    random_map,
    saliency,
)
from napari_zoommil.experiments.needle_localisation.experiment import localised_trials
from napari_zoommil.experiments.needles import fitting
from napari_zoommil.experiments.needles.trials import EXTENTS, _for_cpu, _published
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.jobs import run
from napari_zoommil.models.blocks.bagnet import BagNet


def test_what_knows_the_place_finds_it(mnist: Path) -> None:
    images = NeedleImages(read_mnist(mnist, 9)["val"], Canvas(27, 2, 9), 40, "val")
    drawn = [images.image(index) for index in range(40)]

    def oracle(own: np.ndarray) -> np.ndarray:
        numbers = [next(n for n, image in enumerate(drawn) if (image == one[0]).all()) for one in own]
        return np.stack([images.needle_mask(n) + 0.1 * np.eye(27) for n in numbers])

    told = localised(images, oracle, 16)
    assert told.precision == told.pointing == 1 and told.jaccard > 0.5
    chance = localised(images, random_map(0), 16)
    assert chance.pointing < 0.5 and chance.precision < 0.3 and chance.jaccard < 0.3
    assert 0 <= localised(images, brightness(9), 16).pointing <= 1


def test_large_images_are_explained_a_few_at_once(
    mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as a training step takes, also where networks are tested."""
    images = NeedleImages(read_mnist(mnist, 9)["val"], Canvas(27, 2, 9), 40, "val")
    assert fitting.at_once(images, 16) == 16
    monkeypatch.setattr(fitting, "PIXELS", 3 * 27**2)
    assert fitting.at_once(images, 16) == 3
    seen: list[int] = []
    forward = BagNet.forward
    monkeypatch.setattr(
        BagNet, "forward", lambda self, pixels: (seen.append(len(pixels)), forward(self, pixels))[1]
    )
    name = "27/9/max/base/0"
    run(reproduce("needle-localisation", out=tmp_path, data=mnist, only=[name], device="cpu"))
    assert max(seen[:-2]) == 3, "the last two are those of the figure"


def test_saliency_is_the_absolute_gradient() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
    maps = saliency(network, torch.device("cpu"))(np.zeros((2, 1, 3, 3), np.float32))
    expected = network[1].weight[1].abs().view(3, 3).detach().numpy()
    np.testing.assert_allclose(maps, [expected] * 2)


def test_presets_have_poolings_fields_and_ratios() -> None:
    for extent in (_for_cpu(), _published()):
        own = [trial for trial, _ in localised_trials(extent).trials]
        assert {trial.pooling for trial in own} == {"max", "lse", "mean", "attention"}
        assert len({trial.field for trial in own}) == 3 and len({trial.canvas for trial in own}) > 1
        assert {trial.train for trial in own} == {11_276}


def test_the_experiment_shares_trainings(mnist: Path, tmp_path: Path) -> None:
    names = ["18/9/max/base/0", "27/9/max/base/0"]
    run(reproduce("needle-mnist", out=tmp_path, data=mnist, only=names[:1], device="cpu"))
    stamp = (tmp_path / "needles" / "18_9_max_base_0.json").stat().st_mtime_ns
    result = run(reproduce("needle-localisation", out=tmp_path, data=mnist, only=names, device="cpu"))
    assert list(result.results["pieces"]) == names
    assert (tmp_path / "needles" / "18_9_max_base_0.json").stat().st_mtime_ns == stamp
    own = result.results["pieces"][names[0]]
    assert set(own) == {"saliency", "untrained", "brightness", "random"}
    assert all(0 <= value <= 1 for one in own.values() for value in one.values())
    folder = tmp_path / "needle-localisation"
    assert json.loads((folder / "results.json").read_text())["pieces"] == result.results["pieces"]
    assert f"| {100 * own['saliency']['precision']:.1f} |" in (folder / "table.md").read_text()
    texts = "".join(ElementTree.parse(folder / "figure.svg").getroot().itertext())
    assert all(kind in texts for kind in ("untrained", "brightness", "random"))
    assert (folder / "saliency.png").stat().st_size > 1000
    assert EXTENTS["cpu"].epochs == 2

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_zoommil.encoders import device
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.jobs import explain, faithfulness, predict, run, train
from napari_zoommil.jobs.progress import Progress
from napari_zoommil.maps import gradcam
from napari_zoommil.maps.recorded import RecordedPass, Replay
from napari_zoommil.models import create, sparseconvmil_pixels
from napari_zoommil.models.entries_network import SparseConvMILOptions, SparseConvMILPixelsOptions
from napari_zoommil.models.mil import Need, drain
from napari_zoommil.models.registry import entry
from napari_zoommil.models.sparseconvmil import SparseConvMIL
from napari_zoommil.models.sparseconvmil_pixels import ENCODER, SparseConvMILPixels
from napari_zoommil.models.spec import load_model
from napari_zoommil.training.flags import TrainerFlags
from napari_zoommil.training.mil.module import MILModule

from ..maps.test_methods import drained


@dataclass(frozen=True, eq=False)
class Colours:
    """A bag of random pixels, 32 px for speed."""

    grid: PatchGrid
    encoder_hash = ""
    holds = "pixels"

    def features(self, level: int, rows: np.ndarray) -> Tensor:
        rng = np.random.default_rng(0)
        return torch.from_numpy(rng.integers(0, 256, (len(self.grid.levels[0]), 3, 32, 32), np.uint8)[rows])


def small(**options: Any) -> SparseConvMILPixels:
    torch.manual_seed(0)
    return SparseConvMILPixels(3, 2, (20,), SparseConvMILPixelsOptions((4, 4), 5, **options))


def test_the_encoder_is_a_resnet34() -> None:
    head = sum(weight.numel() for weight in create("sparseconvmil", 512).parameters())
    model = create("sparseconvmil_pixels", 3)
    assert sum(weight.numel() for weight in model.parameters()) == 21_284_672 + head
    assert entry("sparseconvmil_pixels").takes == "pixels"
    for recipe in entry("sparseconvmil_pixels").recipes.values():
        assert all(model.get_submodule(part) is model.encoder for part in recipe.part_rates)


def test_it_is_sparseconvmil_on_what_the_encoder_makes(
    make_grid: Callable, make_bag: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparseconvmil_pixels, "AT_ONCE", 5)
    model, grid = small().eval(), make_grid(3, 4, (20.0,))
    features = SparseConvMIL(512, 2, (20,), SparseConvMILOptions((4, 4), 5)).eval()
    features.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("encoder.")})
    bag, stored = Colours(grid), make_bag(grid, 512)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        colours = (bag.features(0, np.arange(12)) / 255 - mean[:, None, None]) / std[:, None, None]
        stored.arrays[0][:] = model.encoder(colours).numpy()
        torch.testing.assert_close(model(bag).logits, features(stored).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_bags_of_any_size_train(make_grid: Callable, count: int) -> None:
    model = small(sampled=3).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    output = model(Colours(make_grid(1, count, (20.0,))))
    assert len(output.steps[0].rows) == min(3, count)
    model.losses(output, torch.tensor(1), 0.0)["bag"].backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers()), "statistics stay"


def test_training_begins_with_pretrained_weights_where_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    known = small().encoder
    for weight in known.parameters():
        nn.init.constant_(weight, 0.25)
    asked = []

    def fetched(name: str) -> SimpleNamespace:
        asked.append(name)
        return SimpleNamespace(network=known)

    monkeypatch.setattr(sparseconvmil_pixels, "load_encoder", fetched)
    model = small(pretrained=False)
    model.start()
    assert not asked and not torch.equal(model.encoder.conv1.weight, known.conv1.weight)
    model = small()
    model.start()
    assert asked == [ENCODER] and torch.equal(model.encoder.conv1.weight, known.conv1.weight)


def test_it_is_trained_predicts_and_is_explained(
    make_slide: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["slide,label,split"]
    for label, colour in {"blue": (120, 90, 200), "pink": (215, 110, 160)}.items():
        for number, split in enumerate(("train", "val")):
            make_slide(tmp_path / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    training = run(
        train(
            tmp_path / "cohort.csv", "sparseconvmil_pixels", store=tmp_path / "store", out=tmp_path / "model",
            options={"channels": (4, 4), "hidden": 5, "sampled": 9, "pretrained": False},
            magnifications=(10.0,), patch_size=32, epochs=1, flags=TrainerFlags(accumulate=1),
        )
    )  # fmt: skip
    model, spec = load_model(training.model)
    assert model.name == "sparseconvmil_pixels" and spec.encoder == ""
    slide = tmp_path / "pink1.tif"
    monkeypatch.setattr(sparseconvmil_pixels, "AT_ONCE", 4)
    told: list[Progress] = []
    prediction = run(predict(slide, str(training.model)), told.append)
    patches = [one for one in told if one.note.endswith("patches") and "comparing" not in one.note]
    assert {one.total for one in patches} == {len(prediction.grid.levels[0])}, "several needs, one total"
    assert patches[-1].done == patches[-1].total
    (step,) = prediction.steps
    assert step.heads == ("activation",) and len(step.rows) == len(prediction.grid.levels[0])
    found = run(explain(slide, str(training.model), method="grad-cam"))
    (shown,) = found.maps
    assert (
        np.isfinite(shown.values).sum() == len(step.rows)
        and np.ptp(shown.values[np.isfinite(shown.values)]) > 0
    )
    (shown,) = run(explain(slide, str(training.model), method="saliency")).maps
    assert np.isfinite(shown.values).sum() == len(step.rows) and np.nanmin(shown.values) >= 0
    assert np.nanmax(shown.values) > 0
    kept = 3 * 32**2 * len(step.rows)
    monkeypatch.setattr(device, "free_bytes", lambda _: kept)
    with pytest.raises(ModelError, match=r"the pixels of \d+ patches takes .* explain a smaller region"):
        run(explain(slide, str(training.model), method="grad-cam"))
    with pytest.raises(ModelError, match="explain a smaller region"):
        run(faithfulness(slide, found))


def test_grad_cam_leaves_pixels_as_they_are(make_grid: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    model, grid = small().eval().requires_grad_(False), make_grid(2, 2, (20.0,), patch_size=32)
    bag, needs = Colours(grid), (Need(0, np.arange(4), "pixels"),)
    answers = (bag.features(0, np.arange(4)),)
    again: Any = None
    recorded = RecordedPass(model, bag, model(bag), needs, answers, None, again)
    (given,) = Replay(recorded, of_pixels=False).inputs
    assert given.data_ptr() == answers[0].data_ptr() and given.dtype == torch.uint8
    found = drained(gradcam.run(recorded))[1].patches[0].values
    (floats,) = Replay(recorded).inputs
    output = Replay(recorded).output(floats)
    np.testing.assert_allclose(found[1], gradcam.grad_cam(output, 1).steps[0], rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(device, "free_bytes", lambda _: 20 * answers[0].numel())
    with pytest.raises(ModelError, match=r"a gradient of the pixels of 4 patches .* or choose grad-cam"):
        Replay(recorded)


def test_the_slope_of_pixels_is_that_of_the_whole_pass(
    make_grid: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though activations of the encoder are kept for one batch at a time."""
    monkeypatch.setattr(sparseconvmil_pixels, "AT_ONCE", 3)
    model, grid = small().eval().requires_grad_(False), make_grid(2, 4, (20.0,))
    pixels = Colours(grid).features(0, np.arange(8)).float().requires_grad_()

    def slope(at_once: int, encoded: Callable[[Tensor], Tensor]) -> Tensor:
        monkeypatch.setattr(sparseconvmil_pixels, "AT_ONCE", at_once)
        monkeypatch.setattr(model, "_encoded", encoded)
        logits = drain(model.steps(grid), lambda need: pixels[need.rows]).logits
        return torch.autograd.grad(logits[1], pixels)[0]

    batched, whole = slope(3, model._encoded), slope(8, model._encode)
    assert (batched != 0).flatten(1).any(1).all()
    torch.testing.assert_close(batched, whole, atol=1e-7, rtol=1e-3)


def test_validation_reads_the_same_sample_each_time(make_grid: Callable) -> None:
    model, grid = small(validated=5).eval(), make_grid(3, 4, (20.0,))
    with model.validating():
        first, again = (model(Colours(grid)).steps[0].rows for _ in range(2))
    assert len(first) == 5 and (first == again).all() and (np.diff(first) > 0).all()
    assert len(model(Colours(grid)).steps[0].rows) == 12, "predictions read all"
    every = small(validated=None).eval()
    with every.validating():
        assert len(every(Colours(grid)).steps[0].rows) == 12
    read: list[int] = []
    module = MILModule(model, entry("sparseconvmil_pixels").recipe())
    module.log_dict = lambda *_, **__: read.append(model._validates)  # type: ignore[method-assign]
    kept = module._losses
    module._losses = lambda batch: (read.append(model._validates), kept(batch))[1]  # type: ignore
    module.validation_step([(Colours(grid), 1, 0)], 0)
    assert read == [True, False]

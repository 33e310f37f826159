"""What a GPU computes is what a CPU computes, and its memory is only borrowed.

Tolerances: 0.002 where both compute in single precision (convolutions of a GPU round their factors to TF32),
0.05 where the GPU computes in half precision, as it does by itself.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.encoders import Encoder, load_encoder
from napari_zoommil.encoders.encoder import Preprocessing
from napari_zoommil.jobs import detect, explain, finetune, predict, run, train
from napari_zoommil.jobs.kept import release
from napari_zoommil.models import create
from napari_zoommil.models.spec import ModelSpec, load_model, save_model
from napari_zoommil.slides import Slide
from napari_zoommil.training.fit import TrainerFlags

GPU = "cuda"
COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}
CERTAIN = {"hidden": 32, "dropout": 0.0, "k": 16}
"""Options of a model that is trained without random numbers, which a GPU draws otherwise: nothing is dropped
out, and it zooms into all patches of these slides, whatever the noise."""

REGION = np.array([(0.0, 0.0), (0.0, 800.0), (640.0, 800.0), (640.0, 0.0)])

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(params=[0.002, 0.05], ids=["single", "half"])
def tolerance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """In single precision, and in that which the GPU takes by itself."""
    if request.param == 0.002:
        monkeypatch.setattr("napari_zoommil.encoders.encoder.autocast", lambda _: nullcontext())
        monkeypatch.setattr("napari_zoommil.encoders.device.autocast", lambda _: nullcontext())
    return float(request.param)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """``fresh(name)``: features of what follows are kept in a folder of their own."""
    return lambda name: monkeypatch.setattr(
        "napari_zoommil.bags.cache.cache_folder", lambda: tmp_path / f"cache of {name}"
    )


@pytest.fixture
def cohort(tmp_path: Path, make_slide: Callable[..., Path]) -> Path:
    """Eight small slides in two colours."""
    lines = ["slide,label,split"]
    for label, colour in COLOURS.items():
        for number, split in enumerate(("train", "train", "val", "test")):
            make_slide(tmp_path / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    return tmp_path / "cohort.csv"


def training(cohort: Path, out: str, device: str, **more: Any) -> Any:
    settings: dict[str, Any] = {"options": CERTAIN, "epochs": 1, "learning_rate": 3e-3}
    return train(
        cohort,
        out=cohort.with_name(out),
        store=cohort.with_name(f"features of {device}"),
        encoder="mean-rgb",
        magnifications=(5.0, 10.0),
        patch_size=32,
        device=device,
        **settings | more,
    )


@pytest.fixture
def mil(tmp_path: Path) -> Path:
    """An untrained model without random numbers in training."""
    torch.manual_seed(0)
    model = create("zoommil", in_features=3, classes=2, magnifications=(5.0, 10.0), **CERTAIN)
    spec = ModelSpec(
        "zoommil", model.config(), "mean-rgb", load_encoder("mean-rgb").hash, 64, ("blue", "pink")
    )
    save_model(tmp_path / "mil", model, spec, "# Test\n")
    return tmp_path / "mil"


@pytest.fixture
def points() -> Points:
    found = Points(classes=[CellClass("pink", (213, 94, 0), 10.0)])
    found.add(np.random.default_rng(0).uniform(150, 350, (12, 2)), 1)
    return found


def difference(before: Path, one: Path, two: Path) -> float:
    """How far two models lie apart, as a share of how far training moved the first of them."""
    was, here, there = (load_file(folder / "model.safetensors") for folder in (before, one, two))
    moved = sum(float(np.square(here[name] - was[name]).sum()) for name in was)
    apart = sum(float(np.square(here[name] - there[name]).sum()) for name in was)
    assert moved > 0 and np.isfinite(apart)
    return (apart / moved) ** 0.5


# The same result


def test_a_prediction_is_that_of_the_cpu(
    small_slide: Path, tolerance: float, fresh: Callable[[str], None]
) -> None:
    fresh("cpu")
    here = run(predict(small_slide, "demo", device="cpu"))
    fresh("gpu")
    there = run(predict(small_slide, "demo", device=GPU))
    assert there.predicted == here.predicted
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=tolerance)
    own, other = (np.exp(one.steps[0].attention) for one in (here, there))
    own, other = own / own.sum(), other / other.sum()
    assert np.abs(own - other).sum() < 10 * tolerance, "of attention, which adds up to 1"


def test_detected_cells_are_those_of_the_cpu(small_slide: Path, tolerance: float) -> None:
    with Slide.open(small_slide) as slide:
        middle = np.array(slide.shape) / 2 - (320, 400) + REGION
    here, there = (run(detect(small_slide, "yollo", regions=[middle], device=one)) for one in ("cpu", GPU))
    assert len(here.finds) > 50
    for one, two in ((here, there), (there, here)):
        sure = one.finds.scores >= one.threshold + tolerance
        apart = np.linalg.norm(one.finds.centres[sure, None] - two.finds.centres[None], axis=2)
        nearest = apart.argmin(1)
        same = (apart.min(1) < 2) & (one.finds.labels[sure] == two.finds.labels[nearest])
        assert same.mean() > 0.98, "but for cells of which another of two boxes is kept"
        np.testing.assert_allclose(
            two.finds.scores[nearest][same], one.finds.scores[sure][same], atol=2 * tolerance
        )


def test_an_epoch_of_a_training_is_that_of_the_cpu(cohort: Path) -> None:
    run(training(cohort, "none", "cpu", learning_rate=1e-6))  # all but as it began
    here, there = (run(training(cohort, device, device)) for device in ("cpu", GPU))
    assert difference(cohort.with_name("none"), here.model, there.model) < 0.05
    assert here.metrics == pytest.approx(there.metrics, abs=0.002)
    told = [
        run(predict(cohort.with_name("pink3.tif"), str(one.model), device="cpu")) for one in (here, there)
    ]
    np.testing.assert_allclose(told[0].probabilities, told[1].probabilities, atol=0.002)


def test_an_epoch_of_a_fine_tuning_of_a_mil_model_is_that_of_the_cpu(
    mil: Path, points: Points, tmp_path: Path, make_slide: Callable[..., Path], fresh: Callable[[str], None]
) -> None:
    slide, taught = make_slide(tmp_path / "slide.tif", COLOURS["pink"]), []
    for device in ("cpu", GPU):
        fresh(device)
        out = tmp_path / f"taught on {device}"
        taught.append(run(finetune(slide, points, str(mil), out=out, epochs=1, device=device)))
    here, there = taught
    assert difference(mil, here.model, there.model) < 0.05
    assert here.metrics == pytest.approx(there.metrics, abs=0.01)


def test_an_epoch_of_a_fine_tuning_of_a_cell_model_is_that_of_the_cpu(
    discs: tuple[Path, np.ndarray], make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    model, marked, taught = make_cell_model(), Points(classes=[CellClass("class 0", (0, 114, 178), 10.0)]), []
    marked.add(discs[1][::2], 1)
    for device in ("cpu", GPU):
        out = tmp_path / f"taught on {device}"
        taught.append(run(finetune(discs[0], marked, model, out=out, epochs=1, device=device)))
    here, there = taught
    assert difference(Path(model), here.model, there.model) < 0.2, (
        "steps of Adam differ where a gradient is 0"
    )
    assert here.windows == there.windows and here.metrics.keys() == there.metrics.keys()


# Memory


def borrowed() -> int:
    """Bytes on the device that somebody holds, but for what cuBLAS keeps for itself."""
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()


def test_a_batch_too_large_for_the_gpu_is_halved_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )  # some 33 MB for each patch
    encoder = Encoder("wide", network, Preprocessing(None, (0, 0, 0), (1, 1, 1)), 64, half=False)
    patches = np.random.default_rng(0).integers(0, 256, (32, 256, 256, 3), np.uint8)
    expected = encoder(patches).numpy()
    sizes: list[int] = []
    real = Encoder._embed
    monkeypatch.setattr(Encoder, "_embed", lambda own, batch: (sizes.append(len(batch)), real(own, batch))[1])
    encoder.to(torch.device(GPU))
    try:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400e6) / total)
        found = encoder(patches).cpu().numpy()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        encoder.to(torch.device("cpu"))
        torch.cuda.empty_cache()
    assert sizes[0] == len(patches) and 1 <= min(sizes) < len(patches), sizes
    np.testing.assert_allclose(found, expected, atol=0.002)


@pytest.fixture(params=["predict", "explain", "detect", "train", "finetune mil", "finetune cells"])
def job(
    request: pytest.FixtureRequest,
    cohort: Path,
    mil: Path,
    points: Points,
    discs: tuple[Path, np.ndarray],
    make_cell_model: Callable[..., str],
    make_slide: Callable[..., Path],
    tmp_path: Path,
    fresh: Callable[[str], None],
) -> Callable[[], Iterator[Any]]:
    """Begins a job of one kind on the GPU; nothing is encoded yet whenever it begins."""
    slide, cells = make_slide(tmp_path / "slide.tif", COLOURS["pink"]), make_cell_model()
    marked = Points(classes=[CellClass("class 0", (0, 114, 178), 10.0)])
    marked.add(discs[1][::2], 1)
    makers: dict[str, Callable[[str], Iterator[Any]]] = {
        "predict": lambda _: predict(slide, str(mil), device=GPU),
        "explain": lambda _: explain(slide, str(mil), target="pink", device=GPU),
        "detect": lambda _: detect(discs[0], cells, regions=[REGION], device=GPU),
        "train": lambda out: training(cohort, out, GPU),
        "finetune mil": lambda out: finetune(
            slide, points, str(mil), out=tmp_path / out, epochs=2, device=GPU
        ),
        "finetune cells": lambda out: finetune(
            discs[0], marked, cells, out=tmp_path / out, epochs=2, device=GPU
        ),
    }
    count = iter(range(1000))

    def begin() -> Iterator[Any]:
        name = f"try {next(count)}"
        fresh(name)
        return makers[request.param](name)

    return begin


def test_memory_is_given_back_when_a_job_has_ended(job: Callable[[], Iterator[Any]]) -> None:
    release()
    before = borrowed()
    result = run(job())  # type: ignore[arg-type]
    assert result is not None and borrowed() == before


def test_memory_is_given_back_when_a_job_is_cancelled(job: Callable[[], Iterator[Any]]) -> None:
    release()
    before = borrowed()
    steps = sum(1 for _ in job())
    for moment in sorted({1, steps // 3, steps // 2, 2 * steps // 3, steps - 1}):
        begun = job()
        list(islice(begun, moment))
        begun.close()  # type: ignore[attr-defined]
        del begun
        assert borrowed() == before, f"cancelled at step {moment} of {steps}"


# Mixed precision


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_a_training_in_mixed_precision_learns_the_same(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    losses: list[float] = []
    real = TrainerFlags.on
    single = run(training(cohort, "single", GPU, epochs=8, options={"k": 2}))
    monkeypatch.setattr(
        TrainerFlags, "on", lambda *more, **others: replace(real(*more, **others), precision=precision)
    )
    mixed = run(
        training(cohort, "mixed", GPU, epochs=8, options={"k": 2}),
        lambda told: losses.extend(
            value for name, value in getattr(told.partial, "metrics", {}).items() if name.endswith("loss")
        ),
    )
    assert losses and np.isfinite(losses).all() and np.isfinite(list(mixed.metrics.values())).all()
    assert all(weight.dtype == torch.float32 for weight in load_model(mixed.model)[0].parameters())
    for label in COLOURS:
        told = [run(predict(cohort.with_name(f"{label}3.tif"), str(one.model))) for one in (single, mixed)]
        assert [one.predicted for one in told] == [label, label]

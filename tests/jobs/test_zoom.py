"""The driver of a pass, and predictions of models that ask for more than features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_zoommil.bags import LazyBag
from napari_zoommil.bags import need as needs
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.bags.view import PartBag
from napari_zoommil.encoders import Encoder, load_encoder
from napari_zoommil.encoders.turned import turned
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Box, PatchGrid
from napari_zoommil.jobs import Progress, estimate, explain, predict, run, tissue, train
from napari_zoommil.jobs.patch_table import patch_tables
from napari_zoommil.jobs.prediction_files import patches_geojson, summary, write_prediction
from napari_zoommil.jobs.zoom import encode, zoom
from napari_zoommil.maps.focus import Focus, MethodOptions
from napari_zoommil.models import registry
from napari_zoommil.models.blocks.lattice import as_image
from napari_zoommil.models.mil import MILModel, MILOutput, Need, NeedImage, Pass, Plane, Step, drain
from napari_zoommil.models.registry import Entry
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Options:
    views: int = 2


class Pixels(MILModel):
    """Scores patches by their mean colour, read as pixels; one head for each class."""

    heads = ("benign", "tumour")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.colour = nn.Linear(3, self.classes)

    def embeddings(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.float().mean((2, 3)) / 255

    def preview(self, patches: torch.Tensor) -> torch.Tensor:
        return self.colour(self.embeddings(patches))

    def steps(self, grid: PatchGrid) -> Pass:
        rows = np.arange(0, len(grid.levels[0]), 2)
        seen = self.embeddings((yield Need(0, rows, "pixels", preview=self.preview)))
        scores = self.colour(seen)
        return MILOutput(scores.mean(0), (Step(0, rows, scores, seen),))


class Whole(MILModel):
    """Looks at the slide as one image: a convolution, and no patch."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.look = nn.Conv2d(3, 4, 3, padding=1)
        self.tell = nn.Linear(4, self.classes)

    def patches_needed(self, counts: Any, ratios: Any) -> tuple[int, ...]:
        return tuple(0 for _ in counts)

    def steps(self, grid: PatchGrid) -> Pass:
        height, width = grid.shape
        image = yield NeedImage(Box(0, 0, height, width), 16.0)
        seen = self.look(image.float()[None] / 255)[0].relu()
        down = (height / seen.shape[1], width / seen.shape[2])
        return MILOutput(self.tell(seen.mean((1, 2))), planes=(Plane(seen, (0.0, 0.0), down, 0.625),))


class Views(MILModel):
    """Means over all patches of some views of each, laid out as an image; says nothing of single patches."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tell = nn.Linear(self.in_features, self.classes)

    def steps(self, grid: PatchGrid) -> Pass:
        rows, means = np.arange(len(grid.levels[0])), []
        for variant in range(self.options.views):
            image, _ = as_image((yield Need(0, rows, variant=variant)), grid.levels[0].lattice)
            means.append(image.sum((1, 2)) / len(rows))
        return MILOutput(self.tell(torch.stack(means).mean(0)))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, takes in (("Pixels", "pixels"), ("Whole", "pixels"), ("Views", "bag")):
        globals()[f"{name}Entry"] = Entry(f"{__name__}:{name}", Options, takes=takes)  # type: ignore[arg-type]
        monkeypatch.setitem(registry.OWN, name.lower(), f"{__name__}:{name}Entry")


@pytest.fixture
def model_of(make_model: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """Writes a model of this file."""

    def make(name: str, **changes: Any) -> str:
        from napari_zoommil.models.spec import ModelSpec, save_model

        torch.manual_seed(0)
        mil = registry.create(name, 3, 2, (5.0,))
        takes = registry.entry(name).takes
        encoder = ("", "") if takes == "pixels" else ("mean-rgb", load_encoder("mean-rgb").hash)
        spec = ModelSpec(name, mil.config(), *encoder, 128, ("benign", "tumour"), **changes)
        save_model(tmp_path / name, mil, spec, "# Test\n")
        return str(tmp_path / name)

    return make


@pytest.fixture
def bag(make_slide: Callable, tmp_path: Path) -> Iterator[LazyBag]:
    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as slide:
        grid = patch_grid(slide, detect_tissue(slide), (5.0, 10.0), 32)
        yield LazyBag(slide, grid, load_encoder("mean-rgb"), batch_size=4, workers=1)


def zoommil(**options: Any) -> MILModel:
    torch.manual_seed(0)
    return registry.create(
        "zoommil", 3, 2, (5.0, 10.0), **{"k": 3, "hidden": 8, "attention": 4} | options
    ).eval()


def test_a_pass_is_that_of_forward(bag: LazyBag) -> None:
    model = zoommil()
    found = run(zoom(model, bag, CPU))
    expected = model(bag)
    torch.testing.assert_close(found.logits, expected.logits)
    for one, other in zip(found.steps, expected.steps, strict=True):
        torch.testing.assert_close(one.scores, other.scores)
    assert not found.logits.requires_grad


def test_a_pass_has_no_gradients_and_leaves_the_mode_of_its_driver_alone(bag: LazyBag) -> None:
    model, answered = zoommil(), []
    job = zoom(model, bag, CPU, answered=answered)
    while True:
        try:
            next(job)
        except StopIteration as stop:
            found = stop.value
            break
        assert torch.is_grad_enabled(), "the mode of whoever drives the job is left alone"
        with torch.no_grad():
            pass
    assert not found.logits.requires_grad
    for (need, answer), step in zip(answered, found.steps, strict=True):
        assert need.level == step.level and torch.equal(answer, bag.features(step.level, step.rows))


def test_what_is_known_is_painted_at_once_and_counted(bag: LazyBag) -> None:
    model, rows = zoommil(), np.arange(len(bag.grid.levels[0]))
    bag.features(0, rows[:-3])
    seen: list[Progress] = []
    run(zoom(model, bag, CPU, "again, "), seen.append)
    assert seen[0].note == f"again, 5x: {len(rows) - 3} of {len(rows)} patches"
    assert seen[0].done == len(rows) - 3 and seen[0].partial is not None
    first = [one.partial for one in seen if one.partial is not None and one.partial.level == 0]
    assert [int(np.isfinite(one.map.values).sum()) for one in first][-1] == len(rows)
    assert not any(one.partial for one in _all(zoom(model, bag, CPU, paint=False)))


def _all(job: Any) -> list[Progress]:
    seen: list[Progress] = []
    run(job, seen.append)
    return seen


def test_encoding_tells_how_far_it_is(bag: LazyBag) -> None:
    rows = np.arange(10)
    bag.features(1, rows[:4])
    told = list(encode(bag, 1, rows, "for training, "))
    assert [one.done for one in told] == [4, 8, 10] and told[0].total == 10
    assert told[-1].note == "for training, 10x: 10 of 10 patches"


def test_features_of_another_width_are_refused(bag: LazyBag) -> None:
    model = registry.create("zoommil", 5, 2, (5.0, 10.0), k=2, hidden=8, attention=4).eval()
    for job in (zoom(model, bag, CPU), partial(model, bag)):
        with pytest.raises(ModelError, match="takes 5 features per patch, but was given 3"):
            job() if callable(job) else run(job)


def test_other_magnifications_are_refused(bag: LazyBag) -> None:
    with pytest.raises(ModelError, match="reads 5x, but the patches are at 5x, 10x"):
        next(zoom(registry.create("pixels", 3, 2, (5.0,)), bag, CPU))


def test_a_model_of_pixels_predicts_and_is_explained(
    cmu: Path, model_of: Callable[..., str], tmp_path: Path
) -> None:
    name, seen = model_of("pixels"), []
    prediction = run(predict(cmu, name, batch_size=8), seen.append)
    (step,) = prediction.steps
    grid = prediction.grid
    with Slide.open(cmu) as slide:
        pixels = PixelBag(slide, grid).features(0, step.rows)
    from napari_zoommil.models.spec import load_model

    model = load_model(name)[0]
    np.testing.assert_allclose(step.scores, model.preview(pixels).detach(), atol=1e-5)
    np.testing.assert_allclose(prediction.logits, step.scores.mean(0), atol=1e-5)
    assert prediction.cost.encoded == (len(step.rows),)
    assert prediction.kinds == (("attention", "benign"), ("attention", "tumour"))
    cam = run(explain(cmu, name, target="tumour"))
    weights = model.colour.weight.numpy()
    means = model.embeddings(pixels).numpy()
    np.testing.assert_allclose(cam.scores[0].values, weights @ means.T / len(step.rows), atol=1e-6)
    slope = run(explain(cmu, name, method="saliency")).scores[0].values
    per_pixel = np.abs(weights).sum(1) / 255 / len(step.rows)
    np.testing.assert_allclose(slope, np.tile(per_pixel[:, None], len(step.rows)), rtol=1e-4)
    assert {one.partial.map.title for one in seen if one.partial} == {"attention benign 5x"}
    batches = [one.done for one in seen if one.note.startswith("5x")]
    assert batches[0] == 0 and max(np.diff(batches)) <= 8

    with Slide.open(cmu) as slide:
        files = {path.name for path in write_prediction(slide, prediction, tmp_path / "out")}
    assert {"attention-benign-5x.png", "attention-tumour-5x.ome.tiff", "patches.geojson"} <= files
    patch = patches_geojson(patch_tables(prediction, [cam]))["features"][1]["properties"]["measurements"]
    assert patch["attention benign"] == step.scores[1, 0]
    assert patch["Grad-CAM tumour (logit)"] == cam.scores[0].values[1, 1]


def test_a_model_of_whole_images_predicts_without_patches(
    cmu: Path, model_of: Callable[..., str], tmp_path: Path
) -> None:
    name = model_of("whole")
    prediction = run(predict(cmu, name))
    assert prediction.steps == () and prediction.cost.encoded == (0,)
    assert prediction.kinds == () and prediction.maps == ()
    (shown,) = run(explain(cmu, name, target="tumour")).maps
    assert shown.title == "Grad-CAM tumour 0.625x"
    height, width = prediction.grid.shape
    assert shown.values.shape == (round(height * 0.499 / 16), round(width * 0.499 / 16))
    assert shown.at(height - 1, width - 1) is not None and shown.at(height + 1, 1) is None

    from napari_zoommil.models.spec import load_model

    model = load_model(name)[0].requires_grad_(True)
    with Slide.open(cmu) as slide:
        output = model(PixelBag(slide, prediction.grid))
    seen = output.planes[0].activation
    (gradient,) = torch.autograd.grad(output.logits[1], seen)
    expected = torch.einsum("f,fhw->hw", gradient.mean((1, 2)), seen).detach()
    np.testing.assert_allclose(shown.values, expected, atol=1e-6)
    np.testing.assert_allclose(prediction.logits, output.logits.detach(), atol=1e-6)

    said = summary(prediction)
    assert said["magnifications"][0]["zoomed_into"] == said["magnifications"][0]["encoded"] == 0
    assert patches_geojson(patch_tables(prediction))["features"] == []
    with pytest.raises(ModelError, match="does not score patches one by one, so there is no map of atten"):
        run(explain(cmu, name, method="attention"))
    (slope,) = run(explain(cmu, name, method="saliency", target="tumour")).maps
    assert slope.title == "saliency tumour 0.625x" and slope.values.shape == shown.values.shape
    covered = run(
        explain(cmu, name, method="occlusion", target="tumour", method_options=MethodOptions(boxes=4))
    )
    with Slide.open(cmu) as slide:
        need = next(model.steps(prediction.grid))
        image = needs.answer(PixelBag(slide, prediction.grid), need)
        background = torch.tensor(slide.background)
    edge = -(-max(image.shape) // 4)
    image[:, edge : 2 * edge, :edge] = background[:, None, None]
    with torch.no_grad():
        again = drain(model.steps(prediction.grid), lambda _: image).logits
    assert covered.maps[0].values.shape == (4, -(-image.shape[2] // edge))
    assert covered.maps[0].values[1, 0] == pytest.approx(float(prediction.logits[1] - again[1]), abs=1e-5)
    with pytest.raises(ModelError, match="reads the slide as an image: its maps show each place already"):
        run(explain(cmu, name, focus=Focus(at=(100.0, 100.0))))
    with pytest.raises(ModelError, match="has no layer 'conv9': it has none with a name"):
        run(explain(cmu, name, method_options=MethodOptions(layer="conv9")))


def test_reading_an_image_is_cancelled_within_a_strip(
    cmu: Path, model_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_zoommil.bags import pixels

    monkeypatch.setattr(pixels, "STRIP_BYTES", 3 * 69 * 10)
    read, real = [], Slide.read_downsampled
    monkeypatch.setattr(Slide, "read_downsampled", lambda *a: read.append(a) or real(*a))
    job = predict(cmu, model_of("whole"))
    while not next(job).note.startswith("image at 0.625x"):
        pass
    first = len(read)  # and what the search for tissue read
    next(job)
    job.close()
    assert len(read) == first + 1


def test_turned_patches_are_encoded_and_nothing_is_said_of_them(
    cmu: Path, model_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[np.ndarray] = []
    real = Encoder.__call__

    def counted(encoder: Encoder, patches: np.ndarray) -> torch.Tensor:
        encoded.extend(patches)
        return real(encoder, patches)

    monkeypatch.setattr(Encoder, "__call__", counted)
    prediction = run(predict(cmu, model_of("views")))
    seen = {patch.tobytes() for patch in encoded}
    assert len(encoded) == 2 * len(prediction.grid.levels[0])
    assert all(turned(patch[None], 1)[0].tobytes() in seen for patch in encoded[: len(encoded) // 4])
    assert prediction.steps == () and prediction.maps == ()
    assert prediction.probabilities.sum() == pytest.approx(1)
    encoded.clear()
    again = run(predict(cmu, model_of("views")))
    assert not encoded, "turned patches are kept too"
    np.testing.assert_array_equal(again.logits, prediction.logits)


def test_a_part_of_a_slide_is_looked_at_like_a_slide(bag: LazyBag) -> None:
    model, part = zoommil(), PartBag.of_trees(bag, np.array([1, 4, 6]))
    found = run(zoom(model, part, CPU, paint=False))
    assert found.steps[0].rows.tolist() == [0, 1, 2]
    torch.testing.assert_close(found.logits, model(part).logits)
    assert bag.encoded[0] == 3


def test_a_model_of_pixels_is_trained_without_features(
    tmp_path: Path, make_slide: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["slide,label,split"]
    for label, colour in {"blue": (120, 90, 200), "pink": (215, 110, 160)}.items():
        for number, split in enumerate(("train", "train", "train", "val", "test")):
            make_slide(tmp_path / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    how: dict[str, Any] = {
        "store": tmp_path / "store", "magnifications": (10.0,), "patch_size": 32, "learning_rate": 0.1,
    }  # fmt: skip
    training = run(train(tmp_path / "cohort.csv", "pixels", out=tmp_path / "model", epochs=40, **how))
    assert training.metrics["test_accuracy"] == 1
    assert {path.name for path in (tmp_path / "store").glob("*/*")} == {"grids"}
    tissue._found.clear()
    with monkeypatch.context() as patch:
        patch.setattr(tissue, "overview_strips", lambda *_: pytest.fail("tissue is looked for again"))
        run(train(tmp_path / "cohort.csv", "pixels", out=tmp_path / "again", epochs=1, **how))
    found = run(predict(tmp_path / "blue4.tif", str(training.model)))
    assert found.predicted == "blue"


def test_a_cost_is_estimated_of_models_without_an_encoder(cmu: Path, model_of: Callable[..., str]) -> None:
    found = run(estimate(cmu, model_of("pixels")))
    assert found.patches == (found.exhaustive,) and found.seconds_per_patch > 0

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch

from napari_zoommil.annotations.regions import area_of
from napari_zoommil.errors import (
    AnnotationError,
    EncoderError,
    MagnificationError,
    ModelError,
    NoTissueError,
    SlideError,
)
from napari_zoommil.geometry import Box
from napari_zoommil.jobs import Progress, predict, run
from napari_zoommil.jobs.prediction import PartialMap, Prediction
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue


def watched(job) -> tuple[Prediction, list[Progress]]:  # type: ignore[no-untyped-def]
    seen: list[Progress] = []
    return run(job, seen.append), seen


def patches_of(seen: list[Progress]) -> list[Progress]:
    return [progress for progress in seen if progress.note.endswith("patches")]


def test_a_real_slide_is_predicted(cmu: Path, make_model: Callable) -> None:
    prediction, seen = watched(predict(cmu, make_model(), batch_size=8))
    assert prediction.slide == cmu.name
    assert prediction.probabilities.sum() == pytest.approx(1)
    assert prediction.predicted == prediction.class_names[int(prediction.logits.argmax())]
    assert prediction.cost.encoded == tuple(len(step.rows) for step in prediction.steps)
    for level, (step, finer) in enumerate(zip(prediction.steps, prediction.steps[1:], strict=False)):
        assert len(step.zoomed) == 4
        np.testing.assert_array_equal(finer.rows, prediction.grid.children(level, step.zoomed))
    assert prediction.cost.seconds > 0
    assert seen[-1].done == seen[-1].total == sum(prediction.cost.encoded)


def test_progress_never_falls_and_reaches_its_total(cmu: Path, make_model: Callable) -> None:
    seen = patches_of(watched(predict(cmu, make_model(), batch_size=8))[1])
    done, total = [progress.done for progress in seen], [progress.total for progress in seen]
    assert done == sorted(done) and done[0] == 0 and done[-1] == total[-1]
    assert all(now <= of for now, of in zip(done, total, strict=True))
    assert max(np.diff(done)) <= 8


def test_partial_maps_grow_into_the_attention(
    cmu: Path, make_model: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys.modules["napari_zoommil.jobs.zoom"], "PAINT_SECONDS", 0)
    prediction, seen = watched(predict(cmu, make_model(), batch_size=8))
    partials = [progress.partial for progress in seen if progress.partial is not None]
    assert all(isinstance(partial, PartialMap) for partial in partials)
    for final, step in zip(prediction.maps_of("attention"), prediction.steps, strict=True):
        grown = [partial.map.values for partial in partials if partial.level == step.level]
        known = [int((~np.isnan(values)).sum()) for values in grown]
        assert known == sorted(set(known)) and known[-1] == len(step.rows)
        np.testing.assert_allclose(grown[-1], final.values, rtol=1e-5, atol=1e-6)


def test_painting_is_throttled(cmu: Path, make_model: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.modules["napari_zoommil.jobs.zoom"], "PAINT_SECONDS", 1e6)
    seen = watched(predict(cmu, make_model(), batch_size=2))[1]
    assert sum(progress.partial is not None for progress in seen) <= 2 * 3


def test_maps_hold_the_scores_of_the_steps(cmu: Path, make_model: Callable) -> None:
    prediction = run(predict(cmu, make_model()))
    assert len(prediction.maps) == 3 + 2 + 2 * 2 * 3
    assert prediction.kinds == (
        ("attention", None), ("zoom", None), ("evidence", "benign"), ("evidence", "tumour"),
        ("leave-one-out", "benign"), ("leave-one-out", "tumour"),
    )  # fmt: skip
    for method in ("evidence", "leave-one-out"):
        for index, target in enumerate(prediction.class_names):
            for step, made in zip(prediction.steps, prediction.maps_of(method, target), strict=True):
                assert step.explained[method].shape == (2, len(step.rows))
                origin = prediction.grid.levels[step.level].origins[step.rows[0]]
                assert made.at(*(origin + 1)) == step.explained[method][index, 0]


def test_evidence_of_all_patches_is_the_output_less_its_bias(cmu: Path, make_model: Callable) -> None:
    from napari_zoommil.models.spec import load_model

    name = make_model()
    prediction = run(predict(cmu, name))
    total = sum(step.evidence.sum(1, dtype=np.float64) for step in prediction.steps)
    bias = load_model(name)[0].classifier.bias.numpy()
    np.testing.assert_allclose(total + bias, prediction.logits, atol=1e-5)
    assert np.abs(total).min() > 1e-3


def test_the_prediction_is_that_of_the_model_on_a_bag(cmu: Path, make_model: Callable) -> None:
    from napari_zoommil.bags import LazyBag
    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.models.spec import load_model

    name = make_model()
    prediction = run(predict(cmu, name, batch_size=5))
    model, _ = load_model(name)
    with Slide.open(cmu) as slide:
        output = model(LazyBag(slide, prediction.grid, load_encoder("mean-rgb")))
    np.testing.assert_allclose(prediction.logits, output.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("moment", [1, 2, 3, 5, 8, 11])
def test_closing_at_any_moment_ends_within_a_batch(
    cmu: Path, make_model: Callable, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The fixture of this folder asserts that no reader thread is left."""
    from napari_zoommil.encoders import Encoder

    encoded, real = [0], Encoder.__call__

    def counted(self: Encoder, patches: np.ndarray) -> torch.Tensor:
        encoded[0] += len(patches)
        return real(self, patches)

    monkeypatch.setattr(Encoder, "__call__", counted)
    closed: list[Slide] = []
    real_close = Slide.close
    monkeypatch.setattr(Slide, "close", lambda self: (closed.append(self), real_close(self))[1])
    job = predict(cmu, make_model(), batch_size=4, workers=2)
    for _ in range(moment):
        next(job)
    before = encoded[0]
    job.close()
    assert encoded[0] == before and len(closed) == 1


def test_an_open_slide_stays_open(cmu: Path, make_model: Callable) -> None:
    with Slide.open(cmu) as slide:
        run(predict(slide, make_model()))
        assert slide.read_level(0, 0, 0, 2, 2).shape == (2, 2, 3)


def test_the_given_resolution_holds_for_an_open_slide_too(cmu: Path, make_model: Callable) -> None:
    model = make_model((5.0, 10.0))
    with Slide.open(cmu) as slide:
        open_one, by_path = (run(predict(given, model, mpp=0.25)) for given in (slide, cmu))
    assert open_one.maps[0].mpp == by_path.maps[0].mpp == (0.25, 0.25)
    np.testing.assert_array_equal(open_one.logits, by_path.logits)


def test_given_tissue_is_where_it_looks(cmu: Path, make_model: Callable) -> None:
    with Slide.open(cmu) as slide:
        tissue = detect_tissue(slide)
    box = np.array([[0, 0], [0, 1000], [1000, 1000], [1000, 0]])
    outside = np.array([[0, 0], [0, 9999], [9999, 9999], [9999, 0]])
    prediction = run(predict(cmu, make_model(), tissue=tissue.edited([box], [outside]).edited([box])))
    assert (prediction.grid.levels[0].origins < 1000).all()


def test_threads_are_given_back(cmu: Path, make_model: Callable) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    run(predict(cmu, make_model(), threads=before + 1), lambda _: seen.append(torch.get_num_threads()))
    assert before + 1 in seen and torch.get_num_threads() == before


def test_other_encoder_weights_are_refused(cmu: Path, make_model: Callable) -> None:
    with pytest.raises(EncoderError, match="trained on other weights of the encoder mean-rgb"):
        run(predict(cmu, make_model(encoder_hash="0" * 16)))


def test_a_slide_scanned_too_coarsely_is_refused(cmu: Path, make_model: Callable) -> None:
    with pytest.raises(MagnificationError, match=r"20x needs 0\.5"):
        run(predict(cmu, make_model(), mpp=2.0))


def test_a_white_image_has_no_tissue(make_slide: Callable, make_model: Callable, tmp_path: Path) -> None:
    white = make_slide(tmp_path / "white.tif", None)
    with pytest.raises(NoTissueError, match=r"no tissue was found on white\.tif"):
        run(predict(white, make_model((5.0, 10.0))))


def test_an_absent_slide_or_model(tmp_path: Path, cmu: Path, make_model: Callable) -> None:
    with pytest.raises(SlideError, match="no slide at"):
        run(predict(tmp_path / "absent.svs", make_model()))
    with pytest.raises(ModelError, match="no model 'absent'"):
        run(predict(cmu, "absent"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Patches of each call of an encoder."""
    from napari_zoommil.encoders import Encoder

    found: list[int] = []
    real = Encoder.__call__

    def counted(self: Encoder, patches: np.ndarray) -> torch.Tensor:
        found.append(len(patches))
        return real(self, patches)

    monkeypatch.setattr(Encoder, "__call__", counted)
    return found


def test_a_second_prediction_encodes_nothing(cmu: Path, make_model: Callable, encoded: list[int]) -> None:
    first, name = run(predict(cmu, make_model(), batch_size=8)), make_model()
    assert sum(encoded) == sum(first.cost.encoded) and not sum(first.cost.taken)
    encoded.clear()
    again, seen = watched(predict(cmu, name, batch_size=8))
    assert not encoded and again.cost.taken == first.cost.encoded == again.cost.patches
    assert not sum(again.cost.encoded) and not again.cost.unkept
    count = sum(first.cost.encoded)
    assert (first.cost.counted, again.cost.counted) == (
        f"{count} patches", f"{count} patches, {count} of them encoded before",
    )  # fmt: skip
    np.testing.assert_array_equal(again.logits, first.logits)
    for one, other in zip(again.maps, first.maps, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    assert seen[-1].done == seen[-1].total == sum(again.cost.patches)
    shown = [progress for progress in patches_of(seen) if not progress.note.startswith("explaining")]
    assert shown[-1].done == shown[-1].total == sum(again.cost.patches) and shown[-1].partial is not None


def test_another_model_takes_what_it_can(cmu: Path, make_model: Callable, encoded: list[int]) -> None:
    run(predict(cmu, make_model((5.0, 10.0, 20.0))))
    encoded.clear()
    prediction = run(predict(cmu, make_model((10.0, 20.0))))
    assert sum(encoded) == sum(prediction.cost.encoded) and prediction.cost.taken[0] > 0


def test_a_named_folder_keeps_the_features(
    cmu: Path, make_model: Callable, encoded: list[int], tmp_path: Path, cache: Path
) -> None:
    first = run(predict(cmu, make_model(), store=tmp_path / "features"))
    encoded.clear()
    again = run(predict(cmu, make_model(), store=tmp_path / "features"))
    assert not encoded and not cache.exists()
    np.testing.assert_array_equal(again.logits, first.logits)


def test_a_prediction_that_was_cancelled_goes_on(cmu: Path, make_model: Callable, encoded: list[int]) -> None:
    job = predict(cmu, make_model(), batch_size=4)
    for _ in range(8):
        next(job)
    job.close()
    before = sum(encoded)
    prediction = run(predict(cmu, make_model(), batch_size=4))
    assert sum(prediction.cost.taken) > 0
    assert sum(encoded) - before == sum(prediction.cost.encoded)


def test_a_cache_that_cannot_be_written_is_told_of(cmu: Path, make_model: Callable, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    prediction = run(predict(cmu, make_model()))
    assert prediction.cost.unkept.startswith("features cannot be stored in")
    cache.unlink()
    whole = run(predict(cmu, make_model()))
    np.testing.assert_array_equal(prediction.logits, whole.logits)
    assert not whole.cost.unkept and prediction.cost.encoded == whole.cost.encoded


def test_inside_regions_only_patches_with_tissue_there_are_read(cmu: Path, make_model: Callable) -> None:
    model, left = make_model(), np.array([(1000.0, 900), (1000, 1400), (2000, 1400), (2000, 900)])
    whole = run(predict(cmu, model))
    for regions in ([left], [shapely.Polygon(left)], [Box(1000, 900, 1000, 500)], [left, left + 10]):
        found = run(predict(cmu, model, regions=regions))
        assert 0 < len(found.grid.levels[-1]) < len(whole.grid.levels[-1])
        assert found.regions_mm2 == pytest.approx(0.5 * 0.499**2, rel=0.05) and whole.regions_mm2 is None
        area = shapely.union_all([area_of(one) for one in regions])
        for level in found.grid.levels:
            y, x = level.origins.T
            assert shapely.intersects(area, shapely.box(y, x, y + level.size[0], x + level.size[1])).all()
    holed = shapely.Polygon(left, [left * 0.8 + (300, 230)])
    cut = run(predict(cmu, model, regions=[holed]))
    assert len(cut.grid.levels[-1]) < len(run(predict(cmu, model, regions=[left])).grid.levels[-1])
    with Slide.open(cmu) as slide:
        given = run(predict(cmu, model, regions=[left], tissue=detect_tissue(slide)))
    alone = run(predict(cmu, model, regions=[left]))
    np.testing.assert_array_equal(given.grid.levels[-1].origins, alone.grid.levels[-1].origins)
    np.testing.assert_allclose(given.logits, alone.logits, atol=1e-5)


def test_regions_off_the_slide_or_its_tissue_are_refused(cmu: Path, make_model: Callable) -> None:
    corner = np.array([(0.0, 0), (0, 40), (40, 40), (40, 0)])
    with pytest.raises(AnnotationError, match="the regions cover nothing of CMU-1"):
        run(predict(cmu, make_model(), regions=[corner - 900]))
    with pytest.raises(NoTissueError, match="no tissue was found inside the regions of CMU-1"):
        run(predict(cmu, make_model(), regions=[corner + np.array((1700, 100))]))

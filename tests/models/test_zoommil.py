"""ZoomMIL against dense references that apply T ⊗ 1 (eq. 6) as a matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models import create, zoommil
from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.registry import entry
from napari_zoommil.models.topk import SIGMA, hard_topk, normalise_scores, perturbed_topk, select
from napari_zoommil.models.zoommil import ZoomMIL, banded_product

LADDERS = [(5.0, 10.0), (5.0, 20.0), (5.0, 15.0), (5.0, 10.0, 20.0), (2.5, 5.0, 20.0), (1.25, 2.5, 5.0, 20.0)]


def small(magnifications: tuple[float, ...], k: Any = 3, **config: Any) -> ZoomMIL:
    torch.manual_seed(0)
    return ZoomMIL(6, 3, magnifications, ZoomMILOptions(k, hidden=8, attention=5, **config))


def parameters(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    assert parameters(ZoomMIL(1024, 3, (5, 10, 20))) == 2_890_504
    assert parameters(ZoomMIL(1024, 3, (5, 10))) == 1_839_878


@pytest.mark.parametrize("name", entry("zoommil").recipes)
def test_the_models_of_recipes_build_and_rebuild(name: str) -> None:
    recipe = entry("zoommil").recipe(name)
    model = create("zoommil", magnifications=recipe.magnifications, **recipe.options)
    assert model.in_features == 1024
    assert create("zoommil", **model.config()).state_dict().keys() == model.state_dict().keys()


def test_the_mlp_classifier_has_two_layers() -> None:
    model = ZoomMIL(1024, 3, (5, 10), ZoomMILOptions(classifier="mlp"))
    assert parameters(model) == 1_839_878 - (512 * 3 + 3) + (512 * 256 + 256) + (256 * 3 + 3)


@pytest.mark.parametrize("magnifications", LADDERS)
@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_evaluation_looks_at_the_children_of_the_best(
    make_grid: Callable, make_bag: Callable, magnifications: tuple[float, ...], keep: float
) -> None:
    model = small(magnifications).eval()
    bag = make_bag(make_grid(3, 4, magnifications, keep), 6)
    output = model(bag)
    rows, total = np.arange(12), torch.zeros(8)
    for level, step in enumerate(output.steps):
        assert step.level == level
        np.testing.assert_array_equal(step.rows, rows)
        embeddings = model.embed[level](torch.from_numpy(bag.arrays[level][rows]))
        logits = model.pool[level](embeddings)[:, 0]
        torch.testing.assert_close(step.attention, logits)
        assert step.scores.shape[1] == 2 if level + 1 < len(magnifications) else 1
        total = total + logits.softmax(0) @ embeddings
        if level + 1 < len(magnifications):
            zoom = model.zoom[level](embeddings)[:, 0]
            torch.testing.assert_close(step.scores[:, model.heads.index("zoom")], zoom)
            best = zoom.topk(min(3, len(rows))).indices.sort().values
            np.testing.assert_array_equal(step.zoomed, rows[best])
            rows = np.flatnonzero(np.isin(bag.grid.levels[level + 1].parent, step.zoomed))
    assert not len(output.steps[-1].zoomed)
    torch.testing.assert_close(output.logits, model.classifier(total))


def test_the_preview_is_what_the_step_will_hold(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small((5.0, 10.0, 20.0)).eval(), make_bag(make_grid(3, 4, (5.0, 10.0, 20.0)), 6)
    previews, steps = [], model.steps(bag.grid)
    need = next(steps)
    try:
        while True:
            features = bag.features(need.level, need.rows)
            previews.append(torch.cat([need.preview(part) for part in features.split(5)]))
            need = steps.send(features)
    except StopIteration as stop:
        output = stop.value
    for preview, step in zip(previews, output.steps, strict=True):
        torch.testing.assert_close(preview, step.scores)


def test_training_has_no_preview(make_grid: Callable) -> None:
    assert next(small((5.0, 10.0)).train().steps(make_grid(2, 2, (5.0, 10.0)))).preview is None


@pytest.mark.parametrize("magnifications", LADDERS)
@pytest.mark.parametrize("keep", [1.0, 0.6, 0.2])
@pytest.mark.parametrize("k", [2, 7, 1000])
def test_training_without_noise_is_evaluation(
    make_grid: Callable, make_bag: Callable, magnifications: tuple[float, ...], keep: float, k: int
) -> None:
    model = small(magnifications, k, dropout=0.0, sigma=0.0)
    bag = make_bag(make_grid(3, 4, magnifications, keep), 6)
    soft, hard = model.train()(bag), model.eval()(bag)
    torch.testing.assert_close(soft.logits, hard.logits)
    for one, other in zip(soft.steps, hard.steps, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.zoomed, other.zoomed)
        torch.testing.assert_close(one.attention, other.attention)


def test_no_noise_stays_no_noise_while_it_is_annealed(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small((5.0, 10.0), 3, dropout=0.0, sigma=0.0), make_bag(make_grid(3, 4, (5.0, 10.0)), 6)
    model.progress(0.5)
    torch.testing.assert_close(model.train()(bag).logits, model.eval()(bag).logits)


def test_noise_falls_to_a_tenth_in_exact_mode_alone(
    monkeypatch: pytest.MonkeyPatch, make_grid, make_bag
) -> None:  # type: ignore[no-untyped-def]
    bag, seen = make_bag(make_grid(3, 4, (5.0, 10.0)), 6), []
    real = zoommil.select
    monkeypatch.setattr(zoommil, "select", lambda *args: seen.append(args[3]) or real(*args))
    for mode, sigma in (("exact", None), ("exact", 0.2), ("paper", None)):
        model = small((5.0, 10.0), topk=mode, sigma=sigma).train()
        for share in (0.0, 0.25, 1.0):
            model.progress(share)
            model(bag)
    exact, paper = SIGMA["exact"], SIGMA["paper"]
    assert seen == pytest.approx([exact, 0.75 * exact, 0.1 * exact, 0.2, 0.15, 0.02, paper, paper, paper])


def dense_selection(grid: PatchGrid, level: int, ratio: int) -> Tensor:
    """(N · ratio², N') 0/1: the place of each patch of level + 1 among its parent's children."""
    patches = grid.levels[level + 1]
    place = patches.parent * ratio**2 + grid.slots(level + 1, np.arange(len(patches)))
    matrix = torch.zeros(len(grid.levels[level]) * ratio**2, len(patches))
    matrix[place, torch.arange(len(patches))] = 1
    return matrix


def dense_reference(model: ZoomMIL, bag: Any, seed: int) -> Tensor:
    """Logits of a training pass that mixes *all* patches with T ⊗ 1; instances without parts are cut."""
    torch.manual_seed(seed)
    mix, pooled = torch.eye(len(bag.grid.levels[0])), []
    for level, ratio in enumerate((*model.ratios, 0)):
        mix = mix[(mix.detach() > 0).any(1)]
        embeddings = model.embed[level](mix @ torch.from_numpy(bag.arrays[level]))
        pooled.append(model.pool[level](embeddings)[:, 0].softmax(0) @ embeddings)
        if ratio:
            scores = normalise_scores(model.zoom[level](embeddings)[:, 0], model.topk)
            indicator = perturbed_topk(scores, model.k[level], model.samples, model.sigma, model.topk)
            spread = torch.kron(indicator @ mix, torch.eye(ratio**2))
            mix = spread @ dense_selection(bag.grid, level, ratio)
    return model.classifier(reduce(torch.add, pooled))


@pytest.mark.parametrize("mode", ["exact", "paper"])
@pytest.mark.parametrize("magnifications", [(5.0, 10.0, 20.0), (2.5, 5.0, 20.0)])
@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_soft_selection_is_the_kronecker_product(
    make_grid: Callable, make_bag: Callable, mode: Any, magnifications: tuple[float, ...], keep: float
) -> None:
    model = small(
        magnifications, 4, dropout=0.0, topk=mode, sigma=0.1 if mode == "paper" else 0.3, samples=40
    )
    bag = make_bag(make_grid(3, 4, magnifications, keep), 6)
    results = []
    for run in (lambda: torch.manual_seed(3) and model(bag).logits, lambda: dense_reference(model, bag, 3)):
        model.zero_grad()
        logits = run()
        logits[0].backward()
        results.append((logits.detach(), {name: w.grad.clone() for name, w in model.named_parameters()}))
    torch.testing.assert_close(results[0][0], results[1][0])
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(
            gradient, results[1][1][name], msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("magnifications", LADDERS)
@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_gradients_reach_the_zoom_attention_of_every_step(
    make_grid: Callable, make_bag: Callable, magnifications: tuple[float, ...], keep: float
) -> None:
    model = small(magnifications, sigma=0.3).train()
    bag = make_bag(make_grid(4, 4, magnifications, keep), 6)
    torch.nn.functional.cross_entropy(model(bag).logits[None], torch.tensor([1])).backward()
    for step, attention in enumerate(model.zoom):
        for name, weight in attention.named_parameters():
            assert weight.grad is not None and weight.grad.isfinite().all()
            if name != "score.bias":  # a shift of all scores changes no selection
                assert weight.grad.abs().sum() > 0, f"{name} of step {step}"


@pytest.mark.parametrize("training", [True, False])
def test_patches_that_are_not_there_take_no_part(
    make_grid: Callable, make_bag: Callable, training: bool
) -> None:
    magnifications = (5.0, 10.0, 20.0)
    model = small(magnifications, 4).train(training)
    for keep in (0.3, 0.6):
        output = model(make_bag(make_grid(3, 4, magnifications, keep), 6))
        assert output.logits.isfinite().all()
        for step in output.steps:
            assert len(step.attention) == len(step.embeddings) <= max(12, 4 * 4)
            assert step.attention.isfinite().all()
            if not training:
                assert len(step.attention) == len(step.rows)


def test_training_asks_for_children_of_what_was_sampled_alone(
    make_grid: Callable, make_bag: Callable
) -> None:
    """At most samples · k parents can be sampled, of 1,600."""
    model, bag = small((5.0, 10.0), 3, samples=5), make_bag(make_grid(40, 40, (5.0, 10.0)), 6)
    step = model.train()(bag).steps[0]
    assert 3 <= len(step.zoomed) <= 15


def test_k_beyond_the_number_of_patches_takes_all(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small((5.0, 10.0, 20.0), 500), make_bag(make_grid(2, 3, (5.0, 10.0, 20.0)), 6)
    for training in (True, False):
        assert [len(step.rows) for step in model.train(training)(bag).steps] == [6, 24, 96]


def test_a_single_patch(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small((5.0, 10.0, 20.0), 4), make_bag(make_grid(1, 1, (5.0, 10.0, 20.0)), 6)
    for training in (True, False):
        assert model.train(training)(bag).logits.isfinite().all()


def test_the_published_saving_counts_patches(make_grid: Callable, make_bag: Callable) -> None:
    """62 patches at 1.25x with 64 descendants each at 10x; K = 8 (BRIGHT, Eff-ZoomMIL)."""
    exhaustive = make_grid(2, 31, (1.25, 10.0))
    assert [len(level) for level in exhaustive.levels] == [62, 3968]
    grid = make_grid(2, 31, (1.25, 2.5))
    recipe = entry("zoommil").recipe("bright-eff")
    model = ZoomMIL(6, 3, recipe.magnifications, ZoomMILOptions(**recipe.options)).eval()
    needed = model.patches_needed(tuple(len(level) for level in grid.levels), grid.ratios)
    assert sum(needed) == 62 + 8 * 4 == 94
    assert [len(step.rows) for step in model(make_bag(grid, 6)).steps] == list(needed)
    assert round(3968 / sum(needed), 1) == 42.2


@pytest.mark.parametrize("magnifications", LADDERS)
@pytest.mark.parametrize("k", [1, 5, 400])
def test_patches_needed_are_the_patches_looked_at(
    make_grid: Callable, make_bag: Callable, magnifications: tuple[float, ...], k: int
) -> None:
    grid = make_grid(3, 3, magnifications)
    model = small(magnifications, k).eval()
    needed = model.patches_needed(tuple(len(level) for level in grid.levels), grid.ratios)
    assert tuple(len(step.rows) for step in model(make_bag(grid, 6)).steps) == needed


def test_a_ranking_by_raster_position_is_kept(make_grid: Callable, make_bag: Callable) -> None:
    step = small((5.0, 10.0), 4).eval()(make_bag(make_grid(5, 5, (5.0, 10.0)), 6)).steps[0]
    assert (np.diff(step.zoomed) > 0).all()
    assert len(step.zoomed) == len(hard_topk(step.attention, 4))


def test_a_banded_product_is_the_whole_one_where_anything_was_sampled() -> None:
    torch.manual_seed(0)
    indicator, union = select(torch.rand(300), 70, samples=50)
    weights = torch.zeros(70, 300).index_copy(1, union, indicator).requires_grad_()
    values = torch.randn(300, 8, requires_grad=True)
    probe = torch.randn(70, 8)
    banded, whole = banded_product(weights, values, block=16), weights @ values
    assert torch.allclose(banded, whole, atol=1e-6)
    found, expected = (torch.autograd.grad((p * probe).sum(), (weights, values)) for p in (banded, whole))
    sampled = weights.detach() > 0
    assert torch.allclose(found[0][sampled], expected[0][sampled], atol=1e-6)
    assert torch.allclose(found[1], expected[1], atol=1e-6)
    assert (found[0] == 0).float().mean() > 0.5  # most of the product was never built


def test_single_patches_get_the_logits_that_a_pass_gives_them(
    make_grid: Callable, make_bag: Callable
) -> None:
    model, bag = small((5.0, 10.0)).eval(), make_bag(make_grid(3, 4, (5.0, 10.0)), 6)
    coarse, fine = model(bag).steps
    logits = model.attention_logits(0, bag.features(0, coarse.rows))
    torch.testing.assert_close(logits, coarse.scores)
    np.testing.assert_array_equal(hard_topk(logits[:, 1], 3), coarse.zoomed)
    torch.testing.assert_close(model.attention_logits(1, bag.features(1, fine.rows)), fine.scores)


@pytest.mark.parametrize(
    "options",
    [{"selection": name} for name in ("fixed", "random", "random-patches")]
    + [{"dual": False}, {"aggregation": "last"}, {"aggregation": "concatenation"}],
    ids=lambda options: "-".join(map(str, next(iter(options.items())))),
)
def test_variants_of_the_ablation_train_and_predict_the_same_again(
    make_grid: Callable, make_bag: Callable, options: dict[str, Any]
) -> None:
    model, bag = small((5.0, 10.0, 20.0), **options), make_bag(make_grid(3, 4, (5.0, 10.0, 20.0)), 6)
    model(bag).logits.sum().backward()
    learns = all(weight.grad is not None for head in model.zoom for weight in head.parameters())
    assert learns == ("selection" not in options or not len(model.zoom)), (
        "a gradient reaches it if it chooses"
    )
    first, again = (model.eval()(bag) for _ in range(2))
    assert torch.equal(first.logits, again.logits)
    assert [len(step.rows) for step in first.steps] == [12, 12, 12]
    again = create("zoommil", **model.config())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(bag).logits, first.logits)


def test_what_the_variants_read_and_classify(make_grid: Callable, make_bag: Callable) -> None:
    grid = make_grid(3, 4, (5.0, 10.0))
    bag = make_bag(grid, 6)
    drawn = [small((5.0, 10.0), selection=name).eval()(bag).steps for name in ("random", "random-patches")]
    assert np.array_equal(drawn[0][1].rows, grid.children(0, drawn[0][0].zoomed)), (
        "children of random patches"
    )
    assert len(np.unique(grid.levels[1].parent[drawn[1][1].rows])) > 3, "not all of three parents"
    single = small((5.0, 10.0), dual=False).eval()
    step = single(bag).steps[0]
    assert single.heads == ("attention",) and step.scores.shape == (12, 1)
    assert np.array_equal(step.zoomed, hard_topk(step.attention, 3).numpy())
    last = small((5.0, 10.0), aggregation="last").eval()(bag)
    assert all(one.evidence is None for one in last.steps)
    model = small((5.0, 10.0), aggregation="last").eval()
    finest = model(bag).steps[1]
    pooled = torch.softmax(finest.attention, 0) @ finest.embeddings
    assert torch.allclose(last.logits, model.classifier(pooled), atol=1e-6)
    wide = small((5.0, 10.0), aggregation="concatenation")
    assert wide.classifier.in_features == 16 and wide.eval()(bag).logits.shape == (3,)


def test_random_patches_are_as_many_as_the_children_of_so_many_patches(
    make_grid: Callable, make_bag: Callable
) -> None:
    grid = make_grid(6, 6, (5.0, 10.0, 20.0), 0.5)
    low, middle, high = map(len, grid.levels)
    model = small((5.0, 10.0, 20.0), selection="random-patches").eval()
    counts = [len(step.rows) for step in model(make_bag(grid, 6)).steps]
    assert counts == [low, round(3 * middle / low), round(3 * high / middle)] and counts[1] < 3 * 4

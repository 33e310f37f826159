from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from napari_zoommil.models import create
from napari_zoommil.models.clam import CLAMSB, smooth_top1_svm
from napari_zoommil.models.mil import MILOutput, Step
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Regression


def small(name: str, classes: int = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    return create(name, 6, classes, **{"hidden": 8, "attention": 5} | options).eval()


def test_the_published_size() -> None:
    assert sum(weight.numel() for weight in create("clam_sb", 1024, 2).parameters()) == 790_791
    # a column of attention more
    assert sum(weight.numel() for weight in create("clam_mb", 1024, 2).parameters()) == 790_791 + 257


def test_the_smooth_svm_is_its_definition() -> None:
    """Scores 2 and −1: log(e² + e⁰) − 2 for class 0, log(e³ + e⁻¹) + 1 for class 1."""
    scores = torch.tensor([[2.0, -1.0], [2.0, -1.0]])
    losses = [math.log(math.exp(2) + 1) - 2, math.log(math.exp(3) + math.exp(-1)) + 1]
    for label, loss in enumerate(losses):
        found = smooth_top1_svm(scores[:1], torch.tensor([label]))
        assert float(found) == pytest.approx(loss, rel=1e-6)
    assert float(smooth_top1_svm(scores, torch.tensor([0, 1]))) == pytest.approx(sum(losses) / 2, rel=1e-6)
    hinge = smooth_top1_svm(scores, torch.tensor([0, 1]), tau=1e-3)
    assert float(hinge) == pytest.approx((0 + 4) / 2, abs=1e-4), "without smoothing, the multi-class hinge"


@pytest.mark.parametrize("instance_loss", ["svm", "ce"])
@pytest.mark.parametrize("subtyping", [False, True])
def test_the_instance_loss_by_hand(instance_loss: Any, subtyping: bool) -> None:
    """Five patches, B = 2: highest are 3 and 0, lowest are 1 and 4."""
    model = small("clam_sb", 3, instance_loss=instance_loss, subtyping=subtyping, sampled=8)
    attention = torch.tensor([[2.0], [-3.0], [0.0], [5.0], [-1.0]])
    embeddings = torch.randn(5, 8)
    output = MILOutput(torch.zeros(3), (Step(0, torch.arange(5).numpy(), attention, embeddings),))
    loss = smooth_top1_svm if instance_loss == "svm" else F.cross_entropy
    label, expected = 1, []
    for number, classify in enumerate(model.instances):
        if number == label:
            expected.append(loss(classify(embeddings[[3, 0, 1, 4]]), torch.tensor([1, 1, 0, 0])))
        elif subtyping:
            expected.append(loss(classify(embeddings[[3, 0]]), torch.tensor([0, 0])))
    found = model.losses(output, torch.tensor(label), 0)
    torch.testing.assert_close(found["instance"], sum(expected) / (3 if subtyping else 1))
    torch.testing.assert_close(found["bag"], torch.tensor(math.log(3)))


def test_each_branch_chooses_its_own_instances() -> None:
    """The first branch ranks upwards, the second downwards."""
    model = small("clam_mb", instance_loss="ce", subtyping=True, sampled=1)
    attention, embeddings = torch.tensor([[0.0, 9.0], [1.0, 8.0], [2.0, 7.0]]), torch.randn(3, 8)
    output = MILOutput(torch.zeros(2), (Step(0, torch.arange(3).numpy(), attention, embeddings),))
    own = F.cross_entropy(model.instances[1](embeddings[[0, 2]]), torch.tensor([1, 0]))
    other = F.cross_entropy(model.instances[0](embeddings[[2]]), torch.tensor([0]))
    found = model.losses(output, torch.tensor(1), 0)["instance"]
    torch.testing.assert_close(found, (own + other) / 2)


def test_one_instance_has_no_instance_loss(make_grid: Callable, make_bag: Callable) -> None:
    model = small("clam_sb").train()
    losses = model.losses(model(make_bag(make_grid(1, 1, (20.0,)), 6)), torch.tensor(0), 0)
    assert float(losses["instance"]) == 0


def test_a_number_has_no_instance_loss(make_grid: Callable, make_bag: Callable) -> None:
    model = small("clam_mb", 1)
    model.task = Regression()
    output = model(make_bag(make_grid(2, 3, (20.0,)), 6))
    assert model.losses(output, torch.tensor(2.0), 0).keys() == {"bag"} and model.heads == ("value",)


def test_branches_are_the_classes(make_grid: Callable, make_bag: Callable) -> None:
    model = small("clam_mb", 3)
    model.task = Classification(("a", "b", "c"))
    assert model.heads == ("a", "b", "c") and small("clam_sb").heads == ("attention",)
    bag = make_bag(make_grid(4, 5, (20.0,)), 6)
    output = model(bag)
    (step,) = output.steps
    for number in range(3):
        pooled = step.scores[:, number].softmax(0) @ step.embeddings
        expected = model.classify.weight[number] @ pooled + model.classify.bias[number]
        torch.testing.assert_close(output.logits[number], expected)
    assert step.pooling == (0, 1, 2)


def test_it_is_that_of_torchmil(make_grid: Callable, make_bag: Callable) -> None:
    """torchmil tells two classes by one logit, sums both instance losses and takes B up to the bag's size.
    Its SVM adds up all pairs of instances, because targets have an axis too many; it is replaced."""
    models = pytest.importorskip("torchmil.models")
    ours: CLAMSB = small("clam_sb", subtyping=True, sampled=8, instance_loss="ce")
    theirs = models.CLAM_SB((6,), att_dim=5, k_sample=8, gated=True, feat_ext=ours.embed).eval()
    del theirs.inst_loss_fn
    theirs.inst_loss_fn = lambda scores, targets: F.cross_entropy(scores, targets[:, 0].long())
    layers = {"pool.fc1": ours.attend.value[0], "pool.fc_gated": ours.attend.gate[0]}
    layers |= {f"inst_classifiers.{number}": layer for number, layer in enumerate(ours.instances)}
    for name, layer in layers.items():
        theirs.get_submodule(f"{name}.module").load_state_dict(layer.state_dict())
    theirs.pool.fc2.weight.data = ours.attend.score.weight.data
    ours.attend.score.bias.data.zero_()
    theirs.classifier.module.weight.data = ours.classify.weight.data[1:]
    theirs.classifier.module.bias.data = ours.classify.bias.data[1:]
    bag = make_bag(make_grid(5, 8, (20.0,)), 6)
    features = torch.from_numpy(bag.arrays[0])[None]
    with torch.no_grad():
        output, (logit, scores) = ours(bag), theirs(features, return_att=True)
        torch.testing.assert_close(output.logits[1:], logit, atol=1e-5, rtol=0)
        torch.testing.assert_close(output.steps[0].attention, scores[0], atol=1e-5, rtol=0)
        for label in range(2):
            _, losses = theirs.compute_loss(torch.tensor([label]), features)
            own = ours.losses(output, torch.tensor(label), 0)["instance"]
            torch.testing.assert_close(2 * own, losses["InstLoss"], atol=1e-5, rtol=0)


def test_its_recipes_are_the_authors_and_the_papers() -> None:
    found = entry("clam_sb").recipes
    default = found["default"]
    assert (default.epochs, default.least_epochs, default.stop_after) == (200, 50, 20)
    assert (default.weight_decay, default.schedule, default.weighted) == (1e-5, "constant", False)
    assert default.loss_weights == {"bag": 0.7, "instance": pytest.approx(0.3)} and not default.options
    told = {
        name: (one.loss_weights["bag"], one.options["sampled"], one.options["instance_loss"], one.monitor)
        for name, one in found.items()
        if name != "default"
    }
    assert told == {
        "crc": (0.7, 8, "ce", "val_bag_loss"),
        "bright": (0.5, 32, "ce", "val_f1"),
        "camelyon16": (0.7, 32, "ce", "val_bag_loss"),
    }

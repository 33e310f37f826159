from __future__ import annotations

import pytest
import torch

from napari_zoommil.annotations import CLASS_CYCLE, CellClass
from napari_zoommil.cells.change_classes import with_classes
from napari_zoommil.cells.model import create_cell_model
from napari_zoommil.cells.outputs import BoxOutput, class_probabilities
from napari_zoommil.cells.spec import CellSpec

CONFIG = {
    "unet": {"width": 4, "padding": "same"},
    "yollo": {"width": 4, "anchors": ((20.0, 24.0), (40.0, 40.0))},
}


def classes(count: int) -> tuple[CellClass, ...]:
    return tuple(CellClass(f"class {number}", CLASS_CYCLE[number]) for number in range(count))


def spec_of(architecture: str, count: int) -> CellSpec:
    return CellSpec(architecture, CONFIG[architecture] | {"classes": count}, 0.5, classes(count))


@pytest.mark.parametrize("architecture", CONFIG)
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 3), (3, 1), (2, 4)])
def test_a_model_begins_with_what_it_knew(architecture: str, before: int, after: int) -> None:
    torch.manual_seed(0)
    spec = spec_of(architecture, before)
    network = create_cell_model(spec).eval()
    if before > 1:  # the classes agree, so that the probability of a cell has one meaning
        with torch.no_grad():
            for name, values in network.named_parameters():
                if name.startswith("head"):
                    kept = 4 if architecture == "yollo" else 0
                    scores = values.unflatten(0, (len(getattr(network, "anchors", [0])), -1))[:, kept + 1 :]
                    scores.copy_(scores[:, :1].expand_as(scores).clone())
    images = torch.rand(2, 3, 32, 40)
    new, described = with_classes(network, spec, classes(after))
    old_output, output = network(images), new.eval()(images)
    if isinstance(output, BoxOutput):
        assert torch.allclose(old_output.boxes, output.boxes, atol=1e-4)
        old_output, output = old_output.scores, output.scores
    old, probabilities = class_probabilities(old_output), class_probabilities(output)
    assert probabilities.shape[1] == after == len(described.classes) == described.config["classes"]
    assert torch.allclose(old.sum(1), probabilities.sum(1), atol=1e-5)
    if after != before:
        assert torch.allclose(probabilities, probabilities[:, :1].expand_as(probabilities), atol=1e-6)


def test_the_given_model_stays_as_it_is() -> None:
    spec = spec_of("unet", 1)
    network = create_cell_model(spec)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    new, _ = with_classes(network, spec, classes(2))
    with torch.no_grad():
        for value in new.parameters():
            value.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("last", [1, 3])
@pytest.mark.parametrize("architecture", CONFIG)
def test_classes_keep_their_outputs_in_another_order(architecture: str, last: int) -> None:
    spec = spec_of(architecture, 3)
    network = create_cell_model(spec).eval()
    turned = [classes(4)[i] for i in (2, 0, last)]  # the fourth is new: it takes what nobody has
    new, _ = with_classes(network, spec, turned)
    images = torch.rand(1, 3, 32, 40)
    before, after = (
        class_probabilities(out.scores if isinstance(out, BoxOutput) else out)
        for out in (network(images), new.eval()(images))
    )
    torch.testing.assert_close(after, before[:, [2, 0, 1]])

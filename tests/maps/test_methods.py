from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch

from napari_zoommil.maps.methods import METHODS, MethodName, title_of

COMPUTED = [name for name, method in METHODS.items() if method.computed and method.per_output]


def drained(run):  # type: ignore[no-untyped-def]
    told = []
    while True:
        try:
            told.append(next(run))
        except StopIteration as end:
            return told, end.value


def test_each_entry_is_what_commands_take() -> None:
    assert get_args(MethodName) == tuple(METHODS)
    assert all(method.name == name and method.help.endswith(".") for name, method in METHODS.items())
    assert all(bool(method.function) is method.computed for method in METHODS.values())
    assert [name for name, method in METHODS.items() if method.inside] == [
        "grad-cam",
        "saliency",
        "occlusion",
    ]
    assert [name for name, method in METHODS.items() if not method.signed] == [
        "attention", "saliency", "familiarity",
    ]  # fmt: skip
    assert [title_of(name) for name in ("attention", "zoom", "grad-cam", "occlusion-glass")] == [
        "attention", "zoom attention", "Grad-CAM", "occlusion by glass",
    ]  # fmt: skip


def test_they_are_listed_without_torch() -> None:
    code = "import sys, napari_zoommil.maps.methods; assert not {'torch', 'captum'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", COMPUTED)
def test_each_gives_a_score_of_each_output_for_each_patch(
    name: str, zooming: torch.nn.Module, bag_at: Callable, record: Callable
) -> None:
    recorded = record(zooming, bag_at(5.0, 10.0))
    told, found = drained(METHODS[name].load()(recorded))
    assert told and all(0 <= done < total for done, total, _ in told)
    steps = recorded.output.steps
    assert [one.level for one in found.patches] == [0, 1]
    for one, step in zip(found.patches, steps, strict=True):
        np.testing.assert_array_equal(np.sort(step.rows), one.rows)
        assert one.values.shape == (2, len(step.rows)) and one.values.dtype == np.float32
        assert np.isfinite(one.values).all() and np.ptp(one.values)
    assert [(one.kind, one.target, one.magnification) for one in found.maps] == [
        (name, target, magnification) for target in recorded.names for magnification in (5, 10)
    ]
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    assert all(not weight.requires_grad for weight in zooming.parameters())

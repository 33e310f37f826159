from __future__ import annotations

import pytest
import torch

from napari_zoommil.training.cells.averaging import averaged, share_of_training


@pytest.mark.parametrize(
    ("annotated", "trust", "share"), [(30, 30, 0.5), (90, 30, 0.75), (5, 0, 1.0), (0, 30, 1.0), (0, 0, 1.0)]
)
def test_the_share_grows_with_the_annotated_cells(annotated: int, trust: int, share: float) -> None:
    assert share_of_training(annotated, trust) == share


def test_weights_lie_between_both_and_counters_are_the_new_ones() -> None:
    before = {"weight": torch.tensor([0.0, 4.0]), "batches": torch.tensor(3)}
    after = {"weight": torch.tensor([2.0, 0.0]), "batches": torch.tensor(9)}
    found = averaged(before, after, 0.25)
    assert found["weight"].tolist() == [0.5, 3.0] and found["batches"].item() == 9
    for share, expected in ((0.0, before), (1.0, after)):
        torch.testing.assert_close(averaged(before, after, share)["weight"], expected["weight"])

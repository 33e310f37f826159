"""Costs measured on a small slide with small encoders, and the report of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from napari_zoommil.encoders import Encoder
from napari_zoommil.encoders.device import Device, choose_device
from napari_zoommil.encoders.encoder import Preprocessing
from napari_zoommil.errors import JobError
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.experiments.side_by_side import Standing
from napari_zoommil.experiments.zoom_efficiency import experiment, measuring, report
from napari_zoommil.experiments.zoom_efficiency.experiment import Extent
from napari_zoommil.experiments.zooming.published import CRC, DATA_SETS, DataSet
from napari_zoommil.experiments.zooming.scatter import Point, frontier
from napari_zoommil.jobs import Job, Progress, run
from napari_zoommil.synthetic import SyntheticSlide


class Mean(nn.Module):
    """Mean colour, widened."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.widen = nn.Linear(3, width)

    def forward(self, images: Tensor) -> Tensor:
        return self.widen(images.mean((2, 3)))


def small(width: int) -> Encoder:
    return Encoder("small", Mean(width), Preprocessing(), width, half=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One slide of the fortieth part of CRC's, and encoders that take no time."""
    for module in (measuring, report):
        monkeypatch.setattr(module, "load_encoder", lambda _: small(1024))
        monkeypatch.setattr(module, "resnet34", lambda: small(512))
    report.unit_costs.cache_clear()
    monkeypatch.setattr(experiment, "SyntheticSlide", partial(SyntheticSlide, texture_px=512))
    monkeypatch.setitem(experiment.EXTENTS, "cpu", Extent(("CRC",), 0.025, (0,)))
    yield
    report.unit_costs.cache_clear()


def test_what_is_measured_and_written(tmp_path: Path) -> None:
    result = run(reproduce("zoom-efficiency", out=tmp_path, device="cpu"))
    (piece,) = result.results["pieces"].values()
    low, middle, high = piece["levels"]
    assert low["patches"] < middle["patches"] < high["patches"] and high["tissue"] <= high["patches"]
    own = {report.label(row, CRC): one for row, one in zip(CRC.rows, piece["methods"], strict=True)}
    assert own["ABMIL (20x)"]["patches"] == 0, "its patches are those of the level"
    assert own["MaxMIL (20x)"]["patches"] == min(100, high["patches"])
    zoomed = own["ZoomMIL-Eff (5x → 10x)"]["patches"]
    assert 0 < zoomed <= middle["patches"] and zoomed <= 12 * 4
    assert own["DSMIL (5x + 10x + 20x)"]["multiply_adds"] > own["ABMIL (5x)"]["multiply_adds"] > 0

    rows = {row["method"]: row for row in result.results["summary"] if row["data"] == "CRC"}
    assert rows["ABMIL (20x)"]["measured"]["patches"][0] == high["tissue"]
    assert rows["ZoomMIL-Eff (5x → 10x)"]["measured"]["patches"][0] == low["patches"] + zoomed
    total = rows["DSMIL (5x + 10x + 20x)"]["measured"]
    assert total["patches"][0] == sum(one["patches"] for one in piece["levels"])
    parts = sum(total[name][0] for name in ("encode_s", "read_s", "model_s")) + piece["tissue_s"]
    assert total["total_s"][0] == pytest.approx(parts)
    assert len(result.results["summary"]) == sum(len(data.rows) for data in DATA_SETS.values())

    table = (tmp_path / "zoom-efficiency" / "table.md").read_text()
    assert "| 1 | CLAM-SB (20x) | 3,468 |" in table and "| 13.63 |" in table
    assert "| 2 | ZoomMIL-Eff (1.25x → 2.5x) | 94 |" in table, "counts of what is not measured here"
    assert "CLAM-SB (10x) over ZoomMIL-Eff (1.25x → 2.5x): 42.2 times the patches" in table
    assert ElementTree.parse(tmp_path / "zoom-efficiency" / "figure.svg").getroot().tag.endswith("svg")

    before = json.dumps(result.results)
    again = run(reproduce("zoom-efficiency", out=tmp_path, device="cpu")).results
    assert json.dumps(again) == before, "nothing is measured again"
    with pytest.raises(JobError, match="leave the data out"):
        run(reproduce("zoom-efficiency", out=tmp_path, data=tmp_path))


def test_slides_are_drawn_before_one_after_the_other_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(experiment.EXTENTS, "cpu", Extent(("CRC", "BRIGHT"), 1e-6, (0,)))
    monkeypatch.setattr(experiment, "processes", lambda device: 2)
    seen: list[str] = []

    def draw(work: Any, tasks: Any, count: int) -> Iterator[Standing]:
        seen.append(f"{count} drawn together: {', '.join(tasks)}")
        yield Standing(1.0, ())

    def measure(data: DataSet, path: Path, device: Device) -> Job[dict[str, Any]]:
        seen.append(f"{data.name} begins")
        yield Progress(0, 1, "patches")
        seen.append(f"{data.name} ends")
        return {}

    monkeypatch.setattr(experiment, "side_by_side", draw)
    monkeypatch.setattr(experiment, "measure", measure)
    monkeypatch.setattr(experiment, "_written", lambda out, preset, results: results)
    run(reproduce("zoom-efficiency", out=tmp_path))
    together = "2 drawn together: CRC/0, BRIGHT/0"
    assert seen == [together, "CRC begins", "CRC ends", "BRIGHT begins", "BRIGHT ends"]
    path = tmp_path / "pieces" / "zoom-efficiency" / "CRC_0.json"
    content = json.loads(path.read_text())
    assert content["made_with"]["device"] == str(choose_device("auto").torch)
    del content["made_with"]["at_once"]  # as written when slides were measured side by side
    path.write_text(json.dumps(content))
    with pytest.raises(JobError, match="has other settings"):
        run(reproduce("zoom-efficiency", out=tmp_path))


def test_times_are_medians_after_a_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass is waited for until its result is fetched, as on a GPU."""
    now, slow = [0.0], iter([100.0, 3.0, 1.0, 50.0])
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])

    class Pending:
        def cpu(self) -> None:
            now[0] += next(slow)

    assert measuring.typical_seconds(Pending) == 3.0  # type: ignore[arg-type]


def test_models_are_moved_to_the_device() -> None:
    """``meta`` stands for a GPU."""
    for row in CRC.rows[3:10]:
        model = measuring.model_of(row, CRC, torch.device("meta"))
        assert {weight.device.type for weight in model.parameters()} == {"meta"}


def test_the_frontier_is_what_nothing_beats() -> None:
    points = [Point("a", 1, 5), Point("b", 2, 4), Point("c", 3, 7), Point("d", 4, 7)]
    assert [one.name for one in frontier(points, fewer_is_better=True)] == ["a", "c"]
    assert [one.name for one in frontier(points, fewer_is_better=False)] == ["d"]

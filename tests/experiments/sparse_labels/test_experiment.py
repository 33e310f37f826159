"""The experiment on small made tiles: what is done once, is not done again, and says the same."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import pytest

from napari_zoommil.cli import main
from napari_zoommil.encoders.device import choose_device
from napari_zoommil.errors import CohortError, JobError
from napari_zoommil.experiments.data.nuclei import read_tiles, split_tiles
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.experiments.sparse_labels import experiment as module
from napari_zoommil.experiments.sparse_labels.settings import PRESETS, Preset, Trial
from napari_zoommil.experiments.sparse_labels.training import compute, fitted
from napari_zoommil.jobs import Progress, run
from napari_zoommil.training.cells.module import CellRecipe

T = TypeVar("T")

RECIPE = CellRecipe(epochs=2, draws=8, batch_size=4, accumulate=1, learning_rate=1e-2, crop=32)
TINY = Preset(
    networks={"unet": {"width": 4, "padding": "same"}, "yollo": {"width": 4}},
    recipes={"unet": RECIPE, "yollo": RECIPE},
    settings=("ce", "ece"),
    percents=(30, 100),
    seeds=(0, 1),
)


def ended(steps: Generator[Any, None, T]) -> T:
    """What a generator returns."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "cpu", TINY)
    monkeypatch.setattr(module, "processes", lambda _: 1)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the trials that are computed from now on."""
    names: list[str] = []

    def spy(trial: Trial, *arguments: Any) -> Generator:
        names.append(str(trial))
        return compute(trial, *arguments)

    monkeypatch.setattr(module, "compute", spy)
    return names


def one(trial: Trial, nuclei: Path, preset: Preset = TINY) -> dict[str, Any]:
    result = ended(compute(trial, preset, split_tiles(read_tiles(nuclei)), 0.25, choose_device("cpu")))
    del result["seconds"]
    return result


@pytest.mark.parametrize("model", ["unet", "yollo"])
def test_a_seed_says_the_same_again_and_another_says_something_else(model: str, nuclei: Path) -> None:
    first, again = (one(Trial(model, "ece", 30, 0), nuclei) for _ in range(2))
    assert first == again
    assert first["losses"] != one(Trial(model, "ece", 30, 1), nuclei)["losses"]


def test_a_cell_tells_what_it_learned_from(nuclei: Path) -> None:
    sparse, full = (one(Trial("unet", "ce", percent, 0), nuclei) for percent in (30, 100))
    assert (sparse["annotated"], full["annotated"]) == (4 * 3, 4 * 9)
    assert len(sparse["losses"]) == 2 and 8 < sparse["diameter_px"] < 12
    assert sparse["speed"]["progress"] == [0, 0.5, 1]
    assert all(value > 0 for value in sparse["speed"]["background"])


def test_exclusivity_keeps_background_from_driving_the_beginning(nuclei: Path) -> None:
    plain, exclusive = (one(Trial("unet", name, 30, 0), nuclei)["speed"] for name in ("ce", "ece"))
    assert exclusive["background"][0] < plain["background"][0] / 100
    assert exclusive["objects"][0] == pytest.approx(plain["objects"][0])


def test_crops_are_powers_of_two_that_the_smallest_tile_holds(nuclei: Path) -> None:
    tiles = read_tiles(nuclei)
    assert fitted(replace(RECIPE, crop=512), tiles).crop == 64
    small = replace(tiles[0], image=tiles[0].image[:40], instances=tiles[0].instances[:40])
    assert fitted(replace(RECIPE, crop=512), [*tiles, small]).crop == 32
    assert fitted(RECIPE, tiles) == RECIPE
    preset = replace(TINY, recipes=dict.fromkeys(TINY.recipes, replace(RECIPE, crop=512)))
    assert one(Trial("unet", "ece", 100, 0), nuclei, preset)["losses"]


def test_losses_with_a_memory_are_trained_too(nuclei: Path) -> None:
    found = one(Trial("unet", "elr-cifar10", 30, 0), nuclei)
    assert found["speed"] is None and 0 <= found["scores"]["dice"]["oracle"] <= 1
    assert found["losses"] != one(Trial("unet", "ce", 30, 0), nuclei)["losses"]


def test_all_cells_tables_and_figures(nuclei: Path, tmp_path: Path, computed: list[str]) -> None:
    seen: list[Progress] = []
    result = run(reproduce("sparse-labels", out=tmp_path, data=nuclei, device="cpu"), seen.append)
    assert computed == [str(trial) for trial in TINY.trials()] and len(computed) == 16
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert seen[-1].done == seen[-1].total and "16 of 16" in seen[-1].note
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == json.loads(json.dumps(result.results))
    assert len(results["trials"]) == 16
    dice = results["summary"]["unet"]["ece"]["30"]["dice"]["half"]
    values = [
        trial["scores"]["dice"]["half"]
        for trial in results["trials"]
        if (trial["model"], trial["setting"], trial["percent"]) == ("unet", "ece", 30)
    ]
    assert dice["seeds"] == 2 and dice["mean"] == pytest.approx(sum(values) / 2)
    assert dice["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    table = (tmp_path / "table.md").read_text()
    assert "| TNBC | ece | 0.80 | 0.83 | 0.82 |" in table and "| Kumar | ece-background |" in table
    assert f"| here | ece | {dice['mean']:.3f} ± {dice['sd']:.3f} |" in table
    gain = dice["mean"] - results["summary"]["unet"]["ce"]["30"]["dice"]["half"]["mean"]
    assert f"| ece | 30 % | {gain:+.3f} | – |" in table, "no weighted control here"
    for name in ("figure.svg", "learning-speed.svg"):
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
    assert [path.name for path in result.files] == [
        "results.json",
        "table.md",
        "figure.svg",
        "learning-speed.svg",
    ]


def test_what_is_done_is_not_done_again(nuclei: Path, tmp_path: Path, computed: list[str]) -> None:
    def go(*only: str) -> dict[str, Any]:
        computed.clear()
        return run(
            reproduce("sparse-labels", out=tmp_path, data=nuclei, only=list(only), device="cpu")
        ).results

    first = go("unet/ce/30/0")
    assert computed == ["unet/ce/30/0"] and len(first["trials"]) == 1
    before = (tmp_path / "trials" / "unet_ce_30_0.json").read_bytes()
    both = go("unet/ce,ece/30/0")
    assert computed == ["unet/ece/30/0"]
    assert [trial["setting"] for trial in both["trials"]] == ["ce", "ece"], "what was done before counts"
    assert go("unet/ce/30/0")["trials"] == both["trials"] and computed == []
    assert (tmp_path / "trials" / "unet_ce_30_0.json").read_bytes() == before


def test_a_run_that_is_cut_off_goes_on_with_the_cell_that_it_was_in(
    nuclei: Path, tmp_path: Path, computed: list[str]
) -> None:
    def start() -> Generator:
        return reproduce("sparse-labels", out=tmp_path, data=nuclei, only=["unet/ce/30"], device="cpu")

    job = start()
    while "2 of 2" not in next(job).note:
        pass
    job.close()
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["unet_ce_30_0.json"]
    assert not (tmp_path / "results.json").exists()
    computed.clear()
    assert len(run(start()).results["trials"]) == 2
    assert computed == ["unet/ce/30/1"]


def test_cells_side_by_side_say_what_they_say_one_by_one(
    nuclei: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(name: str) -> list[dict[str, Any]]:
        job = reproduce(
            "sparse-labels", out=tmp_path / name, data=nuclei, only=["unet,yollo/ece/30/0"], device="cpu"
        )
        return [{k: v for k, v in trial.items() if k != "seconds"} for trial in run(job).results["trials"]]

    one_by_one = go("one by one")
    monkeypatch.setattr(module, "processes", lambda _: 2)
    side_by_side = go("side by side")
    assert [trial["model"] for trial in side_by_side] == ["unet", "yollo"]
    for own, other in zip(side_by_side, one_by_one, strict=True):
        assert own["losses"] == pytest.approx(other["losses"], rel=1e-3), "but for the order of sums"


def test_results_of_other_settings_are_not_mixed_in(
    nuclei: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(reproduce("sparse-labels", out=tmp_path, data=nuclei, only=["unet/ce/30/0"], device="cpu"))
    with pytest.raises(JobError, match=r"unet_ce_30_0\.json has other settings"):
        run(reproduce("sparse-labels", out=tmp_path, data=nuclei, only=["unet/ce/30/0"], mpp=0.5))
    (tmp_path / "trials" / "unet_ce_30_0.json").write_text("{}")
    with pytest.raises(JobError, match="not the result of a trial"):
        run(reproduce("sparse-labels", out=tmp_path, data=nuclei, only=["unet/ce/30/0"]))


def test_errors_come_before_any_work(nuclei: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="sparse-labels"):
        run(reproduce("nothing", out=tmp_path))
    with pytest.raises(JobError, match="weighted-ce"):
        run(reproduce("sparse-labels", out=tmp_path / "a", data=nuclei, only=["unet/none"]))
    with pytest.raises(CohortError):
        run(reproduce("sparse-labels", out=tmp_path / "a", data=tmp_path))
    assert not (tmp_path / "a").exists()


def test_the_command(nuclei: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["reproduce", "sparse-labels", "--out", tmp_path, "--data", nuclei, "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--only", "yollo/ce/30/0", "--only", "unet/ce/100/1", "--json"])
    assert not end.value.code
    printed = json.loads(capsys.readouterr().out)
    assert [trial["model"] for trial in printed["trials"]] == ["unet", "yollo"]
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--only", "unet/none"])
    assert end.value.code == 1 and "error: 'none'" in capsys.readouterr().err

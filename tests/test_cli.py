"""The commands as a user runs them: results, one clear line on failure, a clean Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_zoommil
from napari_zoommil import cli
from napari_zoommil.cli import main


def call(*arguments: object) -> int:
    """Run a command in this process; returns its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def start(*arguments: object, **options) -> subprocess.Popen:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "napari_zoommil.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_info_prints_one_json_document(cmu: Path, capsys) -> None:
    assert call("info", cmu, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["height"], found["width"]) == (2967, 2220)
    assert found["mpp"] == [0.499, 0.499] and found["magnification"] == 20
    assert found["vendor"] == "aperio"


def test_info_names_the_flag_for_a_missing_resolution(data: Path, capsys) -> None:
    slide = data / "slides" / "yb10kx5k.zstd.tiff"
    assert call("info", slide) == 0
    assert "--mpp" in capsys.readouterr().out
    assert call("info", slide, "--mpp", 0.5, "--json") == 0
    assert json.loads(capsys.readouterr().out)["magnification"] == 20


def test_predict_writes_numbers_maps_and_patches(cmu: Path, tmp_path: Path, capsys) -> None:
    assert call("predict", cmu, "--model", "demo", "--out", tmp_path, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "prediction.json").read_text())
    assert sum(printed["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert [each["magnification"] for each in printed["magnifications"]] == [5, 10, 20]
    for name in ("attention-5x", "attention-10x", "attention-20x"):
        assert np.isfinite(tifffile.imread(tmp_path / f"{name}.ome.tiff")).any()
        size = Image.open(tmp_path / f"{name}.png").size
        assert size[0] > 898 and size[1] > 1200, "with title and legend"
    patches = json.loads((tmp_path / "patches.geojson").read_text())["features"]
    assert len(patches) == sum(each["encoded"] for each in printed["magnifications"])
    measured = patches[0]["properties"]["measurements"].keys()
    assert {
        "attention",
        "zoom attention",
        "evidence tumour (logit)",
        "leave-one-out tumour (logit)",
    } <= measured


@pytest.fixture
def without_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results without their maps, which take most of the time of a small slide."""
    monkeypatch.setattr("napari_zoommil.jobs.prediction_files.write_maps", lambda *_: [])


def test_twins_of_a_slide_agree_and_get_a_folder_each(
    data: Path, tmp_path: Path, without_maps: None, capsys
) -> None:
    twins = [data / "slides" / f"CMU-1-Small-Region{end}" for end in (".svs", ".ome.zarr", "_dicom")]
    assert call("predict", *twins, "--out", tmp_path, "--json") == 0
    chances = [each["probabilities"]["tumour"] for each in json.loads(capsys.readouterr().out)]
    np.testing.assert_allclose(chances, [chances[0]] * 3, atol=0.02)
    assert len(list(tmp_path.glob("*/prediction.json"))) == 3


@pytest.mark.parametrize("command", ["predict", "explain", "detect"])
def test_whether_results_can_be_kept_is_asked_before_any_work(
    command: str, cmu: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        pytest.fail("it was worked before")

    for name in ("cells", "predict"):  # whose commands are made of the jobs
        import_module(f"napari_zoommil.commands.{name}")
    monkeypatch.setattr(f"napari_zoommil.jobs.{command}", work)
    (tmp_path / "file").write_text("")
    method = ["--method", "attention"] if command == "explain" else []
    assert call(command, cmu, *method, "--out", tmp_path / "file" / "a.geojson") == 1
    assert "cannot be a folder, because" in capsys.readouterr().err


def test_many_slides_get_a_folder_each_and_one_bad_one_stops_none(
    cmu: Path, data: Path, tmp_path: Path, without_maps: None, capsys
) -> None:
    code = call("predict", data / "odd" / "notanimage.txt", cmu, "--out", tmp_path)
    assert code == 1
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error:")]
    assert "notanimage.txt" in line
    assert (tmp_path / "CMU-1-Small-Region" / "prediction.json").is_file()


def test_a_cohort_stands_for_its_slides(cmu: Path, tmp_path: Path, without_maps: None, capsys) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text(f"slide,label\n{cmu},a\n")
    assert call("predict", table, "--out", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["slide"] == cmu.name


def test_explain_writes_the_maps_of_a_class(cmu: Path, tmp_path: Path, capsys) -> None:
    assert call("explain", cmu, "--method", "grad-cam", "--target", "normal", "--out", tmp_path) == 0
    assert {path.name for path in tmp_path.glob("*.ome.tiff")} == {
        f"grad-cam-normal-{name}.ome.tiff" for name in ("5x", "10x", "20x")
    }
    patches = json.loads((tmp_path / "patches-grad-cam.geojson").read_text())["features"]
    assert {"attention", "Grad-CAM normal (logit)", "Grad-CAM tumour (logit)"} <= patches[0]["properties"][
        "measurements"
    ].keys()
    assert call("explain", cmu, "--target", "kidney", "--out", tmp_path) == 1
    assert "normal, tumour" in capsys.readouterr().err


def test_models_are_listed_with_options_and_recipes(capsys) -> None:
    assert call("models", "--json") == 0
    (zoommil,) = [one for one in json.loads(capsys.readouterr().out) if one["model"] == "zoommil"]
    assert zoommil["options"]["k"]["default"] == 16 and "zoomed into" in zoommil["options"]["k"]["help"]
    assert zoommil["recipes"][:2] == ["default", "crc"] and zoommil["scales"] == "nested"
    assert call("models") == 0
    printed = capsys.readouterr().out
    assert "--set k=16  Patches zoomed into at each step." in printed and "Thandiackal" in printed


def test_embed_is_resumed_and_takes_other_patches_too(cmu: Path, tmp_path: Path, capsys) -> None:
    arguments = ("embed", cmu, "--encoder", "mean-rgb", "--magnifications", "5,10", "--store", tmp_path)
    assert call(*arguments, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["encoded"] == first["total"] > 0
    assert call(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["encoded"] == 0
    assert call(*arguments, "--patch-size", 128) == 0
    assert "patches encoded now" in capsys.readouterr().out
    assert call("predict", cmu, "--out", tmp_path / "out", "--store", tmp_path) == 0
    (tmp_path / "in-the-way").write_text("a file")
    assert call("predict", cmu, "--out", tmp_path / "out", "--store", tmp_path / "in-the-way") == 0
    printed = capsys.readouterr()
    assert "warning: CMU-1-Small-Region.svs: features cannot be stored in" in printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("info", "absent.svs"), "there is no slide"),
        (("predict", "absent.svs", "--out", "out"), "there is no slide"),
        (("predict", "{cmu}", "--model", "absent", "--out", "out"), "there is no model"),
        (("predict", "{cmu}", "--device", "warp", "--out", "out"), "'warp'"),
        (("embed", "{cmu}", "--encoder", "absent", "--store", "s"), "there is no encoder"),
        (("embed", "{cmu}", "--magnifications", "5,40", "--store", "s"), "40x"),
        (("train", "absent.csv", "--store", "s", "--out", "m"), "absent.csv"),
        (("train", "absent.csv", "--store", "s", "--out", "m", "--set", "k=x"), "k = 'x'"),
        (("train", "absent.csv", "--store", "s", "--out", "m", "--model", "mil"), "no model 'mil'"),
        (("open", "absent.svs"), "there is no slide"),
    ],
)
def test_failures_are_one_clear_line(arguments, said, cmu: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*(str(argument).format(cmu=cmu) for argument in arguments)) == 1
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.strip()]
    assert lines[-1].startswith("error: ") and said in lines[-1]
    assert "Traceback" not in printed.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_ends_a_run_within_a_batch(cmu: Path, tmp_path: Path) -> None:
    def listening() -> None:  # where the tests run in the background, children inherit that it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if hasattr(os, "sched_setaffinity"):  # on one core the run is long enough to be met half way
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    options = {"start_new_session": True, "preexec_fn": listening}
    process = start("embed", cmu, "--encoder", "resnet50-random", "--store", tmp_path, **options)
    while process.poll() is None and not any(tmp_path.iterdir()):  # Python itself dies of an early one
        time.sleep(0.05)
    time.sleep(random.uniform(0, 2))
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "cancelled" and "Traceback" not in err


def test_an_error_that_ctrl_c_causes_is_no_error(capsys, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise RuntimeError("cannot schedule new futures after shutdown") from error

    monkeypatch.setattr("napari_zoommil.cli.app", interrupted)
    assert call("doctor") == 130
    assert capsys.readouterr().err == "cancelled\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_without_a_display_open_says_what_to_do(cmu: Path, monkeypatch, capsys) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert call("open", cmu) == 1
    said = capsys.readouterr().err
    assert "there is no display" in said and "Traceback" not in said


def test_doctor_finds_nothing_wrong_here(capsys) -> None:
    assert call("doctor") == 0
    assert "FAIL" not in capsys.readouterr().out


@pytest.fixture
def damaged(tmp_path: Path, cmu: Path) -> Path:
    """The real slide with two tiles zeroed."""
    path = tmp_path / "damaged.svs"
    path.write_bytes(cmu.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        places = [(page.dataoffsets[index], page.databytecounts[index]) for index in (34, 51)]
    with path.open("r+b") as file:
        for offset, count in places:
            file.seek(offset)
            file.write(bytes(count))
    return path


def test_damaged_tiles_are_counted_and_the_run_goes_on(
    damaged: Path, cmu: Path, tmp_path: Path, without_maps: None, capsys
) -> None:
    assert call("predict", damaged, cmu, "--out", tmp_path / "out", "--json") == 0
    printed = capsys.readouterr()
    assert [each["damaged_tiles"] for each in json.loads(printed.out)] == [2, 0]
    warned = [line for line in printed.err.splitlines() if "do not rely on this" not in line]
    assert warned == ["warning: damaged.svs: 2 damaged tiles, read as background"]
    assert call("embed", damaged, "--store", tmp_path / "store", "--json") == 0
    assert json.loads(capsys.readouterr().out)["damaged_tiles"] == 2


def test_a_colour_profile_is_applied_on_request(
    data: Path, tmp_path: Path, without_maps: None, capsys
) -> None:
    slide = data / "slides" / "CMU-1-Small-Region_dicom"
    assert call("info", slide, "--json") == 0
    assert json.loads(capsys.readouterr().out)["icc"]
    prints = []
    for option in ("--icc", "--no-icc"):
        assert call("predict", slide, "--out", tmp_path, "--json", option) == 0
        prints.append(json.loads(capsys.readouterr().out)["fingerprint"])
    assert prints[0] != prints[1]  # results of other pixels are told apart


def test_pictures_are_slides_of_one_level(tmp_path: Path, cmu: Path, without_maps: None, capsys) -> None:
    with napari_zoommil.Slide.open(cmu) as slide:
        Image.fromarray(slide.read_level(0, 0, 0, 1500, 1500)).save(tmp_path / "field.png")
    assert call("predict", tmp_path / "field.png", "--out", tmp_path / "out") == 1
    assert "--mpp" in capsys.readouterr().err
    assert call("predict", tmp_path / "field.png", "--mpp", 0.5, "--out", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["magnifications"][0]["patches"] > 0


@pytest.mark.parametrize("why", [KeyboardInterrupt, OSError])
def test_nothing_is_said_of_reads_that_are_cut_off(why: type[BaseException], monkeypatch, caplog) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise why

    def abandon() -> str:
        """End a loop with a task that waits, as zarr's is when the process ends."""
        caplog.clear()
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(asyncio.sleep(9))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del waiting, loop
        gc.collect()
        return caplog.text

    monkeypatch.setattr(cli, "app", interrupted)
    logger = logging.getLogger("asyncio")
    before = logger.level
    try:
        logger.setLevel(logging.NOTSET)  # commands in this process that failed before have changed it
        assert "destroyed" in abandon()
        assert call("info") > 0
        assert not abandon()
    finally:
        logger.setLevel(before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can handle")
def test_what_slurm_sends_ends_a_run_as_ctrl_c_does(cmu: Path, tmp_path: Path) -> None:
    process = start("embed", cmu, "--encoder", "resnet50-random", "--store", tmp_path, start_new_session=True)
    while process.poll() is None and not any(tmp_path.iterdir()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert err.splitlines()[-1] == "cancelled" and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            MemoryError(),
            "error: there is not enough memory for this; close other programs, or take a smaller",
        ),
        (ValueError("who expects that"), "error: ValueError: who expects that (cli.py, line "),
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
    ],
    ids=["memory", "unexpected", "disk"],
)
def test_every_error_is_one_line(error: Exception, said: str, capsys, monkeypatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("napari_zoommil.cli.app", failing)
    assert call("doctor") == 1
    printed = capsys.readouterr().err
    assert printed.startswith(said) and len(printed.splitlines()) == 1

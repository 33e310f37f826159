from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells.metrics import centre_score
from napari_zoommil.cells.model import find, load_cell_model
from napari_zoommil.errors import AnnotationError, FileError, MagnificationError, ModelError
from napari_zoommil.jobs import Progress, detect, finetune, run
from napari_zoommil.slides import Slide
from napari_zoommil.training.cells import presets
from napari_zoommil.training.cells.module import CellModule, CellRecipe
from napari_zoommil.training.run import CHECKPOINT, CURVES, LOCK, RUN, is_trained

QUICK = CellRecipe(
    epochs=3, draws=16, batch_size=8, accumulate=1, learning_rate=1e-2, crop=96, background=1.0, stained=False
)
CHILD = """
import sys
from pathlib import Path
from napari_zoommil.jobs import finetune
from napari_zoommil.training.cells import presets
from napari_zoommil.training.cells.module import CellRecipe
slide, points, model, out = sys.argv[1:]
presets.PRESETS["interactive"] = eval(sys.stdin.readline())
for progress in finetune(Path(slide), Path(points), model, out=Path(out), device="cpu", threads=1):
    print(progress.note, flush=True)
"""
WHOLE = np.array([[0.0, 0.0], [0.0, 800.0], [640.0, 800.0], [640.0, 0.0]])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "interactive", QUICK)


@pytest.fixture
def points(discs: tuple[Path, np.ndarray]) -> Points:
    """A third of the discs."""
    found = Points(classes=[CellClass("disc", (0, 114, 178), 10.0), CellClass("unused", (1, 2, 3))])
    found.add(discs[1][::3], 1)
    return found


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def test_points_teach_a_model_that_finds_the_others(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    left = discs[1][discs[1][:, 1] < 300]
    points.remove(points.ids)
    points.add(left, 1)
    points.add_complete([(0, 0), (0, 285), (640, 285), (640, 0)])
    seen = []
    settings = {"epochs": 50, "learning_rate": 3e-3, "device": "cpu"}
    result = run(finetune(discs[0], points, make_cell_model(), out=tmp_path / "new", **settings), seen.append)
    assert result.points == {"disc": len(left), "unused": 0} and result.held_out >= 1
    assert seen[-1].done == seen[-1].total and "measuring the model after" in seen[-1].note
    assert any("epoch 50 of 50" in one.note for one in seen)
    _, spec = load_cell_model(result.model)
    assert [one.name for one in spec.classes] == ["disc"]
    assert result.metrics["f1_complete"] > result.metrics["before_f1_complete"]
    found = run(detect(discs[0], str(result.model), regions=[WHOLE], device="cpu")).finds
    score = centre_score(discs[1], found.centres[found.scores >= spec.threshold], 10)
    assert score.f1 > 0.9, "also where nothing was marked"


def test_a_run_is_a_folder(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    points.write(tmp_path / "points.geojson")
    run(
        finetune(discs[0], tmp_path / "points.geojson", make_cell_model(), out=tmp_path / "new", device="cpu")
    )
    about = json.loads((tmp_path / "new" / RUN).read_text())
    assert about["points"]["disc"] == 16 and about["settings"]["loss"] == "ece" and about["metrics"]
    assert "discs" not in (tmp_path / "new" / RUN).read_text(), "a slide's name can tell who the patient is"
    rows = list(csv.DictReader((tmp_path / "new" / CURVES).open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"] and float(rows[0]["train_loss"]) > 0
    assert "disc" in (tmp_path / "new" / "README.md").read_text()
    left = {path.name for path in (tmp_path / "new").iterdir()}
    assert left == {"config.json", "model.safetensors", "README.md", RUN, CURVES}


@pytest.mark.parametrize(("architecture", "config"), [("yollo", {}), ("unet", {"padding": "same"})])
def test_a_run_that_was_cut_off_ends_as_an_unbroken_one(
    discs: tuple[Path, np.ndarray],
    points: Points,
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    architecture: str,
    config: dict,
) -> None:
    model = make_cell_model(architecture, **config)
    whole = run(finetune(discs[0], points, model, out=tmp_path / "whole", device="cpu"))
    broken = finetune(discs[0], points, model, out=tmp_path / "broken", device="cpu")
    for progress in broken:
        if progress.note.startswith("epoch 3"):
            break
    broken.close()
    assert (tmp_path / "broken" / CHECKPOINT).exists()
    about = json.loads((tmp_path / "broken" / RUN).read_text())
    (tmp_path / "broken" / RUN).write_text(json.dumps(about | {"versions": {"torch": "older"}}))
    with (tmp_path / "broken" / CURVES).open("a") as curves:
        curves.write("2,9,9,9,\n")  # as after a kill between this line and the checkpoint
    seen = []
    resumed = finetune(discs[0], points, model, out=tmp_path / "broken", resume=True, device="cpu")
    result = run(resumed, seen.append)
    assert not any(one.note.startswith("epoch 1 ") for one in seen)
    before, seen[:] = weights(tmp_path / "broken"), []
    again = finetune(discs[0], points, model, out=tmp_path / "broken", resume=True, device="cpu")
    assert run(again, seen.append) == replace(result, seconds=0.0, trained_before=True)
    assert seen[-1].note.endswith("finished") and not any("epoch" in one.note for one in seen)
    unlike = {"resume": True, "device": "cpu", "seed": 1}
    with pytest.raises(ModelError, match="other data, settings or model"):
        run(finetune(discs[0], points, model, out=tmp_path / "broken", **unlike))
    assert all(np.array_equal(one, weights(tmp_path / "broken")[name]) for name, one in before.items())
    after, expected = weights(tmp_path / "broken"), weights(tmp_path / "whole")
    assert all(np.array_equal(after[name], expected[name]) for name in expected)
    assert result.metrics == whole.metrics
    texts = [(tmp_path / name / CURVES).read_text() for name in ("broken", "whole")]
    assert texts[0] == texts[1]


def test_a_training_that_was_killed_ends_as_an_unbroken_one(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    marked, model = tmp_path / "points.geojson", make_cell_model()
    points.write(marked)
    alike = {"device": "cpu", "threads": 1}  # sums of several threads may differ in their last digit
    whole = run(finetune(discs[0], marked, model, out=tmp_path / "whole", **alike))
    arguments = [sys.executable, "-c", CHILD, *map(str, (discs[0], marked, model, tmp_path / "broken"))]
    child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    print(QUICK, file=child.stdin, flush=True)
    assert any(line.startswith("epoch 3") for line in child.stdout)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    result = run(finetune(discs[0], marked, model, out=tmp_path / "broken", resume=True, **alike))
    assert result.metrics == whole.metrics
    after, expected = weights(tmp_path / "broken"), weights(tmp_path / "whole")
    assert all(np.array_equal(after[name], expected[name]) for name in expected)


def test_another_run_is_not_gone_on_with(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    model = make_cell_model()
    broken = finetune(discs[0], points, model, out=tmp_path / "new", device="cpu")
    for progress in broken:
        if progress.note.startswith("epoch 2"):
            break
    broken.close()
    points.add(discs[1][1], 1)
    with pytest.raises(ModelError, match="other data"):
        run(finetune(discs[0], points, model, out=tmp_path / "new", resume=True, device="cpu"))


def test_two_classes_make_two_outputs(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    points.add(discs[1][1::3], 2)
    result = run(finetune(discs[0], points, make_cell_model(), out=tmp_path / "new", device="cpu"))
    network, _ = load_cell_model(result.model)
    assert [one.name for one in result.classes] == ["disc", "unused"] and network.channels == 3
    again = run(finetune(discs[0], points, str(result.model), out=tmp_path / "again", device="cpu"))
    rates = [json.loads((one.model / RUN).read_text())["settings"]["head_rate"] for one in (result, again)]
    assert rates == [presets.NEW_CLASSES, 1], "classes that are new are learnt faster than known ones"


@pytest.mark.parametrize("loss", ["ce", "ece-margin", "weighted-ce", "focal"])
def test_every_loss_serves(
    discs: tuple[Path, np.ndarray],
    points: Points,
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    loss: str,
) -> None:
    job = finetune(
        discs[0], points, make_cell_model(), out=tmp_path / "new", loss=loss, epochs=1, device="cpu"
    )
    assert run(job).metrics


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was worked on, one by one: windows read and looked at, batches trained on."""
    done: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            result = real(*given, **options)
            done.append(name)
            return result

        return call

    monkeypatch.setattr(Slide, "read", counted("read", Slide.read))
    monkeypatch.setattr("napari_zoommil.training.cells.scores.find", counted("look", find))
    monkeypatch.setattr(CellModule, "loss_of", counted("train", CellModule.loss_of))
    return done


PHASES = {
    "reading": "read",
    "measuring the model before": "look",
    "measuring the sizes of annotated cells": "look",
    "epoch": "train",
    "measuring the number of cells": "look",
    "measuring the model after": "look",
}
"""What a fine-tuning tells, in order, and what it works on meanwhile."""


def phase_of(progress: Progress) -> str:
    return next((one for one in PHASES if progress.note.startswith(one)), "")


def test_every_window_and_batch_is_told(
    discs: tuple[Path, np.ndarray],
    points: Points,
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    units: list[str],
) -> None:
    told: list[tuple[str, list[str]]] = []
    reports = {"train": 0, "look": 0}

    def follow(progress: Progress) -> None:
        told.append((phase_of(progress), units[sum(len(new) for _, new in told) :]))
        if progress.partial is not None:
            reports["look" if progress.partial.validated else "train"] += 1

    result = run(finetune(discs[0], points, make_cell_model(), out=tmp_path / "new", device="cpu"), follow)
    order = list(dict.fromkeys(phase for phase, _ in told if phase))
    assert order == list(PHASES) and result.held_out > 0
    for phase, new in told:
        assert phase == "epoch" or new in ([], [PHASES.get(phase)]), "one at a time"
    fitted = [unit for phase, new in told for unit in new if phase == "epoch"]
    assert fitted.count("train") == reports["train"] == 3 * 2
    # A fit runs ahead of who follows it, and tells once more what was measured.
    assert fitted.count("look") == 3 * result.held_out == reports["look"] - 3
    assert units.count("read") > result.windows, "also elsewhere, to count cells"


@pytest.mark.parametrize("phase", ["", *PHASES, "measured"])
def test_it_is_cancelled_at_any_moment(
    discs: tuple[Path, np.ndarray],
    points: Points,
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    units: list[str],
    phase: str,
) -> None:
    out, model = tmp_path / "new", make_cell_model()
    job = finetune(discs[0], points, model, out=out, device="cpu")
    for progress in job:
        if phase in ("measured", phase_of(progress)) and (phase != "measured" or phase in progress.note):
            break
    before = len(units)
    job.close()
    assert len(units) <= before + 6, "a fit runs up to its queue ahead"
    assert not is_trained(out) and not list(tmp_path.rglob("*.part"))
    if phase in ("measuring the number of cells", "measuring the model after"):
        assert {path.name for path in out.iterdir()} == {RUN, CURVES, CHECKPOINT, LOCK}
        assert run(finetune(discs[0], points, model, out=out, resume=True, device="cpu")).model == out
    else:
        assert not out.exists(), "there is nothing to go on from"


def test_an_unpadded_network_is_taught_and_measured_where_it_has_output(
    discs: tuple[Path, np.ndarray],
    points: Points,
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taught: list[tuple[int, ...]] = []
    real = CellModule.loss_of

    def watched(module: CellModule, images: Any, targets: Any, *others: Any) -> Any:
        taught.append(tuple(targets.shape[1:]))
        assert (targets > 0).any(), "a batch shows what is marked"
        return real(module, images, targets, *others)

    monkeypatch.setattr(CellModule, "loss_of", watched)
    model = make_cell_model("unet", padding="valid", width=2)
    result = run(finetune(discs[0], points, model, out=tmp_path / "new", device="cpu"))
    assert set(taught) == {(100, 100)}, "QUICK.crop, and what the network makes of it"
    assert json.loads((result.model / RUN).read_text())["settings"]["crop"] == 100 + 2 * 92
    assert 0 <= result.metrics["exclusive_recall"] <= 1 and result.held_out > 0
    network, spec = load_cell_model(result.model)
    assert network.padding == "valid" and spec.threshold == 0.5
    assert run(detect(discs[0], str(result.model), regions=[WHOLE], device="cpu")).area_mm2 > 0


def test_points_off_the_slide_are_left_out_and_told(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    model, marked = make_cell_model(), len(points)
    points.add([(-40.0, 100.0), (100.0, 900.0), (2000.0, 2000.0)], 2)
    points.add([(-1.0, 5.0)], 1)
    result = run(finetune(discs[0], points, model, out=tmp_path / "new", epochs=1, device="cpu"))
    assert result.points == {"disc": marked, "unused": 0} and result.off_slide == 4
    assert [one.name for one in result.classes] == ["disc"] and len(points) == marked + 4
    network, _ = load_cell_model(result.model)
    assert network.channels == 1, "a class without a point on the slide is no output"
    points.remove(points.ids[:marked])
    with pytest.raises(AnnotationError, match="all 4 are outside its 800 × 640 px"):
        run(finetune(discs[0], points, model, out=tmp_path / "none", device="cpu"))


def test_a_slide_that_was_scanned_too_coarsely_is_refused(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(MagnificationError, match="this cell model needs 1 µm/px or finer"):
        run(finetune(discs[0], points, make_cell_model(), out=tmp_path / "new", mpp=2.0, device="cpu"))
    assert not (tmp_path / "new").exists()


def test_where_one_may_not_write_nothing_is_begun(
    discs: tuple[Path, np.ndarray], points: Points, make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    job = finetune(discs[0], points, make_cell_model(), out=tmp_path / "file" / "new", device="cpu")
    with pytest.raises(FileError, match="cannot be made"):
        next(job)
    assert (tmp_path / "file").read_text() == "kept"


def test_without_points_there_is_nothing_to_learn(
    discs: tuple[Path, np.ndarray], make_cell_model: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(AnnotationError, match=r"no points on discs\.tif to train on; add a few first"):
        run(finetune(discs[0], Points(), make_cell_model(), out=tmp_path / "new", device="cpu"))
    assert not (tmp_path / "new").exists()


def test_a_device_without_memory_is_told(
    discs: tuple[Path, np.ndarray],
    points: Points,
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_much(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(CellModule, "loss_of", too_much)
    with pytest.raises(ModelError, match="cpu has too little memory for training"):
        run(finetune(discs[0], points, make_cell_model(), out=tmp_path / "new", device="cpu"))

"""``train`` as a user runs it."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_zoommil.cli import main
from napari_zoommil.jobs import train
from napari_zoommil.training.flags import TrainerFlags
from napari_zoommil.training.run import provenance_of, read_curves

COLOURS = {"blue": (120, 90, 200), "pink": (215, 110, 160)}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    lines = ["slide,label,split"]
    for label, colour in COLOURS.items():
        for number, split in enumerate(("train", "train", "train", "val")):
            make_slide(folder / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    return folder / "cohort.csv"


def call(cohort: Path, out: Path, *more: object) -> int:
    """Train on a cohort; returns the command's exit code."""
    settings = ("--encoder", "mean-rgb", "--magnifications", "5,10", "--patch-size", 32, "--set", "k=2")
    where = ("--store", cohort.parent / "features", "--out", out, "--device", "cpu", "--json")
    asked = ("train", cohort, *settings, *where, "--learning-rate", 3e-3, "--epochs", 4, *more)
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in asked])
    return int(end.value.code or 0)


def val_losses(folder: Path) -> list[float]:
    return [line["val_loss"] for line in read_curves(folder)]


def test_half_precision(cohort: Path, tmp_path: Path, capsys) -> None:
    assert call(cohort, tmp_path / "single") == 0
    assert json.loads(capsys.readouterr().out)["trained_before"] is False
    assert call(cohort, tmp_path / "single", "--resume") == 0
    assert json.loads(capsys.readouterr().out)["trained_before"] is True
    assert call(cohort, tmp_path / "half", "--devices", 1, "--precision", "bf16-mixed") == 0
    assert capsys.readouterr().err == ""
    single, half = (val_losses(tmp_path / name) for name in ("single", "half"))
    assert single != half and half == pytest.approx(single, rel=0.25), "the same, but for its digits"
    assert provenance_of(tmp_path / "half")["flags"]["precision"] == "bf16-mixed"


def test_two_processes_learn_what_one_does_from_two_slides_a_step(
    cohort: Path, tmp_path: Path, capfd
) -> None:
    import lightning  # noqa: F401  (which sets a variable of torch)

    quiet = ("--set", "dropout=0")
    environment = dict(os.environ)
    assert call(cohort, tmp_path / "one", *quiet, "--accumulate", 2) == 0
    assert call(cohort, tmp_path / "two", *quiet, "--devices", 2) == 0
    assert os.environ == environment and not multiprocessing.active_children()
    told = [line for line in capfd.readouterr().err.splitlines() if "numcodecs" not in line]
    assert not told, "processes tell nothing of themselves"
    one, two = (val_losses(tmp_path / name) for name in ("one", "two"))
    assert len(two) == 4 and two == pytest.approx(one, rel=5e-3)  # but for the noise of where to zoom
    assert provenance_of(tmp_path / "one")["settings"]["accumulate"] == 2


def test_a_training_starts_from_a_model(cohort: Path, tmp_path: Path, capsys) -> None:
    assert call(cohort, tmp_path / "first") == 0
    again = (
        "train",
        cohort,
        "--store",
        cohort.parent / "features",
        "--from",
        tmp_path / "first",
        "--epochs",
        1,
    )
    for more, code in (
        (("--out", tmp_path / "second"), 0),
        (("--out", tmp_path / "no", "--model", "abmil"), 1),
    ):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in (*again, *more)])
        assert (end.value.code or 0) == code
    assert provenance_of(tmp_path / "second")["from"]["model"] == "first"
    assert provenance_of(tmp_path / "second")["options"]["k"] == 2
    assert "has the architecture zoommil, but the training was given abmil" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (("--strategy", "ddp"), 1, "'ddp' is no strategy of a training"),
        (("--precision", "16-mixed"), 1, "a CPU does not train in 16-mixed"),
        (("--precision", "8"), 2, "Choose from"),
        (("--devices", "0"), 2, "Must be >= 1"),
        (("--num-nodes", "2"), 2, "--num-nodes"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    given: tuple[str, ...], code: int, said: str, cohort: Path, tmp_path: Path, capsys
) -> None:
    assert call(cohort, tmp_path / "new", *given) == code
    told = capsys.readouterr()
    assert said in " ".join((told.out + told.err).replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_closing_ends_the_processes(cohort: Path, tmp_path: Path) -> None:
    job = train(
        cohort, store=cohort.parent / "features", out=tmp_path / "new", encoder="mean-rgb", device="cpu",
        magnifications=(5.0, 10.0), patch_size=32, options={"k": 2}, epochs=1000,
        flags=TrainerFlags(devices=2),
    )  # fmt: skip
    while not next(job).note.startswith("epoch 2 of"):
        pass
    assert len(multiprocessing.active_children()) == 2
    job.close()
    assert not multiprocessing.active_children()

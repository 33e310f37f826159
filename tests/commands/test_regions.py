"""``--regions FILE[:CLASS]`` of all commands that read a slide."""

from __future__ import annotations

import json
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cli import main
from napari_zoommil.commands import regions as regions_option
from napari_zoommil.commands.regions import read_named, split_name

LEFT = [(1000, 900), (1000, 1400), (2000, 1400), (2000, 900)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    points = Points(classes=[CellClass("tumour", (200, 0, 0)), CellClass("a:b", (0, 200, 0))])
    points.add_region(LEFT, 1)
    points.add_region(np.array(LEFT) + 400, 2)
    points.add_region(np.array(LEFT) - 400)
    points.write(tmp_path / "regions.geojson")
    return tmp_path / "regions.geojson"


def test_a_class_may_be_named(file: Path) -> None:
    assert split_name(str(file)) == (file, "") and len(read_named(str(file), None)) == 3
    assert split_name(f"{file}:tumour") == (file, "tumour") and len(read_named(f"{file}:tumour", None)) == 1
    assert split_name(f"{file}:a:b") == (file, "a:b") and len(read_named(f"{file}:a:b", None)) == 1


def test_colons_of_windows_and_of_file_names(file: Path, tmp_path: Path, monkeypatch) -> None:
    there = {r"C:\\slides\\a.geojson", r"D:b.xml"}

    class Windows(PureWindowsPath):
        def is_file(self) -> bool:
            return str(self) in {str(PureWindowsPath(one)) for one in there}

    monkeypatch.setattr(regions_option, "Path", Windows)
    for one in there:
        for name in ("", "tumour", "Immune: CD8"):
            path, class_name = split_name(f"{one}:{name}" if name else one)
            assert (str(path), class_name) == (str(PureWindowsPath(one)), name)
    monkeypatch.undo()
    odd = tmp_path / "a:b.geojson"
    odd.write_bytes(file.read_bytes())
    assert split_name(f"{odd}:tumour") == (odd, "tumour")
    assert split_name(f"{tmp_path}/none.geojson:x") == (tmp_path / "none.geojson:x", "")


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_every_command_takes_them(cmu: Path, file: Path, tmp_path: Path, cache: Path, capsys) -> None:
    store, inside = tmp_path / "features", ("--regions", f"{file}:tumour")
    embedding = (
        "embed",
        cmu,
        "--encoder",
        "mean-rgb",
        "--magnifications",
        "5,10",
        "--store",
        store,
        "--json",
    )
    assert call(*embedding, *inside) == 0
    part = json.loads(capsys.readouterr().out)
    assert call(*embedding) == 0
    whole = json.loads(capsys.readouterr().out)
    assert 0 < part["total"] == part["encoded"] < whole["total"]
    assert whole["encoded"] == whole["total"] - part["total"], "features of patches are shared"
    assert call(*embedding, *inside) == 0 and json.loads(capsys.readouterr().out)["encoded"] == 0
    assert call("predict", cmu, "--out", tmp_path / "p", "--device", "cpu", *inside) == 0
    patches = json.loads((tmp_path / "p" / "patches.geojson").read_text())["features"]
    corners = np.concatenate([np.array(one["geometry"]["coordinates"][0]) for one in patches])
    assert len(patches) and (corners.max(0) > (900, 1000)).all() and (corners.min(0) < (1400, 2000)).all()
    asked = ("--method", "evidence", "--device", "cpu", *inside)
    assert call("explain", cmu, "--out", tmp_path / "e", *asked) == 0
    assert call("detect", cmu, "--out", tmp_path / "c.geojson", "--device", "cpu", "--json", *inside) == 0
    capsys.readouterr()
    centres = Points.read(tmp_path / "c.geojson").coordinates
    assert len(centres) and ((centres >= LEFT[0]) & (centres <= LEFT[2])).all()


@pytest.mark.parametrize("command", ["embed", "predict", "explain", "detect"])
def test_what_cannot_be_is_one_sentence(cmu: Path, file: Path, tmp_path: Path, command, capsys) -> None:
    out = ("--store", tmp_path / "s") if command == "embed" else ("--out", tmp_path / "o.geojson")
    for named, said in (
        (f"{file}:stroma", "regions.geojson has no regions of stroma; it has regions of: tumour, a:b"),
        (f"{tmp_path}/none.geojson", "none.geojson cannot be read"),
    ):
        assert call(command, cmu, *out, "--regions", named) == 1
        error = capsys.readouterr().err.strip()
        assert said in error and "\n" not in error
    assert call(command, cmu, cmu, *out, "--regions", file) == 1
    assert "one slide only" in capsys.readouterr().err

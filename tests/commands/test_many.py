"""A job on many slides as a command: what is printed, and when."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_zoommil.cli import main
from napari_zoommil.commands.many import each_slide
from napari_zoommil.commands.report import Told, slide_paths
from napari_zoommil.errors import ConsentError, SlideError
from napari_zoommil.jobs import Job, Progress

PATHS = [Path("a.svs"), Path("bad.svs"), Path("c.svs")]


def shout(slide: Path) -> Job[str]:
    yield Progress(0, 1, "shouting")
    if slide.stem == "bad":
        raise SlideError(f"{slide.name} is broken")
    print(f"<{slide.stem}>")
    return slide.stem.upper()


def told(path: Path, result: str) -> Told:
    return Told({"slide": path.name, "result": result}, f"{path.name}: {result}", damaged=path.stem == "c")


def test_each_is_told_as_it_happens(capsys) -> None:
    assert each_slide(shout, PATHS, told, json=False) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["<a>", "a.svs: A", "<c>", "c.svs: C"]
    said = [line for line in printed.err.splitlines() if line.strip()]
    assert said == ["error: bad.svs is broken", "warning: c.svs: 1 damaged tile, read as background"]


def test_json_holds_those_that_went_well(capsys) -> None:
    assert each_slide(shout, PATHS, told, json=True) == 1
    _, _, document = capsys.readouterr().out.partition("<c>\n")
    assert json.loads(document) == [
        {"slide": "a.svs", "result": "A"},
        {"slide": "c.svs", "result": "C"},
    ]


def test_all_went_well(capsys) -> None:
    assert each_slide(shout, PATHS[::2], told, json=False) == 0
    assert "error" not in capsys.readouterr().err


def test_an_empty_shard_is_told_of(capsys) -> None:
    assert each_slide(shout, PATHS[:1], told, json=False, shard="2/2") == 0
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.strip() == "shard 2/2 holds none of the 1 slide"
    assert each_slide(shout, PATHS, told, json=True, shard="4/4") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == [] and "4/4 holds none of the 3 slides" in printed.err
    assert each_slide(shout, PATHS[:1], told, json=False, shard="1/2") == 0
    assert "holds none" not in capsys.readouterr().err


def test_a_single_slide_is_one_table(capsys) -> None:
    assert each_slide(shout, PATHS[:1], told, json=True) == 0
    assert json.loads(capsys.readouterr().out.removeprefix("<a>\n")) == {"slide": "a.svs", "result": "A"}
    assert each_slide(shout, PATHS[1:2], told, json=True) == 1
    assert capsys.readouterr().out == ""


def test_a_result_that_cannot_be_written_is_a_failure_of_its_slide(capsys) -> None:
    def full(path: Path, result: str) -> Told:
        if result == "A":
            raise OSError(28, "No space left on device", str(path))
        return told(path, result)

    assert each_slide(shout, PATHS[::2], full, json=False) == 1
    printed = capsys.readouterr()
    assert "error: No space left on device: a.svs" in printed.err and "c.svs: C" in printed.out


def test_a_question_is_asked_once(capsys) -> None:
    seen: list[Path] = []

    def asking(slide: Path) -> Job[str]:
        seen.append(slide)
        yield Progress(0, 1, "loading the model")
        raise ConsentError("model", "hf-hub:a/b", "0" * 16, True)

    with pytest.raises(ConsentError):
        each_slide(asking, PATHS, told, json=False)
    assert seen == PATHS[:1]


@pytest.mark.parametrize("name", ["slides.csv", "SLIDES.CSV", "slides.tsv"])
def test_slides_of_a_table_stand_in_its_place(tmp_path: Path, name: str) -> None:
    table = tmp_path / name
    table.write_text("slide;label\n a.tif;x\n\nb.tif ;y\n", encoding="utf-8")
    found = slide_paths([Path("z.svs"), table, Path("table.csv.svs")])
    assert found == [Path("z.svs"), tmp_path / "a.tif", tmp_path / "b.tif", Path("table.csv.svs")]


def test_a_table_with_blanks_is_told_of_as_any_other(data: Path, tmp_path: Path, capsys) -> None:
    folder = shutil.copytree(data / "cases" / "cohort", tmp_path / "cohort")
    (folder / "blanks.csv").rename(folder / "BLANKS.CSV")
    with pytest.raises(SystemExit) as end:
        main(["info", str(folder / "BLANKS.CSV"), "--json"])
    assert not end.value.code
    assert [one["slide"] for one in json.loads(capsys.readouterr().out)] == [
        "a.tif", "b.tif", "c.tif", "d.tif",
    ]  # fmt: skip

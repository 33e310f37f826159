"""What commands print: facts, errors, bars, and where results go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_zoommil.commands.report import (
    Printer,
    Told,
    describe,
    describe_text,
    drive,
    file_of,
    folder_of,
    sentence,
    slide_paths,
)
from napari_zoommil.errors import CohortError, FileError, SlideError
from napari_zoommil.familiarity import Verdict
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.jobs.outcomes import Outcome
from napari_zoommil.slides import Slide


def test_facts_of_a_real_slide(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        found = describe(slide)
    assert json.loads(json.dumps(found)) == found
    assert (found["height"], found["width"], found["magnification"]) == (2967, 2220, 20)
    assert found["levels"] == [{"height": 2967, "width": 2220, "downsample": [1, 1]}]
    text = describe_text(found)
    assert text.splitlines()[0] == cmu.name
    assert "2,220 × 2,967 px, 0.499 µm/px (20x), aperio" in text


def test_a_slide_without_resolution_names_the_flag(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        found = describe(slide) | {"mpp": None, "magnification": None, "associated": [], "icc": True}
    assert "resolution unknown: give --mpp" in describe_text(found)
    assert "associated images: none; with a colour profile (--icc applies it)" in describe_text(found)


def test_a_table_stands_for_its_slides(tmp_path: Path) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text("label,slide\na,one.svs\nb,sub/two.svs\n", encoding="utf-8-sig")
    assert slide_paths([Path("x.svs"), table]) == [
        Path("x.svs"),
        tmp_path / "one.svs",
        tmp_path / "sub" / "two.svs",
    ]


@pytest.mark.parametrize("content", ["label\na\n", "slide\n", ""])
def test_a_table_without_slides_is_told(tmp_path: Path, content: str) -> None:
    table = tmp_path / "cohort.csv"
    with pytest.raises(FileError, match=r"cohort\.csv cannot be read"):
        slide_paths([table])
    table.write_text(content)
    with pytest.raises(CohortError, match=r"cohort\.csv"):
        slide_paths([table])


def test_namesakes_get_a_folder_and_a_file_each(tmp_path: Path, make_slide: Callable[..., Path]) -> None:
    paths = [tmp_path / "a" / "s.tif", tmp_path / "b" / "s.tif", tmp_path / "t.tif"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        make_slide(path, (120, 60, 160), 128, seed)
    out = tmp_path / "out"
    folders, files = [], []
    for path in paths:
        with Slide.open(path) as slide:
            folders.append(folder_of(slide, paths, out))
            files.append(file_of(slide, paths, out).name)
            assert folder_of(slide, [path], out) == file_of(slide, [path], out) == out
    assert len(set(folders)) == 3 and folders[2] == out / "t"
    assert all(folder.parent == out and folder.name.startswith("s-") for folder in folders[:2])
    assert files == [f"{folder.name}.geojson" for folder in folders]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SlideError("a.svs is broken"), "a.svs is broken"),
        (OSError(28, "No space left on device", "out/x"), "No space left on device: out/x"),
        (OSError("odd"), "odd"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert sentence(error) == line


def test_texts_are_printed_as_they_come(capsys) -> None:
    printer = Printer(as_json=False, many=True)
    printer.tell(Path("x/a.svs"), Told({"slide": "a"}, "a: done", damaged=2))
    printed = capsys.readouterr()
    assert printed.out == "a: done\n"
    assert printed.err == "warning: a.svs: 2 damaged tiles, read as background\n"
    assert printer.end() == 0 and capsys.readouterr().out == ""


def test_what_a_model_does_not_know_is_said_with_its_answer(capsys) -> None:
    told = Told({"slide": "a"}, "a: tumour 1.000", familiarity=Verdict("known", 0.82, 0.25, 90))
    Printer(as_json=False, many=False).tell(Path("a.svs"), told)
    printed = capsys.readouterr()
    sentence = "82 % of what it read is unlike what it was trained on: do not rely on this"
    assert printed.out == f"a: tumour 1.000\n  {sentence}\n" and not printed.err
    Printer(as_json=True, many=False).tell(Path("a.svs"), told)
    printed = capsys.readouterr()
    assert printed.err == f"warning: a.svs: {sentence}\n" and not printed.out


@pytest.mark.parametrize(
    ("many", "facts", "document"),
    [
        (False, ["a"], {"slide": "a"}),
        (True, ["a"], [{"slide": "a"}]),
        (True, ["a", "b"], [{"slide": "a"}, {"slide": "b"}]),
        (True, [], []),
    ],
)
def test_json_is_one_document_at_the_end(capsys, many: bool, facts: list[str], document: object) -> None:
    printer = Printer(as_json=True, many=many)
    for name in facts:
        printer.tell(Path(name), Told({"slide": name}, "text"))
    assert capsys.readouterr().out == ""
    assert printer.end() == 0
    assert json.loads(capsys.readouterr().out) == document


def test_a_failure_is_in_the_exit_code(capsys) -> None:
    printer = Printer(as_json=True, many=False)
    printer.failed(SlideError("a.svs is broken"))
    assert printer.end() == 1
    printed = capsys.readouterr()
    assert printed.err == "error: a.svs is broken\n" and printed.out == ""


def two_slides() -> Job[str]:
    for name in ("a", "b"):
        yield Progress(1, 2, f"reading {name}")
        yield Progress(2, 2, "done", Outcome(Path(name), name.upper()))
    return "end"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_job_is_driven_with_a_bar_or_none(capsys, quiet: bool) -> None:
    def told(outcome: Outcome[str]) -> str:
        print(outcome.result)
        return "next"

    assert drive(two_slides(), "title", quiet, told) == "end"
    printed = capsys.readouterr()
    assert printed.out == "A\nB\n"
    assert not quiet or printed.err == ""


def test_what_is_printed_beside_a_bar_on_a_terminal_goes_to_standard_output(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
    monkeypatch.setenv("TERM", "xterm")
    drive(two_slides(), "title", False, lambda outcome: print(outcome.result) or "other title")
    printed = capsys.readouterr()
    assert printed.out == "A\nB\n"
    assert "other title" in printed.err

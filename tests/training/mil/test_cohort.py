from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from napari_zoommil.errors import CohortError, FileError
from napari_zoommil.training.mil.cohort import (
    SPLITS,
    TOLD,
    Cohort,
    LabelledSlide,
    class_names,
    read_cohort,
    read_to_predict,
    slides_of_table,
)


def table(folder: Path, text: str, slides: Iterable[str] = "abc") -> Path:
    for name in slides:
        (folder / f"{name}.svs").touch()
    path = folder / "cohort.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_slides_are_looked_up_beside_the_table(tmp_path: Path) -> None:
    text = "\ufeffSlide,label , split,group\na.svs, benign ,train,p1\n,,,\nb.svs,tumour,val,\n"
    first, second = read_cohort(table(tmp_path, text))
    assert (first.slide, first.label, first.split, first.group) == (
        tmp_path / "a.svs", "benign", "train", "p1",
    )  # fmt: skip
    assert (second.split, second.group) == ("val", "b.svs")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "header"),
        ("slide,label\n", "at least one row"),
        ("slide,class\na.svs,x\n", "columns slide and label"),
        ("slide,label\na.svs,\n", "line 2: label is empty"),
        ("slide,label\na.svs,x\n,y\n", "line 3: slide is empty"),
        ("slide,label\na.svs,x\nb.svs,NA\n", "line 3: label is 'NA', which stands for a missing one"),
        ("slide,label\na.svs,x\nb.svs,y,z\n", "line 3: 'z' is in no column"),
        ("slide,label\na.svs,x\nz.svs,y\n", "line 3: there is no slide at .*z.svs"),
        ("slide,label,split\na.svs,x,training\n", "line 2: split is 'training'"),
        ("slide,label,split\na.svs,x,train\nb.svs,y,\n", "split for some slides only"),
        ("slide,label,split\na.svs,x,\nb.svs,y,val\n", "split for some slides only"),
    ],
)
def test_a_malformed_table_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CohortError, match=f"cohort.csv.*{words}"):
        read_cohort(table(tmp_path, text))


SPLIT = "slide,label,split,group\n"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (SPLIT + "a.svs,x,train\nb.svs,y,train\n", ["it has no slides in its split 'val'"]),
        (
            SPLIT + "a.svs,x,train\nb.svs,y,val\na.svs,x,test\n./a.svs,x,test\n",
            ["a.svs is in the splits train (line 2) and test (line 4)"],
        ),
        (
            "slide,label\na.svs,x\nb.svs,y\nc.svs,y\na.svs,y\n",
            ["a.svs has the labels x (line 2) and y (line 5)"],
        ),
        (
            SPLIT + "a.svs,x,train,p1\nb.svs,y,val,p1\nc.svs,y,test,p2\n",
            ["group p1 is in the splits train (line 2) and val (line 3)"],
        ),
        (
            SPLIT + "a.svs,x,train,p1\na.svs,x,val,p1\n",
            ["a.svs is in the splits train (line 2) and val (line 3)"],
        ),
        (
            SPLIT + "a.svs,x,train\nz.svs,y,val\nb.svs,,val\nc.svs,n/a,valid\na.svs,y,test\n",
            [
                "line 3: there is no slide at {folder}z.svs",
                "line 4: label is empty",
                "line 5: label is 'n/a', which stands for a missing one",
                "line 5: split is 'valid', not one of train, val, test",
                "a.svs has the labels x (line 2) and y (line 6)",
                "a.svs is in the splits train (line 2) and test (line 6)",
            ],
        ),
    ],
)
def test_all_faults_are_told_at_once(tmp_path: Path, text: str, faults: list[str]) -> None:
    with pytest.raises(CohortError, match=r"^cohort\.csv cannot be used: ") as raised:
        read_cohort(table(tmp_path, text))
    folder = f"{tmp_path}{os.sep}"
    assert list(raised.value.faults) == [fault.replace("{folder}", folder) for fault in faults]
    assert all(fault in str(raised.value) for fault in raised.value.faults)


def test_of_very_many_faults_the_first_are_told(tmp_path: Path) -> None:
    with pytest.raises(CohortError) as raised:
        read_cohort(table(tmp_path, "slide,label\n" + "a.svs,\n" * 50))
    assert len(raised.value.faults) == 50 and str(raised.value).endswith(f"; and {50 - TOLD} more")


def test_a_cohort_made_in_python_names_its_slides(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    twice = [LabelledSlide(tmp_path / "a.svs", label, "train", "p") for label in ("x", "y")]
    other = LabelledSlide(tmp_path / "a.svs", "x", "val", "p")
    assert Cohort((*twice, other)).faults() == (
        "a.svs has the labels x (a.svs) and y (a.svs)",
        "a.svs is in the splits train (a.svs) and val (a.svs)",
    )


def test_an_unreadable_table(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cohort\.csv cannot be read"):
        read_cohort(tmp_path / "cohort.csv")
    (tmp_path / "cohort.csv").write_bytes(b"slide,label\n\xff\xfe,x\n")
    with pytest.raises(CohortError, match=r"cohort\.csv cannot be read as a CSV table"):
        read_cohort(tmp_path / "cohort.csv")


def test_slides_of_any_table(tmp_path: Path) -> None:
    path = tmp_path / "slides.csv"
    path.write_text("id;Slide\n1; a.svs\n\n2;b.svs \n3;a.svs\n", encoding="utf-8")
    assert slides_of_table(path) == [tmp_path / "a.svs", tmp_path / "b.svs"]
    path.write_text("id,slide\n1,a.svs\n2,\n3,a.svs,b.svs\n", encoding="utf-8")
    with pytest.raises(CohortError, match=r"line 3: slide is empty; line 4: 'b\.svs' is in no column"):
        slides_of_table(path)


@pytest.mark.parametrize("name", ["semicolons", "blanks"])
def test_tables_as_other_programs_write_them(data: Path, name: str) -> None:
    path = data / "cases" / "cohort" / f"{name}.csv"
    cohort = read_cohort(path)
    assert [one.slide.name for one in cohort] == ["a.tif", "b.tif", "c.tif", "d.tif"]
    assert [one.label for one in cohort] == ["tumour", "normal", "tumour", "normal"]
    assert slides_of_table(path) == [one.slide for one in cohort]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "slide-in-two-splits",
            r"a\.tif is in the splits train \(line 2\) and test \(line 6\); b\.tif is",
        ),
        ("missing-label", r"missing-label\.csv cannot be used: line 4: label is 'NA'"),
    ],
)
def test_tables_that_would_mislead_a_training(data: Path, name: str, said: str) -> None:
    with pytest.raises(CohortError, match=said):
        read_cohort(data / "cases" / "cohort" / f"{name}.csv")


def test_no_torch_is_needed() -> None:
    code = "import sys, napari_zoommil.training.mil.cohort; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def large(folder: Path, per_group: int) -> Path:
    lines = [f"{n}.svs,{'xy'[n % 2]},{'xy'[n % 2]}{n // per_group}" for n in range(200)]
    return table(folder, "\n".join(["slide,label,group", *lines]), map(str, range(200)))


def test_division_is_by_class_and_reproducible(tmp_path: Path) -> None:
    entries = read_cohort(large(tmp_path, 1), seed=3)
    for label in "xy":
        counts = [sum((e.label, e.split) == (label, split) for e in entries) for split in SPLITS]
        assert counts == [70, 15, 15]
    assert entries == read_cohort(tmp_path / "cohort.csv", seed=3)
    assert entries != read_cohort(tmp_path / "cohort.csv", seed=4)


def test_a_group_is_never_divided(tmp_path: Path) -> None:
    splits = defaultdict(set)
    for entry in read_cohort(large(tmp_path, 6)):
        splits[entry.group].add(entry.split)
    assert len(splits) == 68 and all(len(found) == 1 for found in splits.values())


def test_two_slides_of_a_class_train_and_validate(tmp_path: Path) -> None:
    entries = read_cohort(table(tmp_path, "slide,label\na.svs,x\nb.svs,x\nc.svs,y\n"))
    assert sorted(e.split for e in entries if e.label == "x") == ["train", "val"]


def test_slides_that_cannot_be_divided_are_told(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no column split, and \d slides are too few"):
        read_cohort(table(tmp_path, "slide,label\na.svs,x\nb.svs,y\n"))


def test_class_names_are_sorted() -> None:
    entries = [LabelledSlide(Path("a.svs"), "tumour"), LabelledSlide(Path("b.svs"), "benign")]
    assert class_names(entries) == ("benign", "tumour")
    with pytest.raises(CohortError, match="single label, 'tumour'"):
        class_names(entries[:1])


def test_measurements_are_divided_as_a_whole(tmp_path: Path) -> None:
    """Hardly two slides have the same one: class by class, all would be training slides."""
    lines = [f"{number}.svs,{number / 7:.3f},p{number}" for number in range(100)]
    for number in range(100):
        (tmp_path / f"{number}.svs").touch()
    entries = read_cohort(table(tmp_path, "\n".join(["slide,label,group", *lines])))
    counts = {split: sum(one.split == split for one in entries) for split in SPLITS}
    assert counts == {"train": 70, "val": 15, "test": 15}


def test_a_table_to_predict_over_keeps_its_splits_and_needs_none_to_train(tmp_path) -> None:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).touch()
    table = tmp_path / "external.csv"
    table.write_text("slide,label,split\na.svs,x,test\nb.svs,y,test\n")
    assert [one.split for one in read_to_predict(table)] == ["test", "test"]
    with pytest.raises(CohortError, match="no slides in its split 'train'"):
        read_cohort(table)
    table.write_text("slide,label\na.svs,x\nb.svs,y\n")
    assert [one.split for one in read_to_predict(table)] == ["", ""]
    table.write_text("slide\na.svs\n")
    assert [(one.slide, one.label) for one in read_to_predict(table)] == [(tmp_path / "a.svs", "")]

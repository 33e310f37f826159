from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from napari_zoommil.errors import CohortError, FileError
from napari_zoommil.training.mil.cohort import (
    TOLD,
    Cohort,
    Columns,
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
            SPLIT + "a.svs,x,train\na.svs,x,train\nb.svs,y,val\n",
            ["a.svs is listed 2 times (line 2, line 3); keep one line"],
        ),
        (
            "slide,label\na.svs,Tumour\nb.svs,tumour\nc.svs,y\n",
            ["one class seems to be written as Tumour (line 2) and tumour (line 3); write it alike"],
        ),
        (
            "slide,label,fold\na.svs,x,1\nb.svs,y,\n",
            ["it gives a fold for some slides only, not for all or for none"],
        ),
        (
            "slide,label,fold\na.svs,x,1\nb.svs,y,1\n",
            ["it has a single fold, '1'; a cross-validation needs two or more"],
        ),
        (
            "slide,label,fold,group\na.svs,x,1,p\nb.svs,y,2,p\n",
            ["group p is in the folds 1 (line 2) and 2 (line 3)"],
        ),
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
        read_cohort(table(tmp_path, "slide,label\n" + ",x\n" * 50))
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


@pytest.mark.parametrize("word", ["NA", "NaN", "null", "#N/A", "n/a"])
def test_words_that_stand_for_a_missing_value_are_told(tmp_path: Path, word: str) -> None:
    with pytest.raises(CohortError, match=f"line 3: label is '{word}', which stands for a missing one"):
        read_cohort(table(tmp_path, f"slide,label\na.svs,x\nb.svs,{word}\n"))
    _, second = read_cohort(table(tmp_path, f"slide,label,group\na.svs,x,p\nb.svs,y,{word}\n"))
    assert second.group == "b.svs", "none is stated"


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


def test_class_names_are_sorted() -> None:
    entries = [LabelledSlide(Path("a.svs"), "tumour"), LabelledSlide(Path("b.svs"), "benign")]
    assert class_names(entries) == ("benign", "tumour")


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    path = table(tmp_path, "FILENAME,isMSIH,PATIENT,Size\na.svs,yes,p1,3\nb.svs,no,p2,4\n")
    columns = Columns(slide_column="filename", label_column="isMSIH", group_column="PATIENT", by="size")
    first, _ = read_cohort(path, columns)
    assert (first.label, first.group, first.stratum, first.line) == ("yes", "p1", "3", 2)
    with pytest.raises(CohortError, match="header with the columns slide, label and age,"):
        read_cohort(path, Columns(by="age"))
    path.write_text("slide,label,Label\na.svs,x,y\n")
    with pytest.raises(CohortError, match="has the column label twice"):
        read_cohort(path)


def joined(folder: Path, patients: str, slides: str) -> tuple[Path, Columns]:
    (folder / "sub").mkdir()
    own = folder / "sub" / "slides.csv"
    own.write_text(slides)
    for name in "abc":
        (folder / "sub" / f"{name}.svs").touch()
    path = folder / "clinical.csv"
    path.write_text(patients)
    return path, Columns(slide_table=own)


def test_a_clinical_table_is_joined_to_its_slides(tmp_path: Path) -> None:
    path, columns = joined(
        tmp_path,
        "group,label,split\np1,x,train\np2,y,val\np3,y,val\n",
        "slide,group\nb.svs,p2\na.svs,p1\nc.svs,p1\n",
    )
    cohort = read_cohort(path, columns)
    assert [(one.slide.name, one.label, one.split, one.group, one.line) for one in cohort] == [
        ("b.svs", "y", "val", "p2", 2), ("a.svs", "x", "train", "p1", 3), ("c.svs", "x", "train", "p1", 4),
    ]  # fmt: skip
    assert cohort[0].slide == tmp_path / "sub" / "b.svs"
    assert cohort.notes == ("1 of 3 patients of clinical.csv have no slide",)


def test_all_faults_of_joined_tables_are_told(tmp_path: Path) -> None:
    path, columns = joined(
        tmp_path,
        "group,label\np1,x\np1,y\n,y\np2,NA\np3,z,1\n",
        "slide,group\na.svs,p1\nb.svs,p9\nc.svs,\nb.svs,p2\n,p1\n",
    )
    with pytest.raises(CohortError) as raised:
        read_cohort(path, columns)
    assert raised.value.faults == (
        "clinical.csv, line 6: '1' is in no column; put a value that holds the separator in quotes",
        "clinical.csv, lines 2, 3: group p1 has several lines; keep one",
        "clinical.csv, line 4: group is empty",
        "line 3: group p9 is not in clinical.csv",
        "line 4: group is empty",
        "line 5: label is 'NA', which stands for a missing one",
        "line 6: slide is empty",
    )


def test_a_table_to_predict_over_keeps_its_splits_and_needs_none_to_train(tmp_path) -> None:
    path = table(tmp_path, "slide,label,split\na.svs,x,test\nb.svs,y,test\n")
    assert [one.split for one in read_to_predict(path)] == ["test", "test"]
    with pytest.raises(CohortError, match="no slides in its split 'train'"):
        read_cohort(path)
    assert [one.split for one in read_to_predict(table(tmp_path, "slide,label\na.svs,x\nb.svs,y\n"))] == [
        "",
        "",
    ]
    unlabelled = read_to_predict(table(tmp_path, "slide\na.svs\n"))
    assert [(one.slide, one.label) for one in unlabelled] == [(tmp_path / "a.svs", "")]


def test_a_patient_is_not_tested_on_and_trained_on(tmp_path: Path) -> None:
    text = "slide,label,split,group\na.svs,x,test,p\nb.svs,x,,p\nc.svs,y,,q\n"
    with pytest.raises(CohortError, match=r"group p is in the splits test \(line 2\) and none \(line 3\)"):
        read_cohort(table(tmp_path, text))


def test_columns_that_were_named_have_to_be_there(tmp_path: Path) -> None:
    path = table(tmp_path, "slide,label\na.svs,x\nb.svs,y\n")
    with pytest.raises(CohortError, match="header with the columns slide, label and patinet"):
        read_cohort(path, Columns(group_column="patinet"))
    path, columns = joined(tmp_path, "group,label\np1,x\np2,y\n", "slide,group\na.svs,p1\nb.svs,p2\n")
    with pytest.raises(CohortError, match=r"neither clinical\.csv nor slides\.csv has the column size"):
        read_cohort(path, replace(columns, by="size"))


def test_the_label_of_a_joined_slide_is_its_patients(tmp_path: Path) -> None:
    path, columns = joined(
        tmp_path, "group,label\np1,x\np2,y\n", "slide,group,label\na.svs,p1,HE\nb.svs,p2,HE\n"
    )
    assert [one.label for one in read_cohort(path, columns)] == ["x", "y"]


def test_missing_groups_are_none_and_open_quotes_are_told(tmp_path: Path) -> None:
    path = table(tmp_path, "slide,label,group\na.svs,x,NA\nb.svs,y,NA\n")
    assert [one.group for one in read_cohort(path)] == ["a.svs", "b.svs"]
    path.write_text('slide,label\na.svs,"x\nb.svs,y\nc.svs,z"\n')
    with pytest.raises(CohortError, match="label has a line break; close the quote before it"):
        read_cohort(path)


@pytest.mark.parametrize("read", [read_cohort, slides_of_table])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\0.svs", "it holds a null character"),
        ("n" * 300, "there is no slide at"),
        ('"a.svs\nb.svs"', "slide has a line break; close the quote before it"),
        ('"' + "n" * 2000 + '\nb.svs"', "slide has a line break"),
    ],
)
def test_names_that_no_file_can_have_are_told_in_one_line(tmp_path: Path, name: str, said: str, read) -> None:
    path = table(tmp_path, f"slide,label\na.svs,x\n{name},y\n")
    if read is slides_of_table and said.startswith("there"):
        assert len(read(path)) == 2  # whoever opens it says so
        return
    with pytest.raises(CohortError, match=said) as caught:
        read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_slide_that_is_a_link_in_a_circle_is_told(tmp_path: Path) -> None:
    (tmp_path / "round.svs").symlink_to(tmp_path / "round.svs")
    path = table(tmp_path, "slide,label\na.svs,x\nround.svs,y\n")
    with pytest.raises(CohortError, match=r"line 3: there is no slide at .*round\.svs"):
        read_cohort(path)

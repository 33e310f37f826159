"""Cohorts to look through: tables and folders, answers joined with labels, and the exported table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import CohortError
from napari_zoommil.familiarity import Verdict
from napari_zoommil.files import write_table
from napari_zoommil.jobs.cohort import (
    Answer,
    CohortRow,
    TableSource,
    is_cohort,
    open_cohort,
    rows_of,
    slides_in,
    table_of,
)
from napari_zoommil.models.task import Classification, Regression
from napari_zoommil.training.mil.cohort import Columns, parse_cohort
from napari_zoommil.training.mil.labelled_slide import LabelledSlide

CLASSES = Classification(("normal", "tumour"))


def answer(*values: float, task=CLASSES, share: float = 0.0) -> Answer:
    return Answer(task, np.array(values, np.float32), Verdict("known", share, 0.5, 100))


def row(label: str, found: Answer | None = None, split: str = "test", name: str = "a.svs") -> CohortRow:
    return CohortRow(LabelledSlide(Path(name), label, split, name), found)


@pytest.fixture
def table(tmp_path: Path):
    """Writes a table with empty files for its slides."""

    def write(*lines: str) -> Path:
        for line in lines[1:]:
            if name := line.split(",")[0]:
                (tmp_path / name).touch()
        path = tmp_path / "cohort.csv"
        path.write_text("\n".join(lines))
        return path

    return write


def test_a_table_is_shown_as_it_is(table) -> None:
    cohort = open_cohort(table("slide,label,split,group", "a.svs,x,test,one", "b.svs,y,test,one"))
    assert [one.split for one in cohort.entries] == ["test", "test"], "one need not be able to train"
    assert cohort.splits == ("test",) and cohort.has_labels and cohort.has_groups
    assert cohort.summary == "2 slides, 2 labels, 1 group"


def test_without_splits_none_is_made_up_and_without_groups_slides_are_no_groups(table) -> None:
    cohort = open_cohort(table("slide,label", "a.svs,x", "b.svs,y"))
    assert cohort.splits == () and not cohort.has_groups and {one.split for one in cohort.entries} == {""}


def test_a_table_without_labels_is_there_to_predict_over(table, tmp_path) -> None:
    cohort = open_cohort(table("slide", "a.svs", "b.svs", "a.svs"))
    assert [one.slide for one in cohort.entries] == [tmp_path / "a.svs", tmp_path / "b.svs"]
    assert not cohort.has_labels and cohort.summary == "2 slides, no labels"


def test_a_slide_named_twice_is_one_row(table) -> None:
    cohort = open_cohort(table("slide", "a.svs", "b.svs", "./a.svs"))
    assert [one.slide.name for one in cohort.entries] == ["a.svs", "b.svs"]


def test_all_faults_are_told_with_their_lines(table, tmp_path) -> None:
    path = table("slide,label,split", "a.svs,x,train", "b.svs,,train", "c.svs,x,tset", "a.svs,y,train")
    (tmp_path / "c.svs").unlink()
    with pytest.raises(CohortError) as caught:
        open_cohort(path)
    faults = caught.value.faults
    assert len(faults) == 4
    assert any("line 3: label is empty" in one for one in faults)
    assert any("line 4: split is 'tset'" in one for one in faults)
    assert any("line 4: there is no slide" in one for one in faults)
    assert any("labels x (line 2) and y (line 5)" in one for one in faults)


def test_something_else_is_refused_by_name(tmp_path) -> None:
    other = tmp_path / "notes.txt"
    other.touch()
    with pytest.raises(CohortError, match=r"notes\.txt is neither a table"):
        open_cohort(other)
    with pytest.raises(CohortError, match="holds no slides"):
        open_cohort(tmp_path)


def test_a_folder_of_images_is_a_cohort_with_the_labels_that_train_reads(tmp_path) -> None:
    for name in ("images/train/a/1.png", "images/val/b/2.jpg", "images/val/b/notes.txt", "plain/3.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    labelled = open_cohort(tmp_path / "images")
    assert labelled.entries == parse_cohort(tmp_path / "images").entries
    assert labelled.summary == "2 images, 2 labels" and labelled.splits == ("train", "val")
    assert labelled.can_be_trained_on and labelled.is_of_images and not labelled.is_table
    plain = open_cohort(tmp_path / "plain")
    assert plain.summary == "1 image, no labels" and not plain.can_be_trained_on
    assert open_cohort(tmp_path / "images/train/a/1.png").entries and is_cohort(tmp_path / "plain/3.tif")
    (tmp_path / "images/slide.svs").touch()
    assert open_cohort(tmp_path / "images").summary == "1 slide, no labels", "slides come before pictures"


def test_slides_in_a_folder_and_below(tmp_path, make_slide) -> None:
    for name in ("b.svs", "sub/a.svs", ".hidden/c.svs", "d.txt", "e.zarr/0/f.tif"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "e.zarr" / ".zattrs").write_text("{}")
    make_slide(tmp_path / "small picture.tif", (180, 90, 150), 256)
    found = [path.relative_to(tmp_path).as_posix() for path in slides_in(tmp_path)]
    assert found == ["b.svs", "e.zarr", "sub/a.svs"], "damaged ones too"
    assert open_cohort(tmp_path).summary == "3 slides, no labels"


def test_a_slide_of_several_dicom_files_is_one_and_a_folder_is_none(tmp_path, data) -> None:
    first, second, *_ = sorted((data / "slides/CMU-1-Small-Region_dicom").iterdir())
    (tmp_path / "case.svs").mkdir()
    for name, file in {"a": first, "c": second, "case.svs/e": first, "case.svs/f": second}.items():
        (tmp_path / f"{name}.dcm").symlink_to(file)
    for name in ("b.svs", "case.svs/d.svs", "case.svs/ee.svs"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in slides_in(tmp_path)]
    assert found == ["a.dcm", "b.svs", "case.svs/d.svs", "case.svs/e.dcm", "case.svs/ee.svs"]
    assert len(open_cohort(tmp_path / "case.svs").entries) == 3


def test_a_single_slide_is_a_cohort_of_one(tmp_path) -> None:
    (tmp_path / "a.svs").touch()
    (tmp_path / "b.ome.zarr" / "0").mkdir(parents=True)
    for name in ("a.svs", "b.ome.zarr"):
        cohort = open_cohort(tmp_path / name)
        assert [one.slide for one in cohort.entries] == [tmp_path / name]
        assert is_cohort(tmp_path / name) and not cohort.is_table
        assert cohort.summary == "1 slide, no labels"
    assert not is_cohort(tmp_path / "gone.svs")
    with pytest.raises(CohortError, match=r"gone\.svs is neither"):
        open_cohort(tmp_path / "gone.svs")


def test_real_slides_in_a_folder(data) -> None:
    names = [path.name for path in slides_in(data / "slides")]
    assert "CMU-1-Small-Region.svs" in names and "CMU-1-Small-Region.ome.zarr" in names
    assert sum(name.endswith(".dcm") for name in names) == 1


def test_a_class_is_wrong_or_right_or_not_to_be_judged() -> None:
    wrong, right = row("normal", answer(0.3, 0.7)), row("tumour", answer(0.3, 0.7))
    assert wrong.predicted == "tumour" and wrong.probability == pytest.approx(0.7)
    assert (wrong.is_wrong, right.is_wrong) == (True, False)
    for other in (row("lymphoma", answer(0.3, 0.7)), row("", answer(0.3, 0.7)), row("normal")):
        assert not other.can_be_judged and not other.is_wrong


def test_a_number_has_a_residual() -> None:
    grade = Regression("mm", offset=1.0, scale=2.0)
    found = row("2.5", answer(4.0, task=grade))
    assert found.value == 4.0 and found.residual == pytest.approx(1.5) and found.probability is None
    assert found.predicted == "4 mm" and found.can_be_judged and not found.is_wrong
    assert row("tumour", answer(4.0, task=grade)).residual is None
    assert row("tumour", answer(0.2, 0.8)).residual is None


def test_the_exported_table(tmp_path) -> None:
    rows = [
        row("normal", answer(0.25, 0.75, share=0.6), name="x.svs"),
        CohortRow(LabelledSlide(Path("y.svs"), "tumour"), None, "y.svs is damaged"),
    ]
    columns, lines = table_of(rows)
    write_table(tmp_path / "out.csv", columns, lines)
    head, first, second = (tmp_path / "out.csv").read_text().splitlines()
    assert head.startswith("slide,label,split,group,predicted,probability,")
    assert head.endswith("error,probability_normal,probability_tumour")
    assert first == "x.svs,normal,test,x.svs,tumour,0.75,,,0.6,True,,0.25,0.75"
    assert second == "y.svs,tumour,,,,,,,,,y.svs is damaged,,"


def test_rows_begin_without_answers(table) -> None:
    rows = rows_of(open_cohort(table("slide,label", "a.svs,x", "b.svs,y")))
    assert [(one.predicted, one.error) for one in rows] == [("", ""), ("", "")]


def test_a_clinical_table_is_opened_with_that_of_its_slides(table, tmp_path) -> None:
    table("FILENAME,PATIENT", "a.svs,1", "b.svs,1", "c.svs,2").rename(tmp_path / "slides.csv")
    (tmp_path / "clinical.csv").write_text("PATIENT,isMSIH,STAGE\n1,MSIH,2\n2,nonMSIH,3\n")
    columns = Columns(tmp_path / "slides.csv", "FILENAME", "isMSIH", group_column="PATIENT", by="STAGE")
    found = open_cohort(tmp_path / "clinical.csv", TableSource(columns))
    assert found.summary == "3 slides, 2 labels, 2 groups" and found.source.columns == columns
    assert [(one.label, one.stratum) for one in found.entries] == [
        ("MSIH", "2"),
        ("MSIH", "2"),
        ("nonMSIH", "3"),
    ]
    with pytest.raises(CohortError, match=r"neither .* has the column AGE"):
        open_cohort(tmp_path / "clinical.csv", TableSource(replace(columns, by="AGE")))


def test_a_column_of_slides_may_have_another_name(table) -> None:
    path = table("FILENAME,KRAS", "a.svs,wild", "b.svs,mutated")
    named = open_cohort(path, TableSource(Columns(slide_column="FILENAME")))
    assert named.summary == "2 slides, no labels"
    with pytest.raises(CohortError, match="needs a header with the columns filename and nras"):
        open_cohort(path, TableSource(Columns(slide_column="filename", label_column="nras")))


def test_slides_that_are_not_there_need_features(tmp_path) -> None:
    (tmp_path / "h5").mkdir()
    (tmp_path / "h5" / "a.h5").touch()
    path = tmp_path / "cohort.csv"
    path.write_text("slide,label\na.svs,x\nb.svs,y\n")
    with pytest.raises(CohortError) as found:
        open_cohort(path, TableSource(features=(tmp_path / "h5",)))
    assert found.value.faults == ("line 3: there is no feature file of b.svs in h5; it must be named b.h5",)
    (tmp_path / "h5" / "b.h5").touch()
    assert open_cohort(path, TableSource(features=(tmp_path / "h5",))).summary == "2 slides, 2 labels"

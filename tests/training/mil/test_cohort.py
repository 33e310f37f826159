from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from napari_zoommil.errors import CohortError
from napari_zoommil.training.mil.cohort import SPLITS, class_names, read_cohort


def table(folder: Path, text: str, slides: str = "abc") -> Path:
    for name in slides:
        (folder / f"{name}.svs").touch()
    path = folder / "cohort.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_slides_are_looked_up_beside_the_table(tmp_path: Path) -> None:
    text = "\ufeffslide,label,split,group\na.svs, benign ,train,p1\nb.svs,tumour,val,\n"
    first, second = read_cohort(table(tmp_path, text))
    assert (first.slide, first.label, first.split, first.group) == (
        tmp_path / "a.svs", "benign", "train", "p1",
    )  # fmt: skip
    assert (second.split, second.group) == ("val", "b.svs")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "header"),
        ("slide,label\n", "a row at least"),
        ("slide,class\na.svs,x\n", "columns slide and label"),
        ("slide,label\na.svs,\n", "line 2: slide or label is empty"),
        ("slide,label\na.svs,x\n,y\n", "line 3: slide or label is empty"),
        ("slide,label\na.svs,x\nz.svs,y\n", "line 3: there is no slide at .*z.svs"),
        ("slide,label,split\na.svs,x,training\n", "line 2: split is 'training'"),
        ("slide,label,split\na.svs,x,train\nb.svs,y,\n", "split for some slides only"),
        ("slide,label,split\na.svs,x,\nb.svs,y,val\n", "split for some slides only"),
    ],
)
def test_a_malformed_table_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CohortError, match=f"cohort.csv.*{words}"):
        read_cohort(table(tmp_path, text))


@pytest.mark.parametrize("content", [None, b"slide,label\n\xff\xfe,x\n"])
def test_an_unreadable_table(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "cohort.csv").write_bytes(content)
    with pytest.raises(CohortError, match="cannot be read as a CSV table"):
        read_cohort(tmp_path / "cohort.csv")


def large(folder: Path, per_group: int) -> Path:
    lines = [f"a.svs,{'xy'[n % 2]},{'xy'[n % 2]}{n // per_group}" for n in range(200)]
    return table(folder, "\n".join(["slide,label,group", *lines]))


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


def test_class_names_are_sorted(tmp_path: Path) -> None:
    entries = read_cohort(table(tmp_path, "slide,label\na.svs,tumour\nb.svs,benign\n"))
    assert class_names(entries) == ("benign", "tumour")
    with pytest.raises(CohortError, match="single label, 'tumour'"):
        class_names(entries[:1])


def test_measurements_are_divided_as_a_whole(tmp_path: Path) -> None:
    """Hardly two slides have the same one: class by class, all would be training slides."""
    lines = [f"a.svs,{number / 7:.3f},p{number}" for number in range(100)]
    entries = read_cohort(table(tmp_path, "\n".join(["slide,label,group", *lines])))
    counts = {split: sum(one.split == split for one in entries) for split in SPLITS}
    assert counts == {"train": 70, "val": 15, "test": 15}

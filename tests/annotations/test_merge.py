"""What becomes of two versions of one document, rule by rule."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.annotations.classes import DEFAULT_DIAMETER_UM
from napari_zoommil.annotations.feature import DIAMETER
from napari_zoommil.annotations.geojson import OWN_MEMBER, Content, dumps, loads, with_classes
from napari_zoommil.annotations.merge import ROUNDING_PX, merge, same_content

Json = dict[str, Any]
Place = tuple[float, float]


def feature(id: str, geometry: Json, name: str = "tumour", **properties: Any) -> Json:
    classification = {"name": name, "color": [1, 2, 3]}
    properties = {"objectType": "annotation", "classification": classification} | properties
    return {"type": "Feature", "id": id, "geometry": geometry, "properties": properties}


def point(id: str, x: float, name: str = "tumour", **properties: Any) -> Json:
    return feature(id, {"type": "Point", "coordinates": [x, 0]}, name, **properties)


def several(*xs: float, name: str = "tumour", **properties: Any) -> Json:
    geometry = {"type": "MultiPoint", "coordinates": [[x, 0] for x in xs]}
    return feature("m", geometry, name, **properties)


def region(id: str, edge: float) -> Json:
    ring = [[0, 0], [edge, 0], [edge, edge], [0, 0]]
    return feature(id, {"type": "Polygon", "coordinates": [ring]}, name="complete region") | {
        "properties": {"objectType": "annotation", "name": "complete region"}
    }


def drawn(id: str, edge: float) -> Json:
    """What is neither a cell nor a complete region."""
    return feature(id, {"type": "LineString", "coordinates": [[0, 0], [edge, edge]]})


def content(*features: Json, classes: dict[str, Any] | None = None, **members: Any) -> Content:
    """A file; ``classes`` are the colours of those it states by itself."""
    if classes is not None:
        stated = [
            {"name": name, "color": list(colour), DIAMETER: DEFAULT_DIAMETER_UM}
            for name, colour in classes.items()
        ]
        members[OWN_MEMBER] = {"classes": stated}
    document = {"type": "FeatureCollection", **members, "features": list(features)}
    return loads(json.dumps(document).encode(), "a")


def told_by_us(file: Content) -> Content:
    """The same as this package writes it, with the classes of cells among those it states."""
    return replace(file, envelope=with_classes(file.envelope, file.classes))


def held(merged: Content) -> dict[str, Json]:
    return {one.id: one.raw for one in merged.features}


def xs_of(merged: Content) -> dict[str, float]:
    return {one.id: one.marks[0].x for one in merged.features}


def colours(merged: Content) -> dict[str, tuple[int, int, int]]:
    return {one.name: one.colour for one in merged.classes}


# Any two versions

PLACES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2))
MAKERS = st.sampled_from([point, region, drawn])


@given(PLACES, PLACES, PLACES)
def test_every_addition_and_every_lone_change_is_kept(
    base: dict[str, int], ours: dict[str, int], theirs: dict[str, int]
) -> None:
    versions = [content(*(point(id, x) for id, x in one.items())) for one in (base, ours, theirs)]
    merged, conflicts = merge(*versions)
    found = xs_of(merged)
    told = {one.id for one in conflicts}
    for id in "abcdef":
        was, mine, other = base.get(id), ours.get(id), theirs.get(id)
        if mine == other or other == was:
            assert found.get(id) == mine and id not in told
        elif mine == was:
            assert found.get(id) == other and id not in told
        else:
            assert found[id] == (other if mine is None else mine) and id in told


NAMES = st.dictionaries(st.sampled_from(["tumour", "stroma", "gland"]), st.just((9, 9, 9)))
VERSIONS = st.builds(
    lambda places, names, make: told_by_us(
        content(*(make(id, x + 3) for id, x in places.items()), classes=names)
    ),
    PLACES,
    NAMES,
    MAKERS,
)


@given(VERSIONS, VERSIONS)
def test_merged_with_a_side_that_changed_nothing_it_is_the_other_side(
    base: Content, changed: Content
) -> None:
    for ours, theirs in ((changed, base), (base, changed)):
        merged, conflicts = merge(base, ours, theirs)
        assert same_content(merged, changed) and conflicts == ()


@given(VERSIONS, VERSIONS, VERSIONS)
def test_what_was_merged_is_merged_again_without_a_change(
    base: Content, ours: Content, theirs: Content
) -> None:
    """The other side takes the merged file over as it is, and a failed write can be tried again."""
    merged, _ = merge(base, ours, theirs)
    for was, mine, other in ((theirs, theirs, merged), (base, merged, theirs), (merged, merged, merged)):
        again, _ = merge(was, mine, other)
        assert same_content(again, merged)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_no_class_of_a_cell_is_lost(base: Content, ours: Content, theirs: Content) -> None:
    merged, _ = merge(base, ours, theirs)
    names = [one.name for one in merged.classes]
    assert len(names) == len(set(names))
    assert {one.class_name for one in merged.features} <= {"", *names}
    assert loads(dumps(merged), "a").classes == merged.classes


# One feature that both sides had


@pytest.mark.parametrize("make", [point, region, drawn])
def test_a_deletion_gives_way_to_an_edit(make: Any) -> None:
    base, edited, deleted = content(make("a", 3)), content(make("a", 7)), content()
    for ours, theirs, said in (
        (edited, deleted, "somebody else deleted it and you changed it"),
        (deleted, edited, "you deleted it and somebody else changed it"),
    ):
        merged, (conflict,) = merge(base, ours, theirs)
        assert held(merged) == {"a": make("a", 7)}
        assert conflict.id == "a" and said in conflict.note


@pytest.mark.parametrize("make", [point, region, drawn])
def test_of_two_edits_ours_is_kept_and_the_same_edit_is_none(make: Any) -> None:
    base, ours, theirs = (content(make("a", edge)) for edge in (3, 7, 9))
    merged, (conflict,) = merge(base, ours, theirs)
    assert held(merged) == {"a": make("a", 7)}
    assert conflict.id == "a" and "yours was kept" in conflict.note
    assert merge(base, ours, ours)[1] == ()
    assert merge(base, content(), content()) == (content(), ())


def test_one_id_for_two_additions_keeps_ours_and_tells() -> None:
    merged, (conflict,) = merge(content(), content(point("a", 1)), content(point("a", 2)))
    assert xs_of(merged) == {"a": 1} and conflict.id == "a"


def test_another_class_is_an_edit() -> None:
    base, ours, theirs = content(point("a", 1)), content(point("a", 1, "gland")), content(point("a", 5))
    merged, conflicts = merge(base, ours, theirs)
    assert held(merged) == {"a": point("a", 1, "gland")} and len(conflicts) == 1


# What other programs do to places


def test_rounded_places_are_no_edit() -> None:
    base, rounded = (
        content(point("a", 1.2345), region("r", 3.456)),
        content(point("a", 1.23), region("r", 3.46)),
    )
    moved = content(point("a", 8), region("r", 8))
    gone, conflicts = merge(base, content(), rounded)
    assert held(gone) == {} and conflicts == ()
    merged, conflicts = merge(base, moved, rounded)
    assert xs_of(content(held(merged)["a"])) == {"a": 8} and conflicts == ()
    assert held(merge(base, base, rounded)[0]) == held(rounded), "our file tells what is on disk"


@pytest.mark.parametrize(
    "other",
    [
        point("a", 1 + 3 * ROUNDING_PX),
        point("a", 1, "gland"),
        point("a", 1, name="gland"),
        point("a", 1, locked=True),
    ],
)
def test_anything_more_than_rounding_is_an_edit(other: Json) -> None:
    merged, conflicts = merge(content(point("a", 1)), content(), content(other))
    assert held(merged) == {"a": other} and len(conflicts) == 1


def test_what_we_do_not_understand_is_never_taken_for_rounded() -> None:
    merged, conflicts = merge(content(drawn("a", 3)), content(), content(drawn("a", 3.001)))
    assert held(merged) == {"a": drawn("a", 3.001)} and len(conflicts) == 1


# Several points in one feature

XS = st.lists(st.integers(0, 4), max_size=5)


@given(XS.filter(bool), XS, XS)
def test_points_put_into_and_taken_out_of_a_multipoint_add_up(
    base: list[int], ours: list[int], theirs: list[int]
) -> None:
    def version(xs: list[int]) -> Content:
        return content(several(*xs)) if xs else content()

    merged, conflicts = merge(version(base), version(ours), version(theirs))
    was, mine, other = Counter(base), Counter(ours), Counter(theirs)
    found = Counter(mark.x for one in merged.features for mark in one.marks)
    if ours and theirs and len({str(base), str(ours), str(theirs)}) == 3:
        assert found == (other - (was - mine)) + (mine - was)
        assert conflicts == ()
    else:
        assert found in (mine, other)


def test_a_multipoint_of_another_class_or_kind_is_one_edit() -> None:
    base, theirs = content(several(0, 1)), content(several(0, 1, 2))
    for ours in (several(0, name="gland"), point("m", 0)):
        merged, conflicts = merge(base, content(ours), theirs)
        assert held(merged) == {"m": ours} and len(conflicts) == 1


def test_points_of_one_side_and_properties_of_the_other_are_both_kept() -> None:
    base, more, locked = content(several(0)), content(several(0, 1)), content(several(0, 2, locked=True))
    for ours, theirs in ((more, locked), (locked, more)):
        merged, conflicts = merge(base, ours, theirs)
        (raw,) = held(merged).values()
        assert raw["properties"] == several(locked=True)["properties"] and conflicts == ()
        assert sorted(x for x, _ in raw["geometry"]["coordinates"]) == [0, 1, 2]


# Classes

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def test_classes_of_both_sides_are_kept_and_deleted_ones_go() -> None:
    base = content(classes={"a": RED, "b": RED, "c": RED})
    ours, theirs = (
        content(classes={"a": RED, "b": RED, "d": RED}),
        content(classes={"b": RED, "c": RED, "e": RED}),
    )
    merged, _ = merge(base, ours, theirs)
    assert set(colours(merged)) == {"b", "d", "e"}


def test_a_class_that_one_side_deleted_stays_while_cells_have_it() -> None:
    base, without = content(classes={"a": RED, "b": RED}), content(classes={"b": RED})
    used = content(point("p", 1, "a"), classes={"a": RED, "b": RED})
    for ours, theirs in ((without, used), (used, without)):
        assert set(colours(merge(base, ours, theirs)[0])) == {"a", "b"}


def test_a_program_that_knows_no_classes_deletes_none() -> None:
    base = content(classes={"a": RED, "b": BLUE})
    merged, _ = merge(base, base, content())
    assert colours(merged) == {"a": RED, "b": BLUE}
    assert loads(dumps(merged), "a").classes == merged.classes, "the file states them again"


def test_a_look_that_one_side_changed_is_kept_and_ours_of_two() -> None:
    base, red, blue = (content(classes={"a": colour}) for colour in (GREEN, RED, BLUE))
    assert colours(merge(base, red, base)[0]) == {"a": RED}
    assert colours(merge(base, base, blue)[0]) == {"a": BLUE}
    assert colours(merge(base, red, blue)[0]) == {"a": RED}


def test_classes_stand_as_in_the_file_unless_we_changed_ours() -> None:
    base, theirs = content(classes={"a": RED, "b": RED}), content(classes={"x": RED, "b": RED})
    assert [one.name for one in merge(base, base, theirs)[0].classes] == ["x", "b"]
    ours = content(classes={"a": RED, "b": BLUE, "c": RED})
    assert [one.name for one in merge(base, ours, theirs)[0].classes] == ["b", "c", "x"]


# What is around the features


def test_other_members_of_both_files_are_kept_and_the_form_is_theirs() -> None:
    base, ours, theirs = content(one=1, two=1), content(one=2, two=1), content(one=1, two=3, more=4)
    merged, _ = merge(base, ours, theirs)
    assert merged.envelope.members == {"one": 1, "two": 3, "more": 4}
    bare = loads(json.dumps([point("b", 2)]).encode(), "a")
    assert merge(bare, bare, bare)[0].envelope.form == "array"


def test_same_content_is_told_from_other_content() -> None:
    a, b = point("a", 1), point("b", 2)
    assert same_content(content(a, b, one=1, two=2), content(b, a, two=2, one=1))
    for other in (
        content(a),
        content(a, point("b", 3)),
        content(a, b, one=1),
        content(a, b, classes={"x": RED}),
    ):
        assert not same_content(content(a, b), other)
    assert not same_content(content(a, classes={"x": RED}), content(a, classes={"x": BLUE}))


def test_spaces_and_spellings_of_numbers_are_no_edit() -> None:
    text = '{"type":"FeatureCollection","features":[%s]}'
    compact = (
        '{"type":"Feature","id":"a","geometry":{"type":"Point","coordinates":[1.0,2.5]},'
        '"properties":{"objectType":"annotation"}}'
    )
    spaced = compact.replace(",", ", ").replace(":", ": ").replace("2.5", "2.50")
    base, theirs = (loads((text % one).encode(), "a") for one in (compact, spaced))
    assert base.features[0].text != theirs.features[0].text
    assert same_content(base, theirs)
    ours = loads((text % compact.replace("annotation", "cell")).encode(), "a")
    assert not same_content(ours, theirs)
    merged, conflicts = merge(base, ours, theirs)
    assert not conflicts and merged.features[0].text == ours.features[0].text

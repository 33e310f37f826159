"""XML of ASAP and ImageScope: classes, colours, holes; and that no XML does harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.annotations import Points
from napari_zoommil.annotations.geojson import loads
from napari_zoommil.annotations.regions import read_regions
from napari_zoommil.errors import AnnotationError

SQUARE = np.array([(0.0, 0), (0, 90), (90, 90), (90, 0)])


def asap(*annotations: str, groups: str = "") -> str:
    return (
        f"<?xml version='1.0'?><ASAP_Annotations><Annotations>{''.join(annotations)}</Annotations>"
        f"<AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>"
    )


def asap_annotation(kind: str, corners: np.ndarray, group: str = "None", colour: str = "#F4FA58") -> str:
    places = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}" />' for n, (y, x) in enumerate(corners))
    return (
        f'<Annotation Name="one" Type="{kind}" PartOfGroup="{group}" Color="{colour}">'
        f"<Coordinates>{places}</Coordinates></Annotation>"
    )


def scope(*regions: str, layer: str = 'Name="necrosis" LineColor="255"', attributes: str = "") -> str:
    return (
        f'<Annotations MicronsPerPixel="0.25"><Annotation Id="1" {layer}>'
        f"<Attributes>{attributes}</Attributes><Regions>{''.join(regions)}</Regions></Annotation></Annotations>"
    )


def scope_region(corners: np.ndarray, kind: int = 0, negative: int = 0) -> str:
    places = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for y, x in corners)
    return f'<Region Id="1" Type="{kind}" NegativeROA="{negative}"><Vertices>{places}</Vertices></Region>'


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes) -> Points:
        path = tmp_path / "a.xml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Points.read(path)

    return read


@pytest.mark.parametrize(
    ("name", "regions", "colour"),
    [
        ("tumor_009", 6, (0, 0, 255)),
        ("tumor_076", 39, (100, 254, 46)),
        ("tumor_085", 50, (0, 170, 0)),
    ],
)
def test_real_files_of_asap_are_read_and_written_as_geojson(data: Path, name, regions, colour) -> None:
    points = Points.read(data / "interop" / f"{name}.xml")
    assert len(points.regions) == regions and len(points) == 0
    ((tumour, of),) = ((one.name, one.colour) for one in points.classes)
    assert (tumour, of) == ("metastasis", colour), "the colour of the group, not of the annotation"
    again = Points()
    again.adopt(loads(points.to_bytes(), "a.geojson"))
    assert again.to_bytes() == points.to_bytes() and list(again.regions) == list(points.regions)
    first = next(iter(points.regions.values()))
    assert first.area_px == next(iter(again.regions.values())).area_px > 1e4
    assert len(read_regions(data / "interop" / f"{name}.xml", "metastasis", origin=None)) == regions
    with pytest.raises(AnnotationError, match=f"{name}.xml has no regions of x; it has regions of: metasta"):
        read_regions(data / "interop" / f"{name}.xml", "x", origin=None)


def test_kinds_and_groups_of_asap(read) -> None:
    points = read(
        asap(
            asap_annotation("Polygon", SQUARE, "tumor"),
            asap_annotation("Spline", SQUARE + 100),
            asap_annotation("Rectangle", SQUARE + 200, "stroma", "#00FF00"),
            asap_annotation("Dot", SQUARE[:1] + 7, "cell"),
            asap_annotation("PointSet", SQUARE[:3], "cell"),
            asap_annotation("Measurement", SQUARE[:2]),
            groups='<Group Name="tumor" PartOfGroup="None" Color="#0000ff"><Attributes /></Group>',
        )
    )
    found = [(one.class_name, one.colour) for one in points.regions.values()]
    assert found == [("tumor", None), ("", (244, 250, 88)), ("stroma", None)]
    assert {one.name: one.colour for one in points.classes}["tumor"] == (0, 0, 255)
    np.testing.assert_array_equal(points.coordinates, [[7, 7], *SQUARE[:3]])
    assert points.counts["cell"] == 4 and len(points.features) == 8, "the ruler is kept"
    np.testing.assert_array_equal(next(iter(points.regions.values())).outline, SQUARE)


def test_layers_and_negative_regions_of_imagescope(read) -> None:
    hole, apart = SQUARE / 3 + 20, SQUARE + 500
    points = read(
        scope(
            scope_region(hole, negative=1),
            scope_region(SQUARE),
            scope_region(apart),
            scope_region(SQUARE[:2], kind=4),
            scope_region(SQUARE + 900, negative=1),
        )
    )
    (one, other) = points.regions.values()
    assert one.area_px == 90 * 90 - 30 * 30 and other.area_px == 90 * 90
    assert not shapely.contains_xy(one.polygons, 35, 35).any()
    assert [(of.name, of.colour) for of in points.classes] == [("necrosis", (255, 0, 0))], "blue comes first"
    assert len(points.features) == 3, "the ruler is kept, and what cuts nothing is not"


def test_rectangles_and_ellipses_by_two_corners(read) -> None:
    points = read(scope(scope_region(SQUARE[[0, 2]], kind=1), scope_region(SQUARE[[0, 2]], kind=2)))
    rectangle, ellipse = (one.area_px for one in points.regions.values())
    assert rectangle == 90 * 90 and ellipse == pytest.approx(np.pi * 45**2, rel=0.01)


def test_a_layer_without_name_is_named_by_its_attribute_or_not_at_all(read) -> None:
    attribute = '<Attribute Name="Tumor" Id="0" Value=""/>'
    named = read(scope(scope_region(SQUARE), layer='Name="" LineColor="65280"', attributes=attribute))
    assert [(one.name, one.colour) for one in named.classes] == [("Tumor", (0, 255, 0))]
    (bare,) = read(scope(scope_region(SQUARE), layer='LineColor="65280"')).regions.values()
    assert (bare.class_name, bare.colour) == ("", (0, 255, 0))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(read, encoding: str) -> None:
    text = asap(asap_annotation("Polygon", SQUARE, "Ödem")).replace(
        "version='1.0'", f"version='1.0' encoding='{encoding.removesuffix('-sig')}'"
    )
    assert [one.name for one in read(text.encode(encoding)).classes] == ["Ödem"]


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><Annotations><Annotation Name="&c;"/></Annotations>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<Annotations><Annotation Name="&a;"/></Annotations>"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "declares a document type"),
        (OUTSIDE, "declares a document type"),
        ("<!DOCTYPE html><html></html>", "declares a document type"),
        ("<svg/>", "neither of ASAP nor of ImageScope"),
        ("<Annotations>", "it is not XML"),
        ("<" * 50, "it is not XML"),
        ("<?xml version='1.0' encoding='nonsense'?><Annotations/>", "it is not XML"),
        ("<a>" * 100 + "</a>" * 100, "nested too deeply"),
        (asap(asap_annotation("Polygon", SQUARE).replace('X="0.0"', 'X="nan"')), "not a number of pixels"),
        (asap(asap_annotation("Polygon", SQUARE).replace('X="0.0"', 'X="1e999"')), "not a number of pixels"),
        (asap(asap_annotation("Polygon", SQUARE).replace('X="0.0"', "")), "a corner has no X and Y"),
    ],
)
def test_what_is_malformed_is_refused_in_one_sentence(read, text: str, said: str) -> None:
    with pytest.raises(AnnotationError, match=r"^a\.xml cannot be read as annotations: .*; export") as raised:
        read(text)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_too_large_is_refused_before_it_is_parsed(read, monkeypatch) -> None:
    monkeypatch.setattr("napari_zoommil.annotations.xml_files.MOST_BYTES", 1 << 20)
    with pytest.raises(AnnotationError, match="it is larger than 1 MB"):
        read(f"<Annotations>{' ' * (1 << 20)}")


def test_an_outline_of_two_corners_does_not_refuse_the_file(read, tmp_path: Path) -> None:
    text = asap(asap_annotation("Polygon", SQUARE[:2]), asap_annotation("Polygon", SQUARE))
    points = read(text)
    assert len(points.regions) == 1 and len(points.features) == 2
    with pytest.warns(UserWarning, match="its feature 1 is malformed: its outline has fewer than three"):
        assert len(read_regions(tmp_path / "a.xml", origin=None)) == 1


SAMPLES = (
    asap(
        asap_annotation("Polygon", SQUARE, "tumor"),
        asap_annotation("Dot", SQUARE[:1]),
        groups='<Group Name="tumor" Color="#ff0000"/>',
    ),
    scope(scope_region(SQUARE), scope_region(SQUARE / 3 + 20, negative=1)),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SAMPLES), st.integers(0, 900), st.integers(0, 9), st.text(max_size=4))
def test_whatever_is_cut_out_or_put_in_it_is_read_or_refused(tmp_path, text, at, count, junk) -> None:
    (tmp_path / "a.xml").write_bytes((text[:at] + junk + text[at + count :]).encode("utf-8", "replace"))
    try:
        points = Points.read(tmp_path / "a.xml")
    except AnnotationError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        return
    assert np.isfinite(points.coordinates).all()
    again = Points()
    again.adopt(loads(points.to_bytes(), "a"))
    assert again.to_bytes() == points.to_bytes()

"""The page *Files and their meaning* states the limits and the names that the package has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_zoommil import files
from napari_zoommil.annotations import paths, xml_files
from napari_zoommil.annotations.geojson import ORIGIN, OWN_MEMBER
from napari_zoommil.slides.readers import base, ome_zarr_images, shared_file, tiff_images
from napari_zoommil.slides.units import microns
from napari_zoommil.training.mil.cohort_faults import MISSING
from napari_zoommil.training.mil.table import SEPARATORS

PAGE = Path(__file__).parents[1] / "resources" / "docs" / "files.md"


@pytest.fixture(scope="module")
def page() -> str:
    """Its text in one line."""
    return re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))


def test_limits(page: str) -> None:
    low, high = base.PLAUSIBLE_MPP
    assert base.LARGEST_SLIDE == 10**12
    for stated in (
        f"TIFF of more than {shared_file.MOST_PAGES:,} pages",
        f"of more than {base.LARGEST_PIECE / 1e9} GB",
        f"chunks of less than {ome_zarr_images.SMALLEST_CHUNK} px",
        "an image larger than 10¹² px",
        f"a file of text of more than {files.MOST_BYTES >> 30} GB",
        f"XML of more than {xml_files.MOST_BYTES >> 20} MB",
        f"Other images of up to {tiff_images.OTHER_PIXELS // 1_000_000} million pixels",
        f"Resolutions outside {low} to {high:.0f} µm/px",
    ):
        assert stated in page, stated


def test_names(page: str) -> None:
    assert f"`NAME{paths.SUFFIX}`" in page and f"`NAME.tif{paths.SUFFIX}`" in page
    assert f"`{OWN_MEMBER}.{ORIGIN}`" in page
    (units,) = re.findall(r"ImageJ: ([^;]*) and their names", page)
    assert all(microns(name) for name in units.split(", ")) and len(units.split(", ")) == 9
    (words,) = re.findall(r"do not count; (.*) are missing values", page)
    assert {word.lower() for word in re.findall(r"`([^`]*)`", words)} <= set(MISSING)
    assert sorted(SEPARATORS) == ["\t", ",", ";"] and "commas, semicolons or tabs" in page


def test_links_lead_to_pages(page: str) -> None:
    links = re.findall(r"\]\(([\w-]+\.md)\)", page)
    assert links and all((PAGE.parent / link).is_file() for link in links)

"""The layouts of CLAM, TRIDENT, STAMP and ZoomMIL: one function each, from a file to what it states."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.bags.feature_files.encoder_names import FEATURES_FOLDER
from napari_zoommil.bags.feature_files.hdf5 import attributes, dataset, number, opened, text
from napari_zoommil.bags.feature_files.stated import (
    MOST_PX,
    Stated,
    checked_places,
    coordinates_of,
    features_of,
    require_within,
)
from napari_zoommil.errors import FeatureFileError
from napari_zoommil.geometry import Pair, magnification_of

TRIDENT_FOLDER = re.compile(r"(?P<magnification>\d+(\.\d+)?)x_(?P<size>\d+)px_(?P<overlap>\d+)px_overlap")
ZOOMMIL_DATASET = re.compile(r"(?P<magnification>\d+(\.\d+)?)x_patches")

EDGE_DOWN = "patch_size_level0_y"
"""Own attribute beside TRIDENT's ``patch_size_level0``: the edge of a patch down the slide, where level-0
pixels are not square."""

STAMP_TILE_UM, STAMP_TILE_PX = 256.0, 224
"""Edge of a tile of STAMP, where a file does not state it."""


def read_stated(path: Path) -> tuple[Stated, ...]:
    """What a feature file states, for each of its magnifications from the lowest on.

    Raises
    ------
    FeatureFileError
        If it cannot be read, or has none of the layouts.
    """
    with opened(path) as file:
        for is_layout, read in _LAYOUTS:
            if is_layout(file):
                return read(path, file)
        if "coords" in file:
            raise FeatureFileError(
                f"{path.name} holds coordinates of patches without features; give the folder of the features"
            )
        names = ", ".join(list(file)[:5]) or "nothing"
    raise FeatureFileError(
        f"{path.name} is no feature file of CLAM, TRIDENT, STAMP or ZoomMIL: it holds {names}; they hold "
        "features and coords, feats and coords, or 10.0x_patches and 10.0x_coords"
    )


def _patches(path: Path, file: h5py.File) -> tuple[Stated, ...]:
    """CLAM and TRIDENT: ``features``, and ``coords`` of level-0 px, whose attributes say what a patch is."""
    features = features_of(path, file, "features")
    coordinates = coordinates_of(path, file, "coords", len(features))
    facts = attributes(dataset(file, "coords"))
    if number(facts, "patch_size") is None:
        facts = _beside(path, coordinates) | facts
    facts = _of_folder(path) | facts
    patch_size, size = number(facts, "patch_size"), _level0_size(facts)
    if patch_size is None or size is None:
        raise FeatureFileError(
            f"{path.name} does not state the size of its patches; put the folder of coordinates (patches) "
            "that belongs to it beside its folder"
        )
    overlap = facts.get("overlap")
    share = 1 - float(overlap) / patch_size if isinstance(overlap, int | float) else None
    if share is not None and not 0 < share <= 1:
        raise FeatureFileError(
            f"{path.name}: patches of {patch_size:g} px cannot overlap by {overlap} px; extract them again"
        )
    own = attributes(features)
    height, width = number(facts, "level0_height"), number(facts, "level0_width")
    return (
        Stated(
            path,
            "CLAM" if "patch_level" in facts else "TRIDENT",
            "features",
            features.shape[0],
            features.shape[1],
            coordinates,
            "px",
            size,
            None if share is None else (size[0] * share, size[1] * share),
            round(patch_size),
            number(facts, "target_magnification"),
            (round(height), round(width)) if height and width else None,
            text(own, "encoder") or text(facts, "encoder"),
            text(own, "encoder_hash"),
        ),
    )


def _level0_size(facts: dict[str, Any]) -> Pair | None:
    """Edge of a patch in level-0 px, y and x."""
    patch_size = number(facts, "patch_size")
    if (edge := number(facts, "patch_size_level0")) is not None:
        return number(facts, EDGE_DOWN) or edge, edge
    if patch_size is None:
        return None
    downsample = facts.get("downsample")  # CLAM: x and y
    if isinstance(downsample, np.ndarray) and downsample.shape == (2,) and (downsample > 0).all():
        return patch_size * float(downsample[1]), patch_size * float(downsample[0])
    if (factor := number(facts, "downsample")) is not None:
        return patch_size * factor, patch_size * factor
    own, target = number(facts, "level0_magnification"), number(facts, "target_magnification")
    return None if own is None or target is None else (patch_size * own / target,) * 2


def _beside(path: Path, coordinates: NDArray[np.float64]) -> dict[str, Any]:
    """Attributes of the file of coordinates that features were extracted from: ``../patches/…``."""
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        for name in (f"{path.stem}_patches.h5", f"{path.stem}.h5"):
            other = folder / "patches" / name
            if not other.is_file():
                continue
            with opened(other) as file:
                theirs = dataset(file, "coords")
                if theirs is None:
                    continue
                found = attributes(theirs)
                same = theirs.shape == coordinates.shape and np.array_equal(theirs[:][:, ::-1], coordinates)
            if not same:
                raise FeatureFileError(
                    f"{path.name} has other coordinates than {other.parent.name}/{name}, which should "
                    "describe its patches; extract the features again"
                )
            return found
    return {}


def _of_folder(path: Path) -> dict[str, Any]:
    """What TRIDENT's folders say: ``20x_256px_0px_overlap/features_ENCODER``."""
    settings = TRIDENT_FOLDER.fullmatch(path.parent.parent.name)
    features = FEATURES_FOLDER.fullmatch(path.parent.name)
    if settings is None or features is None:
        return {}
    return {
        "encoder": features["encoder"],
        "target_magnification": float(settings["magnification"]),
        "patch_size": int(settings["size"]),
        "overlap": int(settings["overlap"]),
    }


def _stamp(path: Path, file: h5py.File) -> tuple[Stated, ...]:
    """STAMP: ``feats``, and ``coords`` in µm; those of its first version in px of tiles of 224 px."""
    facts = attributes(file)
    if text(facts, "feat_type") not in ("", "tile"):
        raise FeatureFileError(
            f"{path.name} holds features of a whole {text(facts, 'feat_type')}; give those of its tiles "
            "instead"
        )
    features = features_of(path, file, "feats")
    coordinates = coordinates_of(path, file, "coords", len(features))
    edge = number(facts, "tile_size_um") or number(facts, "tile_size") or STAMP_TILE_UM
    pixels = number(facts, "tile_size_px") or STAMP_TILE_PX
    require_within(path, "edges of tiles", (edge, pixels), 1, MOST_PX)
    if not text(facts, "unit") and "stamp_version" not in facts:
        step = float(common_step(coordinates).max()) or edge
        if abs(step - pixels) < 1e-3 * pixels:
            coordinates = coordinates * (edge / pixels)
        elif abs(step - edge) > 1e-3 * edge:
            raise FeatureFileError(
                f"{path.name} does not state the unit of its coordinates, whose step of {step:g} is neither "
                f"that of tiles of {edge:g} µm nor of {pixels:g} px; extract the features with STAMP 2 or "
                "later"
            )
    elif text(facts, "unit") not in ("", "um", "µm"):
        raise FeatureFileError(f"{path.name} has coordinates in {text(facts, 'unit')}, not in µm")
    return (
        Stated(
            path,
            "STAMP",
            "feats",
            features.shape[0],
            features.shape[1],
            coordinates,
            "µm",
            (edge, edge),
            None,
            round(pixels),
            magnification_of(edge / pixels),
            encoder=text(facts, "extractor"),
        ),
    )


def _zoommil(path: Path, file: h5py.File) -> tuple[Stated, ...]:
    """ZoomMIL: ``10.0x_patches`` and ``10.0x_coords`` per magnification; see :func:`_unfolded`."""
    found = []
    for name in file:
        if match := ZOOMMIL_DATASET.fullmatch(name):
            features = features_of(path, file, name)
            paths = dataset(file, name.replace("_patches", "_coords"))
            if paths is None or not paths.ndim or len(paths) != len(features):
                raise FeatureFileError(
                    f"{path.name} has no coordinates of the {len(features)} patches of {name}; extract its "
                    "features again"
                )
            found.append((float(match["magnification"]), name, features.shape, _unfolded(path, paths)))
    facts = attributes(file)
    patch_size = number(facts, "patch_size")
    encoder, size = text(facts, "encoder"), None if patch_size is None else round(patch_size)
    one, lowest = (1.0, 1.0), min(each[0] for each in found)
    return tuple(
        Stated(
            path, "ZoomMIL", name, shape[0], shape[1], places, "patch", one, one, size, magnification,
            encoder=encoder, lowest=lowest,
        )
        for magnification, name, shape, places in sorted(found, key=lambda each: each[0])
    )  # fmt: skip


def _unfolded(path: Path, paths: h5py.Dataset) -> NDArray[np.float64]:
    """Rows and columns of patches, given as row and column of the ancestor at the lowest magnification and,
    for each doubling, the half (0 or 1) down and across; as numbers, or as texts joined by underscores."""
    values = paths[:]
    if values.dtype.kind in "OS":
        try:
            texts = [each.decode() if isinstance(each, bytes) else str(each) for each in values.reshape(-1)]
            values = np.array([[int(part) for part in each.split("_")] for each in texts])
        except ValueError:  # also where bytes are no text
            values = np.empty(0)
    good = values.ndim == 2 and values.dtype.kind in "iu" and values.shape[1] >= 2 and not values.shape[1] % 2
    if not good or ((values[:, 2:] != 0) & (values[:, 2:] != 1)).any():
        raise FeatureFileError(
            f"{path.name}: {paths.name.lstrip('/')} are no coordinates of ZoomMIL (row, column, and 0 or 1 "
            "down and across for each doubling)"
        )
    places = values[:, :2].astype(np.float64)
    for start in range(2, values.shape[1], 2):
        places = 2 * places + values[:, start : start + 2]
    return checked_places(path, places)


def common_step(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) most frequent distance, y and x, between neighbours on a line; 0 where there are none."""
    steps = np.zeros(2)
    for axis in (0, 1):
        order = np.lexsort((places[:, axis], places[:, 1 - axis]))
        one = places[order]
        gaps = np.diff(one[:, axis])[np.diff(one[:, 1 - axis]) == 0]
        if len(gaps):
            values, counts = np.unique(np.round(gaps, 3), return_counts=True)
            steps[axis] = values[counts.argmax()]
    return steps


_LAYOUTS: tuple[tuple[Callable[[h5py.File], bool], Callable[[Path, h5py.File], tuple[Stated, ...]]], ...] = (
    (lambda file: "features" in file, _patches),
    (lambda file: "feats" in file, _stamp),
    (lambda file: any(ZOOMMIL_DATASET.fullmatch(name) for name in file), _zoommil),
)
"""How each layout is told, and read."""

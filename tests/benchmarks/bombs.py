"""Small files that would cost gigabytes or minutes, or name other files."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

ZEROS = zlib.compress(bytes(3 << 28), 9)
"""0.8 GB."""


def zarr(path: Path, shape: tuple[int, int], chunk: int, data: bytes | None) -> None:
    """An OME-Zarr of version 2, of which one chunk may be there."""
    array = path / "0"
    array.mkdir(parents=True)
    axes = [{"name": name, "type": "channel" if name == "c" else "space"} for name in "cyx"]
    scale = [{"type": "scale", "scale": [1, 0.25, 0.25]}]
    levels = [
        {"axes": axes, "version": "0.4", "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ]
    (path / ".zgroup").write_text('{"zarr_format":2}')
    (path / ".zattrs").write_text(json.dumps({"multiscales": levels}))
    meta = {"zarr_format": 2, "shape": [3, *shape], "chunks": [3, chunk, chunk], "dtype": "|u1", "order": "C"}
    meta |= {"compressor": {"id": "zlib", "level": 9}, "fill_value": 0, "filters": None}
    (array / ".zarray").write_text(json.dumps(meta))
    if data is not None:
        (array / "0.0.0").write_bytes(data)


def png(path: Path, width: int, height: int, rows: int) -> None:
    """A grey PNG with so many rows of what it states."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    body = zlib.compress(bytes((width + 1) * rows), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def tif(path: Path, edge: int, tile: int, compression: int = 8, data: bytes = b"", pages: int = 1) -> None:
    """A TIFF whose directories state a tile of any size; one that points to itself if ``pages`` is 0."""
    data = data or zlib.compress(bytes(1 << 20), 9)
    tags = [
        (256, edge),
        (257, edge),
        (258, 8),
        (259, compression),
        (262, 1),
        (277, 1),
        (322, tile),
        (323, tile),
    ]
    tags += [(324, 8), (325, len(data))]
    size = 2 + 12 * len(tags) + 4
    start = 8 + len(data) + len(data) % 2
    count = max(pages, 1)
    directories = bytearray()
    for number in range(count):
        following = start + size * (number + 1) if number < count - 1 else start if pages == 0 else 0
        directories += len(tags).to_bytes(2, "little")
        for tag, value in tags:
            directories += tag.to_bytes(2, "little") + (4).to_bytes(2, "little")
            directories += (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        directories += following.to_bytes(4, "little")
    head = b"II*\0" + start.to_bytes(4, "little")
    path.write_bytes(head + data + bytes(len(data) % 2) + bytes(directories))


def ome(path: Path, xml: str) -> None:
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(32, 32), description=xml, metadata=None)


def sparse(path: Path, head: bytes = b"", size: int = 20 << 30) -> None:
    path.write_bytes(head)
    os.truncate(path, size)


ENTITIES = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 11))
LAUGHS = f"<!DOCTYPE x [<!ENTITY a0 'ha'>{ENTITIES}]>"
XXE = "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"
NAMESPACE = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
PIXELS = (
    '<Image ID="Image:0" Name="&{0};"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
    'SizeX="64" SizeY="64" SizeC="3" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="3"/>'
    "{1}</Pixels></Image>"
)
UUID = "urn:uuid:11111111-1111-1111-1111-111111111111"
ELSEWHERE = f'<TiffData><UUID FileName="/etc/passwd">{UUID}</UUID></TiffData>'


def ome_text(entities: str, name: str, inside: str = "<TiffData/>") -> str:
    return f'<?xml version="1.0"?>{entities}<OME {NAMESPACE}>{PIXELS.format(name, inside)}</OME>'


def jpeg(path: Path, edge: int) -> None:
    from PIL import Image

    Image.new("L", (edge, edge)).save(path, quality=10)


def laughing(path: Path, entities: str, name: str) -> None:
    path.write_text(f"<?xml version='1.0'?>{entities}<ASAP_Annotations>&{name};</ASAP_Annotations>")


def absurd_model(path: Path, **config: int) -> None:
    from napari_zoommil.model_folder import find_model

    shutil.copytree(find_model("demo"), path)
    content = json.loads((path / "config.json").read_text())
    for key, value in config.items():
        holder = content if key in content else content["config"]
        holder[key] = value
    (path / "config.json").write_text(json.dumps(content))


def head_of(path: Path, length: int) -> None:
    absurd_model(path)
    (path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")


def sparse_zarr(path: Path) -> None:
    zarr(path, (64, 64), 64, None)
    sparse(path / ".zattrs")


BOMBS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "chunk-2G.zarr": ("slide-zarr", lambda path: zarr(path, (256, 256), 26_000, ZEROS)),
    "chunk-16k.zarr": ("slide-zarr", lambda path: zarr(path, (16_384, 16_384), 16_384, ZEROS)),
    "chunk-1.zarr": ("slide-zarr", lambda path: zarr(path, (5000, 5000), 1, None)),
    "shape-1e12.zarr": ("slide-zarr", lambda path: zarr(path, (10**12, 10**12), 256, None)),
    "shape-chunk-1e12.zarr": ("slide-zarr", lambda path: zarr(path, (10**12, 10**12), 10**12, None)),
    "sparse-zattrs.zarr": ("slide-zarr", sparse_zarr),
    "1xhuge.png": ("slide", lambda path: png(path, 1, 399_000_000, 1)),
    "hugex1.png": ("slide", lambda path: png(path, 399_000_000, 1, 0)),
    "19k-short.png": ("slide", lambda path: png(path, 19_900, 19_900, 3)),
    "60k.png": ("slide", lambda path: png(path, 60_000, 60_000, 1)),
    "19900.jpg": ("slide", lambda path: jpeg(path, 19_900)),
    "pages-40k.tif": ("slide", lambda path: tif(path, 64, 64, pages=40_000)),
    "pages-loop.tif": ("slide", lambda path: tif(path, 64, 64, pages=0)),
    "tile-60k.tif": ("slide", lambda path: tif(path, 59_904, 59_904)),
    "tile-60k-lzw.tif": ("slide", lambda path: tif(path, 59_904, 59_904, 5)),
    "tile-60k-zstd.tif": ("slide", lambda path: tif(path, 59_904, 59_904, 50_000)),
    "tile-60k-lzma.tif": ("slide", lambda path: tif(path, 59_904, 59_904, 34_925)),
    "tile-60k-jpeg.tif": ("slide", lambda path: tif(path, 59_904, 59_904, 7)),
    "tile-60k-j2k.tif": ("slide", lambda path: tif(path, 59_904, 59_904, 33_005)),
    "tile-60k-webp.tif": ("slide", lambda path: tif(path, 59_904, 59_904, 50_001)),
    "tile-inflates.tif": ("slide", lambda path: tif(path, 256, 256, 8, ZEROS)),
    "edge-2e31.tif": ("slide", lambda path: tif(path, (1 << 31) - 1, 256)),
    "tile-1.tif": ("slide", lambda path: tif(path, 60_000, 1)),
    "tile-0.tif": ("slide", lambda path: tif(path, 60_000, 0)),
    "laughs.ome.tif": ("slide", lambda path: ome(path, ome_text(LAUGHS, "a9"))),
    "outside.ome.tif": ("slide", lambda path: ome(path, ome_text(XXE, "a"))),
    "elsewhere.ome.tif": ("slide", lambda path: ome(path, ome_text("", "amp", ELSEWHERE))),
    "long.ome.tif": ("slide", lambda path: ome(path, ome_text("", "amp", "<TiffData/>" * 300_000))),
    "sparse.svs": ("slide", lambda path: sparse(path, b"II*\0\xff\xff\xff\xff")),
    "sparse.dcm": ("slide", lambda path: sparse(path, bytes(128) + b"DICM")),
    "sparse.geojson": ("regions", lambda path: sparse(path, b"[")),
    "sparse-points.geojson": ("annotations", lambda path: sparse(path, b"[")),
    "deep.geojson": ("annotations", lambda path: path.write_bytes(b"[" * 10**6)),
    "long-number.geojson": ("regions", lambda path: path.write_bytes(b"[" + b"1" * 10**7 + b"]")),
    "long-string.geojson": ("regions", lambda path: path.write_bytes(b'["' + b"x" * 10**8 + b'"]')),
    "laughs.xml": ("regions-xml", lambda path: laughing(path, LAUGHS, "a9")),
    "outside.xml": ("regions-xml", lambda path: laughing(path, XXE, "a")),
    "sparse.csv": ("cohort", lambda path: sparse(path, b"slide,label\n")),
    "wide.csv": ("cohort", lambda path: path.write_bytes(b"slide,label" + b"," * 10**7 + b"\n")),
    "hidden-60000": ("model", lambda path: absurd_model(path, hidden=60_000, attention=30_000)),
    "samples-1e9": ("model", lambda path: absurd_model(path, samples=10**9)),
    "patch-1": ("model", lambda path: absurd_model(path, patch_size=1)),
    "patch-100000": ("model", lambda path: absurd_model(path, patch_size=100_000)),
    "classes-1e9": ("model", lambda path: absurd_model(path, classes=10**9)),
    "head-2e62": ("model", lambda path: head_of(path, 1 << 62)),
    "sparse-config": ("model", lambda path: (absurd_model(path), sparse(path / "config.json", b"{"))),
}  # fmt: skip
"""Files by name: where they are named, and how they are made."""

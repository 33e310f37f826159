"""Damage to slide files: bytes flipped, parts cut out or moved, properties of an image stated otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile

Span = tuple[int, int]

EXTREMES = (
    0,
    1,
    2,
    3,
    8,
    16,
    32,
    255,
    10_000,
    65_535,
    1 << 17,
    1 << 20,
    1 << 24,
    (1 << 31) - 1,
    (1 << 32) - 1,
)

STRUCTURE = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339, 347)
"""TIFF tags that say how large an image is, in what pieces it lies, and what its samples mean."""

LONG = 4


@dataclass(frozen=True)
class Layout:
    """Where things lie in a file: byte spans by region, and the entries of its TIFF directories."""

    regions: dict[str, list[Span]]
    entries: list[int]
    order: Literal["little", "big"] = "little"
    big: bool = False

    def number(self, content: bytearray, at: int, width: int = 2) -> int:
        return int.from_bytes(content[at : at + width], self.order)

    def put(self, content: bytearray, at: int, width: int, value: int) -> None:
        content[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, self.order)

    @classmethod
    def of(cls, path: Path) -> Layout:
        size = path.stat().st_size
        try:
            with tifffile.TiffFile(path) as tiff:
                return cls._of_tiff(tiff, size)
        except tifffile.TiffFileError:
            head = min(size, 4096)
            return cls({"header": [(0, head)], "file": [(0, size)]}, [])

    @classmethod
    def _of_tiff(cls, tiff: tifffile.TiffFile, size: int) -> Layout:
        big, entry = tiff.is_bigtiff, 20 if tiff.is_bigtiff else 12
        directories, tables, tiles, entries = [(0, 16 if big else 8)], [], [], []
        for page in tiff.pages:
            directories.append((page.offset, page.offset + len(page.tags) * entry + 2))
            for tag in page.tags:
                entries.append(tag.offset)
                if not tag.offset <= tag.valueoffset < tag.offset + entry:
                    tables.append((tag.valueoffset, tag.valueoffset + tag.valuebytecount))
            parts = zip(page.dataoffsets, page.databytecounts, strict=True)
            tiles += [(start, start + count) for start, count in parts if count]
        regions = {"directory": directories, "table": tables, "tile": tiles, "file": [(0, size)]}
        order = "little" if tiff.byteorder == "<" else "big"
        return cls({name: spans for name, spans in regions.items() if spans}, entries, order, big)


def places(spans: Sequence[Span], rng: np.random.Generator, count: int) -> list[int]:
    """Random bytes of some spans, each as likely as any other."""
    starts, stops = np.asarray(spans).T
    ends = (stops - starts).cumsum()
    at = rng.integers(0, ends[-1], count)
    span = np.searchsorted(ends, at, "right")
    return (stops[span] - (ends[span] - at)).tolist()


def some(rng: np.random.Generator, low: float, high: float) -> int:
    """A size between two, small ones as likely as large ones."""
    return int(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def flip(content: bytearray, layout: Layout, region: str, rng: np.random.Generator, many: bool) -> str:
    spans = layout.regions[region]
    length = sum(stop - start for start, stop in spans)
    count = some(rng, 8, max(9, length / 20)) if many else int(rng.integers(1, 5))
    at = places(spans, rng, count)
    for place, mask in zip(at, rng.integers(1, 256, count).tolist(), strict=True):
        content[place] ^= mask
    return f"{count} bytes flipped, the first at {at[0]}"


def fill(content: bytearray, layout: Layout, region: str, rng: np.random.Generator) -> str:
    start, length = places(layout.regions[region], rng, 1)[0], some(rng, 4, 1 << 16)
    value = int(rng.choice([0, 0, 0xFF]))
    length = min(length, len(content) - start)
    content[start : start + length] = bytes([value]) * length
    return f"{length} bytes at {start} set to {value}"


def duplicate(content: bytearray, layout: Layout, region: str, rng: np.random.Generator) -> str:
    source, target = (places(spans, rng, 1)[0] for spans in (layout.regions["file"], layout.regions[region]))
    length = min(some(rng, 4, 1 << 16), len(content) - max(source, target))
    content[target : target + length] = content[source : source + length]
    return f"{length} bytes at {source} copied to {target}"


def shift(content: bytearray, layout: Layout, region: str, rng: np.random.Generator) -> str:
    start, length = places(layout.regions[region], rng, 1)[0], some(rng, 1, 4096)
    if rng.integers(2):
        content[start:start] = content[start : start + length]
        return f"what follows {start} moved up by {length} bytes at most"
    del content[start : start + length]
    return f"{length} bytes at {start} cut out"


def truncate(content: bytearray, layout: Layout, region: str, rng: np.random.Generator) -> str:
    start = places(layout.regions[region], rng, 1)[0]
    del content[start:]
    return f"cut off at {start}"


def rewrite(content: bytearray, layout: Layout, rng: np.random.Generator) -> str:
    """A field of one to three directory entries becomes a number that a parser has to think about."""
    fields = ((0, 2), (2, 2), (4, 8), (12, 8)) if layout.big else ((0, 2), (2, 2), (4, 4), (8, 4))
    done = []
    for _ in range(int(rng.integers(1, 4))):
        entry = layout.entries[rng.integers(len(layout.entries))]
        index = int(rng.choice(4, p=(0.1, 0.2, 0.3, 0.4)))
        offset, width = fields[index]
        value = int(rng.choice([*EXTREMES, len(content) - 1, int(rng.integers(0, 1 << 32))]))
        if index == 1 and rng.integers(2):
            value %= 20  # mostly types that exist
        tag = layout.number(content, entry)
        layout.put(content, entry + offset, width, value)
        done.append(f"{('code', 'type', 'count', 'value')[index]} of tag {tag} at {entry} = {value}")
    return "; ".join(done)


def restate(content: bytearray, layout: Layout, rng: np.random.Generator) -> str:
    """One property of an image, such as its width, is another number and everything else is sound."""
    known = [entry for entry in layout.entries if layout.number(content, entry) in STRUCTURE]
    entry, value = known[rng.integers(len(known))], int(rng.choice(EXTREMES))
    wide = 8 if layout.big else 4
    for offset, width, field_value in ((2, 2, LONG), (4, wide, 1), (4 + wide, wide, value)):
        layout.put(content, entry + offset, width, field_value)
    return f"tag {layout.number(content, entry)} at {entry} states {value}"


BLOCKS: dict[str, tuple[float, Callable[[bytearray, Layout, str, np.random.Generator], str]]] = {
    "flip few": (0.35, lambda *given: flip(*given, many=False)),
    "flip many": (0.2, lambda *given: flip(*given, many=True)),
    "fill": (0.2, fill),
    "duplicate": (0.1, duplicate),
    "shift": (0.08, shift),
    "truncate": (0.07, truncate),
}
"""Kinds of damage with their shares: those that leave more of a file alive reach deeper code."""


def mutate(content: bytearray, layout: Layout, rng: np.random.Generator) -> str:
    """Damage a file's content in place and say how."""
    if layout.entries and rng.random() < 0.4:
        kind, change = [("rewrite", rewrite), ("restate", restate)][rng.integers(2)]
        return f"{kind}: {change(content, layout, rng)}"
    kind = str(rng.choice(list(BLOCKS), p=[share for share, _ in BLOCKS.values()]))
    region = str(rng.choice(list(layout.regions)))
    return f"{kind} in {region}: {BLOCKS[kind][1](content, layout, region, rng)}"


@dataclass(frozen=True)
class Copy:
    """One copy of a run."""

    slide: Path
    seed: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.slide.stem}-{self.seed}-{self.number}{self.slide.suffix}"

    def write(self, folder: Path) -> tuple[Path, str]:
        """Write the copy, and say what was done to it; of a folder, one file is damaged."""
        rng = np.random.default_rng([self.seed, self.number])
        path = target = folder / self.name
        source = self.slide
        if source.is_dir():
            shutil.copytree(source, path)
            inside = sorted(file.relative_to(source) for file in source.rglob("*") if file.is_file())
            chosen = inside[rng.integers(len(inside))]
            source, target = source / chosen, path / chosen
        content = bytearray(source.read_bytes())
        done = mutate(content, Layout.of(source), rng) if content else "an empty file"
        target.write_bytes(content)
        return path, done if target == path else f"{chosen.as_posix()}: {done}"

"""Whether any file can hurt the program: damaged copies of slides, used as a user would use them.

    python tests/benchmarks/mutants.py --json [--count 500] [--seed 0] [--seconds 60] [--slide SLIDE ...]
    python tests/benchmarks/mutants.py --json --only 17 --keep FOLDER
    python tests/benchmarks/mutants.py FILE ...

Copy NUMBER of a run follows from the seed, NUMBER and the list of slides alone. A child process
opens each, describes it, reads windows at every level and scale, its associated images, and
predicts. The outcome is one of

    opened               everything worked, as far as a slide of its resolution and tissue goes
    opened-with-damage   tiles count as damaged, or a step was refused in one sentence
    refused              it does not open, and one sentence says why
    failed               another exception, a sentence that is none, anything printed, a file left
                         open, a hang, a crash, or more memory than there should be

With FILEs, these are used as they are. The exit code is 1 if any failed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import psutil
import tifffile

from napari_zoommil.errors import MagnificationError, MissingResolutionError, NoTissueError

Span = tuple[int, int]
Report = dict[str, Any]

MEMORY = 4 << 30
"""Bytes by which a child may grow over one file."""

START_SECONDS = 180.0
"""For a child to import what it needs."""

SENTENCE = 400
"""Characters from which a refusal is no longer one sentence."""

SOUND = (MagnificationError, MissingResolutionError, NoTissueError)
"""What a prediction may say of a file that is whole."""

WINDOW = 192
SCALES = (1.0, 1.7, 4.0, 16.0)

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

# ---------------------------------------------------------------------------------- the mutations


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


# ------------------------------------------------------------------------- the child: a user's day


def windows(shape: tuple[int, int]) -> Iterator[Span]:
    """Corners of windows at the beginning, in the middle and over the far rim of a level."""
    height, width = shape
    yield from ((0, 0), (height // 2, width // 2), (height - WINDOW // 2, width - WINDOW // 2))


def pixels(image: Any, shape: tuple[int, ...] | None = None) -> None:
    """Hold an image to what a reader promises."""
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, (image.dtype, image.shape)
    assert shape is None or image.shape[:2] == shape, (image.shape, shape)


def steps(slide: Any, predicting: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a user and a window do with an open slide."""
    from napari_zoommil.commands.report import describe, describe_text
    from napari_zoommil.jobs import predict, run

    yield "info", lambda: describe_text(describe(slide))
    yield "pyramid", lambda: pixels(np.asarray(slide.pyramid()[-1]))
    for index, level in enumerate(slide.levels):
        for y, x in windows(level.shape):
            yield (
                f"level {index}",
                lambda i=index, y=y, x=x: pixels(slide.read_level(i, y, x, WINDOW, WINDOW), (WINDOW, WINDOW)),
            )
    for scale in SCALES:
        for y, x in windows(slide.shape):
            yield (
                f"scale {scale}",
                lambda s=scale, y=y, x=x: pixels(
                    slide.read_downsampled(y, x, WINDOW, WINDOW, (s, s)), (WINDOW, WINDOW)
                ),
            )
    for name in slide.associated:
        yield f"image {name}", lambda name=name: pixels(slide.associated_image(name))
    if predicting:
        yield "predict", lambda: run(predict(slide, device="cpu", threads=1, workers=2))


def use(path: Path, predicting: bool) -> Report:
    """Outcome of one file, with the first sentence of every step that was refused."""
    from napari_zoommil.errors import ZoomMILError
    from napari_zoommil.slides import Slide

    said: dict[str, str] = {}
    try:
        slide = Slide.open(path)
    except ZoomMILError as error:
        return {"outcome": "refused", "said": {"open": str(error)}}
    except Exception:
        return {"failure": "exception", "step": "open", "detail": traceback.format_exc()}
    step, hurt = "close", False
    try:
        with slide:
            for step, act in steps(slide, predicting):
                try:
                    act()
                except ZoomMILError as error:
                    said.setdefault(step, str(error))
                    hurt |= not isinstance(error, SOUND)
            damaged = slide.damaged
    except Exception:
        return {"failure": "exception", "step": step, "detail": traceback.format_exc(), "said": said}
    return {
        "outcome": "opened-with-damage" if hurt or damaged else "opened",
        "said": said,
        "damaged": damaged,
    }


def open_files(path: Path) -> list[str]:
    """What this process still holds open at or below a path."""
    found = (file.path for file in psutil.Process().open_files())
    return [name for name in found if Path(name) == path or path in Path(name).parents]


def limit_address_space() -> None:
    """An allocation that no machine has is an error with a traceback; the parent watches smaller ones."""
    with suppress(ImportError):
        import resource

        most = psutil.Process().memory_info().vms + 3 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def serve(predicting: bool) -> None:
    """Answer each path on standard input with a report; whatever else is printed is noise."""
    import faulthandler

    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)
    if predicting:
        from napari_zoommil.jobs.loading import loaded

        with loaded("demo", "cpu"):
            pass
    limit_address_space()
    print("{}", file=replies, flush=True)
    for line in sys.stdin:
        path = Path(json.loads(line))
        report = use(path, predicting)
        report["open"] = open_files(path)
        print(json.dumps(report), file=replies, flush=True)


# ---------------------------------------------------------------------------- the parent: a watchdog


@dataclass
class Child:
    """A process that is asked about one file after another, and replaced when it does not survive."""

    command: list[str]
    seconds: float
    memory: int = MEMORY
    noise: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def __post_init__(self) -> None:
        self.process: psutil.Popen | None = None

    def start(self) -> None:
        self.process = psutil.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.noise
        )
        self.replies: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, self.replies), daemon=True).start()
        report = self._wait(START_SECONDS)
        assert "failure" not in report, f"the child does not start: {report} {self._heard()}"

    @staticmethod
    def _listen(process: psutil.Popen, replies: queue.Queue[bytes]) -> None:
        for line in process.stdout:
            replies.put(line)
        replies.put(b"")

    def ask(self, path: Path) -> Report:
        """What becomes of a file; a failure says what kind it is."""
        if self.process is None:
            self.start()
        self._heard()
        started = time.perf_counter()
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            self.process.stdin.flush()
        report = self._wait(self.seconds)
        report["seconds"] = round(time.perf_counter() - started, 2)
        return judged(report, self._heard())

    def _wait(self, seconds: float) -> Report:
        """The next reply, or how the child failed to give one, after which it is no more."""
        most = self.process.memory_info().rss + self.memory
        end = time.perf_counter() + seconds
        while True:
            with suppress(queue.Empty):
                line = self.replies.get(timeout=0.03)
                return json.loads(line) if line else self._ended()
            with suppress(psutil.Error):
                if self.process.memory_info().rss > most:
                    return self._killed("memory", f"grew by more than {self.memory >> 20} MB")
            if time.perf_counter() > end:
                return self._killed("hang", f"not done after {seconds:g} s")

    def _ended(self) -> Report:
        code, self.process = self.process.wait(10), None
        return {"failure": "crash", "detail": f"exit code {code}"}

    def _killed(self, kind: str, why: str) -> Report:
        """Where it was is said by the child's fault handler, into the noise."""
        if hasattr(signal, "SIGUSR1"):
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
        self.close()
        return {"failure": kind, "detail": why}

    def _heard(self) -> str:
        """What was printed since this was last asked."""
        self.noise.seek(0)
        heard = self.noise.read().decode(errors="replace")
        self.noise.seek(0)
        self.noise.truncate()
        return heard

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


def judged(report: Report, noise: str) -> Report:
    """A report in which whatever a user should not meet has become a failure."""
    if noise and "failure" in report:
        report["noise"] = noise[:8000]
    elif noise:
        report |= {"failure": "printed", "detail": noise[:4000]}
    elif report.get("open"):
        report |= {"failure": "left open", "detail": ", ".join(report["open"])}
    for step, sentence in report.get("said", {}).items():
        if not 0 < len(sentence) < SENTENCE or "\n" in sentence or "\r" in sentence:
            report.setdefault("failure", "sentence")
            report.setdefault("detail", f"{step}: {sentence}")
    if "failure" in report:
        report["outcome"] = "failed"
    return report


# ------------------------------------------------------------------------------------- both together


def child(seconds: float, predicting: bool = True) -> Child:
    """A child that does with each file what a user would."""
    # A user sees each warning once per program, which here would be once per many files.
    always = ["-W", "always::UserWarning", "-W", "always::RuntimeWarning"]
    command = [sys.executable, *always, __file__, "--serve", *([] if predicting else ["--reader"])]
    return Child(command, seconds)


def try_copies(copies: Sequence[Copy], tried: Child, folder: Path, keep: Path | None) -> list[Report]:
    """A report for each copy; the copies that fail are kept if there is a place for them."""
    reports = []
    for number, copy in enumerate(copies):
        path, mutation = copy.write(folder)
        found = {"copy": path.name, **asdict(copy), "slide": copy.slide.name, "mutation": mutation}
        reports.append(found | tried.ask(path))
        if keep and reports[-1]["outcome"] == "failed":
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, keep / path.name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {len(copies)}", end="", file=sys.stderr, flush=True)
    return reports


def default_slides(folder: Path) -> list[Path]:
    """A real slide, where there are any, and one that is written now."""
    from napari_zoommil.slides.synthetic import SyntheticSlide

    made = folder / "made.tif"
    SyntheticSlide(1, 2048, texture_px=512).write(made, workers=1)
    data = os.environ.get("NAPARI_ZOOMMIL_DATA")
    return [*([Path(data) / "slides" / "CMU-1-Small-Region.svs"] if data else []), made]


def summary(reports: Sequence[Report], seed: int) -> Report:
    """Counts, what failed and how to have it again, and every different sentence."""
    sentences: Counter[str] = Counter()
    for report in reports:
        for sentence in report.get("said", {}).values():
            sentences[sentence.replace(report["copy"], "SLIDE")] += 1
    slowest = max(reports, key=lambda report: report["seconds"], default=None)
    return {
        "copies": len(reports),
        "seed": seed,
        "outcomes": dict(Counter(report["outcome"] for report in reports)),
        "by_failure": dict(Counter(report["failure"] for report in reports if "failure" in report)),
        "slowest": slowest and {key: slowest[key] for key in ("copy", "seconds", "mutation")},
        "failures": [report for report in reports if "failure" in report],
        "sentences": dict(sentences.most_common()),
    }


def try_files(files: Sequence[Path], tried: Child, as_json: bool) -> bool:
    """Outcome and sentences of files as they are; whether all of them did well."""
    reports = []
    for path in files:
        reports.append({"file": path.name, **tried.ask(path.resolve())})
        if not as_json:
            report = reports[-1]
            said = [f"\n    {step}: {sentence}" for step, sentence in report.get("said", {}).items()]
            why = f"\n    {report['failure']}: {report['detail']}" if "failure" in report else ""
            print(f"{report['outcome']:<19} {path.name}{''.join(said)}{why}", flush=True)
    if as_json:
        print(json.dumps(reports, indent=2, ensure_ascii=False))
    return not any("failure" in report for report in reports)


def try_run(args: argparse.Namespace, tried: Child) -> bool:
    """Mutate, try and report; whether no copy failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slides = args.slide or default_slides(folder)
        for slide in slides:
            report = tried.ask(slide)
            assert report["outcome"] == "opened", f"{slide.name} is not sound to begin with: {report}"
        numbers = args.only or range(args.count)
        copies = [Copy(slides[number % len(slides)], args.seed, number) for number in numbers]
        reports = try_copies(copies, tried, folder, args.keep)
    found = summary(reports, args.seed) | {"slides": [slide.name for slide in slides]}
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return not found["failures"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="files to be used as they are")
    parser.add_argument("--json", action="store_true", help="JSON for files too; a run's result always is")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of each file")
    parser.add_argument("--slide", type=Path, nargs="+", help="what to damage: files, or folders of files")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the copies to try")
    parser.add_argument("--keep", type=Path, help="folder for the copies that fail")
    parser.add_argument("--reader", action="store_true", help="do not predict")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(not args.reader)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    tried = child(args.seconds, not args.reader)
    try:
        well = try_files(args.files, tried, args.json) if args.files else try_run(args, tried)
    finally:
        tried.close()
    sys.exit(not well)


if __name__ == "__main__":
    main()

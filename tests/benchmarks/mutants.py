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
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil
from mutant_child import MEMORY, Report
from mutations import Copy

START_SECONDS = 180.0
"""For a child to import what it needs."""

SENTENCE = 400
"""Characters from which a refusal is no longer one sentence."""


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


def child(seconds: float, predicting: bool = True) -> Child:
    """A child that does with each file what a user would."""
    # A user sees each warning once per program, which here would be once per many files.
    always = ["-W", "always::UserWarning", "-W", "always::RuntimeWarning"]
    script = str(Path(__file__).with_name("mutant_child.py"))
    command = [sys.executable, *always, script, *([] if predicting else ["--reader"])]
    return Child(command, seconds)


def try_copies(
    copies: Sequence[Copy], tried: Child, folder: Path, keep: Path | None, seconds: float = math.inf
) -> list[Report]:
    """A report for each copy, as many as there is time for; those that fail are kept if there is a place."""
    reports, end = [], time.monotonic() + seconds
    for number, copy in enumerate(copies):
        if time.monotonic() > end:
            break
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
    from napari_zoommil.synthetic import SyntheticSlide

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
        reports = try_copies(copies, tried, folder, args.keep, 60 * args.minutes)
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
    parser.add_argument("--minutes", type=float, default=math.inf, help="do not begin a copy after that")
    parser.add_argument("--slide", type=Path, nargs="+", help="what to damage: files, or folders of files")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the copies to try")
    parser.add_argument("--keep", type=Path, help="folder for the copies that fail")
    parser.add_argument("--reader", action="store_true", help="do not predict")
    args = parser.parse_args()
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

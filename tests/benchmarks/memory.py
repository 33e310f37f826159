"""Peak resident memory of predicting a slide with the shipped model, beside that of importing torch.

    python tests/benchmarks/memory.py --json [--slide SLIDE] [--model demo] [--compress]

With --compress, of neural image compression instead: ``embed`` of patches of 128 px at 20x with the encoder
``nic``, and ``export-features`` of them as one image.

Each is a process of its own, and its peak is what the kernel says it was (``ru_maxrss``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from napari_zoommil.slides.samples import synthetic_slide

GIB = 1 << 30
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_of(arguments: Sequence[str]) -> tuple[float, float]:
    """Peak GiB of a Python process and the seconds it took.

    Raises
    ------
    SystemExit
        If it fails.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, *arguments], stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(arguments)} ended in {child.returncode}: {said.read().decode()}")
    return usage.ru_maxrss * MAXRSS_UNIT / GIB, time.perf_counter() - started


def measure(path: Path, model: str) -> dict[str, object]:
    """The prediction, and torch alone."""
    bare, _ = peak_of(["-c", "import torch"])
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "napari_zoommil.cli", "predict", str(path), "--model", model, "--out", folder]
        peak, seconds = peak_of(command)
    return {
        "slide": path.name,
        "slide_bytes": path.stat().st_size,
        "peak_gib": {"predict": round(peak, 3), "import_torch": round(bare, 3)},
        "beyond_torch_gib": round(peak - bare, 3),
        "seconds": round(seconds, 1),
        "ratio": round(peak / bare, 2),
    }


def measure_compression(path: Path) -> dict[str, object]:
    """Encoding and export, and torch alone."""
    bare, _ = peak_of(["-c", "import torch"])
    with tempfile.TemporaryDirectory() as folder:
        settings = ["--encoder", "nic", "--magnifications", "20", "--patch-size", "128"]
        command = ["-m", "napari_zoommil.cli"], [str(path), *settings, "--store", f"{folder}/store"]
        embed, seconds = peak_of([*command[0], "embed", *command[1]])
        more = ["--layout", "array", "--out", f"{folder}/out"]
        export, of_export = peak_of([*command[0], "export-features", *command[1], *more])
        (image,) = Path(folder).rglob("*.npy")
        facts = json.loads(image.with_suffix(".json").read_text())
        size = image.stat().st_size
    return {
        "slide": path.name,
        "slide_bytes": path.stat().st_size,
        "image": facts["shape"],
        "image_bytes": size,
        "patches": facts["patches"],
        "peak_gib": {"embed": round(embed, 3), "export": round(export, 3), "import_torch": round(bare, 3)},
        "seconds": {"embed": round(seconds, 1), "export": round(of_export, 1)},
        "ratio": round(embed / bare, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--compress", action="store_true", help="measure neural image compression")
    args = parser.parse_args()
    slide = args.slide or synthetic_slide()
    print(json.dumps(measure_compression(slide) if args.compress else measure(slide, args.model), indent=2))


if __name__ == "__main__":
    main()

"""Kill napari at random moments while points are placed in it, and look at what is left on disk.

    xvfb-run -a python tests/benchmarks/kills.py --json [--kills 20] [--seed 0]

Each round starts a window on (a copy of) the sample slide with the Annotate dock, which clicks points into
the canvas one after the other and says after each how many there are. It gets SIGKILL after a random while.
``lost`` are points it had spoken of that the file lacks: 0 at every kill, for whoever places a point finds
it on disk. ``in_flight`` counts kills that fell between writing a point and speaking of it. The next round
goes on with the file of the last; one that does not parse ends the benchmark with its error.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from napari_zoommil.annotations import Points, annotations_path
from napari_zoommil.slides import Slide
from napari_zoommil.slides.samples import synthetic_slide

LONGEST = 3.0
"""Seconds of annotating before a kill, at most."""

START_SECONDS = 180


def annotate(slide: Path) -> None:
    """Click points into a window until the end."""
    import napari
    import numpy as np
    from user import User

    from napari_zoommil.viewer.docks.showing import show_dock
    from napari_zoommil.viewer.layers.slide import open_slide_layer

    viewer = napari.Viewer()
    data, arguments, _ = open_slide_layer(slide)
    viewer.add_image(data, **arguments)
    of = show_dock(viewer, "Annotate").current
    user, rng = User(viewer, of.entry.slide), np.random.default_rng(len(of.points))
    middle = np.array(of.entry.slide.shape) / 2
    user.look(20, *middle)
    while True:
        user.click(middle + rng.uniform(-300, 300, 2))
        print(len(of.points), flush=True)


def kill_once(slide: Path, seconds: float) -> tuple[int, int]:
    """Start a window, kill it so long after its first point; what it said last, and after how many points."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--annotate", str(slide)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    started = time.monotonic()
    first = child.stdout.readline()
    if not first:
        raise SystemExit(f"the window ended by itself: {child.wait()}")
    assert time.monotonic() - started < START_SECONDS
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    said = [
        int(line) for line in (first + child.stdout.read()).splitlines() if line.endswith(tuple("0123456789"))
    ]
    child.wait()
    return said[-1], len(said)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--annotate", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.annotate:
        return annotate(args.annotate)
    rng, rounds = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(shutil.copy(synthetic_slide(), folder))
        with Slide.open(slide) as opened:
            path = annotations_path(opened)
        for _ in range(args.kills):
            seconds = rng.uniform(0, LONGEST)
            said, placed = kill_once(slide, seconds)
            on_disk = len(Points.read(path))
            rounds.append({"after_s": round(seconds, 2), "placed": placed, "said": said, "on_disk": on_disk})
            print(rounds[-1], file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "kills": len(rounds),
                "placed": sum(one["placed"] for one in rounds),
                "lost": max(max(0, one["said"] - one["on_disk"]) for one in rounds),
                "in_flight": sum(one["on_disk"] > one["said"] for one in rounds),
                "rounds": rounds,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

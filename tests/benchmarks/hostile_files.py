"""Pipes, sockets and devices in every place where a file is named; small files that would cost gigabytes.

    python tests/benchmarks/hostile_files.py --json [--parts special bombs] [--only NAME …]

Each command runs in a fork, for at most 90 s and 1.5 GB more than before. It ends in 0, or in 1
with one line that says why. The exit code is 1 if any did otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bombs import BOMBS
from disturbed_jobs import fault_of, last_line
from small_jobs import ON_CPU, READING, Command, called, forked, import_all, make_cohort

NEED_NO_TORCH = ("slide", "slide-zarr")
SECONDS = 90.0
MEMORY_MB = 1500


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "socket": bound_socket,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "folder": Path.mkdir,
    "dangling": lambda path: path.symlink_to(path.with_name("nothing")),
    "loop": lambda path: path.symlink_to(path),
    "random": lambda path: path.write_bytes(os.urandom(5000)),
    "empty": Path.touch,
    "not-there": lambda path: None,
}


def places(data: Path, out: Path) -> dict[str, tuple[str, Callable[[str], Command]]]:
    """Where a file can be named: ending, and command."""
    slide, points, to = str(data / "0.tif"), str(data / "points.geojson"), str(out / "out")
    made_as = ["--as", "clam_sb", "--encoder", "nic", "--out", to]
    teach = ["finetune", slide, "--epochs", "1", *ON_CPU]
    search = ["detect", slide, "--out", f"{to}.geojson", *ON_CPU]
    return {
        "slide": (".svs", lambda path: ["info", path]),
        "slide-zarr": (".zarr", lambda path: ["info", path]),
        "slide-dicom": (".dcm", lambda path: ["detect", path, *search[2:]]),
        "annotations": (".geojson", lambda path: [*teach, "--out", to, "--annotations", path]),
        "regions": (".geojson", lambda path: [*search, "--regions", path]),
        "regions-xml": (".xml", lambda path: [*search, "--regions", path]),
        "model": ("", lambda path: ["predict", slide, "--model", path, "--out", to, *ON_CPU]),
        "cell-model": ("", lambda path: [*search, "--model", path]),
        "cohort": (".csv", lambda path: ["train", path, "--store", f"{to}-s", "--out", to, *READING]),
        "slides": (".csv", lambda path: ["predict", path, "--out", to, *ON_CPU]),
        "features": (".h5", lambda path: ["predict", slide, "--features", path, "--out", to, *ON_CPU]),
        "checkpoint": (".pt", lambda path: ["import-model", path, *made_as]),
        "out": (".geojson", lambda path: ["detect", slide, "--out", path, *ON_CPU]),
        "store": ("", lambda path: ["embed", slide, "--store", path, *READING]),
        "model-out": ("", lambda path: [*teach, "--out", path, "--annotations", points]),
    }  # fmt: skip


def tried(command: Command, log: Path) -> dict[str, Any]:
    """How a command ends, in what time and memory."""
    log.unlink(missing_ok=True)
    began, code, peak = time.monotonic(), None, 0
    pid = forked(called(command, log))
    while time.monotonic() < began + SECONDS:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss >> 10
            break
        time.sleep(0.02)
    else:
        os.kill(pid, signal.SIGKILL)
        peak = os.wait4(pid, 0)[2].ru_maxrss >> 10
    grown = peak - (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    fault = fault_of(code, log, (0, 1)) or (f"{grown} MB" if grown > MEMORY_MB else "")
    said = last_line(log)[-400:] if code else ""
    return {"code": code, "s": round(time.monotonic() - began, 2), "mb": grown, "said": said, "fault": fault}


def special(data: Path, work: Path, log: Path, only: list[str] | None, info: bool) -> dict[str, Any]:
    """Every kind of file in every place."""
    found = {}
    for kind, make in SPECIAL.items():
        for place in places(data, work):
            name = f"{kind} as {place}"
            if (only and name not in only) or (info and place not in NEED_NO_TORCH):
                continue
            folder = work / name.replace(" ", "-")
            folder.mkdir()
            ending, command = places(data, folder)[place]
            path = folder / f"it{ending}"
            make(path)
            before = path.lstat().st_mode if os.path.lexists(path) else None
            found[name] = tried(command(str(path)), log)
            after = path.lstat().st_mode if os.path.lexists(path) else None
            if kind in ("fifo", "socket", "zero", "null") and before != after:
                found[name]["fault"] = "it was replaced"
            shutil.rmtree(folder)
    return found


def bombs(data: Path, work: Path, log: Path, only: list[str] | None, info: bool) -> dict[str, Any]:
    """Every bomb in its place; slides are also searched, which reads their tissue."""
    found = {}
    for name, (place, make) in BOMBS.items():
        if (only and name not in only) or (info and place not in NEED_NO_TORCH):
            continue
        folder = work / f"bomb-{name}"
        folder.mkdir()
        path = folder / name
        make(path)
        _, command = places(data, folder)[place]
        found[name] = tried(command(str(path)), log)
        if place.startswith("slide") and not info:
            search = ["detect", str(path), "--mpp", "0.25", "--out", str(folder / "o.geojson"), *ON_CPU]
            found[f"{name}, searched"] = tried(search, log)
        shutil.rmtree(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--parts", nargs="+", choices=("special", "bombs"), default=("special", "bombs"))
    parser.add_argument("--info", action="store_true", help="only commands that need no torch")
    parser.add_argument("--only", nargs="+", help="names of what to try")
    args = parser.parse_args()
    if not args.info:
        import_all()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        data = Path(name)
        make_cohort(data, 1024)
        for part in args.parts:
            tries = special if part == "special" else bombs
            found |= tries(data, data, data / "log", args.only, args.info)
            print(part, len(found), file=sys.stderr, flush=True)
    faults = {name: one for name, one in found.items() if one["fault"]}
    codes = Counter(str(one["code"]) for one in found.values())
    print(json.dumps({"tries": len(found), "codes": codes, "faults": faults, "all": found}, indent=1))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

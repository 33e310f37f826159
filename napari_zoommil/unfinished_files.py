"""Names of unfinished files and folders, which tell who is writing them, and what killed processes left."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from platformdirs import user_cache_path

MACHINE_ID = Path("/etc/machine-id")

WRITER = re.compile(r"(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}(\.part)?$")
"""End of the name of an unfinished file or folder, see :func:`unique_name`."""


@cache
def machine() -> str:
    """Tells the machine, or the container, whose processes can be seen from here: others write to a shared
    disk too."""
    processes = ""
    with suppress(OSError, AttributeError):
        processes = os.readlink("/proc/self/ns/pid")
    known = f"{platform.node()} {_installation() or _kept_number()} {processes}"
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def _installation() -> str:
    """Number of a Linux installation, which clones do not share; empty elsewhere."""
    with suppress(OSError, ValueError):
        found = MACHINE_ID.read_text(encoding="ascii").strip()
        return "" if found == "uninitialized" else found
    return ""


def _kept_number() -> str:
    """A random number in this user's cache; of this process alone, where it cannot be kept."""
    path = user_cache_path("napari-zoommil") / "machine"
    with suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), path.open("x", encoding="ascii") as file:
            file.write(uuid4().hex)
        if kept := path.read_text(encoding="ascii"):  # empty while another process writes it
            return kept
    return uuid4().hex


def unique_name() -> str:
    """End of the name of an unfinished file or folder, which tells who is writing it."""
    return f"{machine()}-{os.getpid()}-{uuid4().hex[:8]}"


def is_abandoned(path: Path) -> bool:
    """Whether an unfinished file or folder was left by a killed process.

    Not where that cannot be known: of another machine or another user.
    """
    writer = WRITER.search(path.name)
    if writer is None or writer["machine"] != machine():
        return False
    try:
        is_own = not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
    except OSError:
        return False
    import psutil  # here, because there is rarely anything to ask it

    return is_own and not psutil.pid_exists(int(writer["process"]))


def sweep(found: Iterable[Path]) -> None:
    """Delete those among unfinished files and folders that killed processes left."""
    for path in found:
        if is_abandoned(path):
            rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()

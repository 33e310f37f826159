"""Identity of a slide that does not depend on its name or location: a hash of its size, head and tail."""

from __future__ import annotations

import hashlib
from pathlib import Path

SAMPLE_BYTES = 256 << 10
SAMPLED_FILES = 64
"""Files of a folder whose contents are hashed: uncompressed chunks do not differ in name and size."""

CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
"""Files that file managers write into the folders they show; ignored."""


def fingerprint(path: Path, variant: str = "") -> str:
    """32 hexadecimal digits; for a folder from the names and sizes of its files and the ends of some.

    ``variant`` distinguishes renderings of the same file, such as with and without its colour profile.
    """
    digest = hashlib.sha256(variant.encode())
    if path.is_dir():
        found = {entry.relative_to(path).as_posix(): entry for entry in path.rglob("*") if entry.is_file()}
        files = [(name, found[name]) for name in sorted(found) if found[name].name not in CLUTTER]
        for name, file in files:
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        for _, file in files[:: max(1, -(-len(files) // SAMPLED_FILES))]:
            _add_ends(digest, file, SAMPLE_BYTES // SAMPLED_FILES)
    else:
        _add_ends(digest, path, SAMPLE_BYTES)
    return digest.hexdigest()[:32]


def _add_ends(digest: hashlib._Hash, path: Path, sample: int) -> None:
    size = path.stat().st_size
    digest.update(f"{size}\0".encode())
    with path.open("rb") as handle:
        digest.update(handle.read(sample))
        if size > sample:
            handle.seek(max(sample, size - sample))
            digest.update(handle.read(sample))

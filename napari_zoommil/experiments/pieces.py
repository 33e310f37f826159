"""Pieces of an experiment: each has a name such as ``abmil/0`` and a result in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from napari_zoommil.errors import JobError
from napari_zoommil.files import make_folder, write_json

MADE_WITH = "made_with"


@dataclass(frozen=True)
class Pieces:
    """Results of pieces in a folder.

    Parameters
    ----------
    folder : Path
    made_with : dict of str to Any
        Everything that determines the result of each piece, by its name, as JSON.
    """

    folder: Path
    made_with: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Whether a piece has a result.

        Raises
        ------
        JobError
            If the result was made with other settings or data.
        """
        path = self._path(name)
        if not path.exists():
            return False
        if self._content(path)[MADE_WITH] != self._own(name):
            raise JobError(f"{path} has other settings or data; remove it, or write into another folder")
        return True

    def keep(self, name: str, result: Mapping[str, Any]) -> None:
        """Write a result atomically."""
        make_folder(self.folder)
        write_json(self._path(name), {MADE_WITH: self._own(name), **result}, indent=1)

    def all(self) -> dict[str, dict[str, Any]]:
        """The results of all pieces that have one, by name."""
        return {name: self.read(name) for name in self.made_with if self.has(name)}

    def read(self, name: str) -> dict[str, Any]:
        """A result, without the settings."""
        return {key: value for key, value in self._content(self._path(name)).items() if key != MADE_WITH}

    def _own(self, name: str) -> Any:
        return json.loads(json.dumps(self.made_with[name]))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '_')}.json"

    def _content(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise JobError(f"{path} is not the result of a piece; remove it") from error
        if not isinstance(content, dict) or MADE_WITH not in content:
            raise JobError(f"{path} is not the result of a piece; remove it")
        return content


def select(names: Iterable[str], only: Sequence[str]) -> list[str]:
    """Names that match patterns, in their own order; all of them without patterns.

    Parameters
    ----------
    names : iterable of str
        Such as ``abmil@20x/0``.
    only : sequence of str
        Patterns such as ``abmil@20x/0``, ``abmil*``, ``zoommil,transmil/0,1``: parts between slashes, each
        with alternatives between commas, in which ``*`` stands for any text. Missing parts at the end match
        all.

    Raises
    ------
    JobError
        If a pattern matches nothing.
    """
    known = list(names)
    found = set()
    for pattern in only:
        matching = {name for name in known if _matches(name, pattern)}
        if not matching:
            raise JobError(f"{pattern!r} matches none of the pieces {', '.join(known)}")
        found |= matching
    return [name for name in known if name in found] if only else known


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.strip("/").split("/")
    return len(wanted) <= len(parts) and all(
        any(fnmatchcase(part, one) for one in alternatives.split(","))
        for part, alternatives in zip(parts, wanted, strict=False)
    )


def as_json(settings: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """A dataclass of settings as JSON, but for some fields; those are not copied, which may be long."""
    return {
        one.name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for one in fields(settings)
        if one.name not in without
        for value in [getattr(settings, one.name)]
    }

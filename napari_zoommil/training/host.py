"""What a fit changes of the process it runs in, and gives back: logs, warnings and the environment."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

PORT, CPP_LOG = "MASTER_PORT", "TORCH_CPP_LOG_LEVEL"
"""Variables of the environment."""

GREETINGS = "lightning.pytorch.utilities.rank_zero"
"""Logger of what Lightning tells about devices and its own products."""


@contextmanager
def processes_of_a_fit() -> Iterator[None]:
    """The environment for them: torch tells them nothing but errors, and where they meet is not kept, which
    the next fit would take for its own."""
    before = dict(os.environ)
    os.environ.setdefault(CPP_LOG, "ERROR")
    try:
        yield
    finally:
        for name in (PORT, CPP_LOG):
            if name not in before:
                os.environ.pop(name, None)


def last_line(error: BaseException) -> str:
    """Of an error of another process, whose text holds a traceback: what it said."""
    return str(error).strip().rpartition("\n")[2]


def silence() -> tuple[list[logging.Filterer], logging.Filter, Any]:
    """Who tells no more, the filter that was added to them, and the one that was added to warnings."""
    logs = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    tellers = [logging.getLogger(GREETINGS), *(handler for log in logs for handler in log.handlers)]
    own = _Warnings()
    for teller in tellers:
        teller.addFilter(own)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    return tellers, own, warnings.filters[0]


class _Warnings(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's greetings and remarks on how it is used: they are no user's concern.

    Adds filters and takes them out again, so that fits that overlap, and whoever else changes warnings
    meanwhile, do not restore what is no longer so.
    """
    tellers, own, added = silence()
    try:
        yield
    finally:
        with suppress(ValueError):  # somebody has restored an earlier list
            warnings.filters.remove(added)  # type: ignore[attr-defined]
        for teller in tellers:
            teller.removeFilter(own)

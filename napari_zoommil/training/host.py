"""Process-wide settings that a fit changes and restores: log filters, warnings and environment variables."""

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
"""Logger of Lightning's messages about devices and products."""


@contextmanager
def processes_of_a_fit() -> Iterator[None]:
    """Environment of the processes of a fit: torch logs only errors, and the port at which they meet is
    removed afterwards, because the next fit would use it."""
    before = dict(os.environ)
    os.environ.setdefault(CPP_LOG, "ERROR")
    try:
        yield
    finally:
        for name in (PORT, CPP_LOG):
            if name not in before:
                os.environ.pop(name, None)


def last_line(error: BaseException) -> str:
    """The message of an error of another process, whose text contains a traceback."""
    return str(error).strip().rpartition("\n")[2]


def silence() -> tuple[list[logging.Filterer], logging.Filter, Any]:
    """Suppress messages; returns the loggers and handlers, the filter added to them, and that of warnings."""
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
    """Suppress Lightning's messages and warnings about its use.

    Only the filters added here are removed, so that overlapping fits and other changes of warnings do not
    restore outdated lists.
    """
    tellers, own, added = silence()
    try:
        yield
    finally:
        with suppress(ValueError):  # other code has restored an earlier list
            warnings.filters.remove(added)  # type: ignore[attr-defined]
        for teller in tellers:
            teller.removeFilter(own)

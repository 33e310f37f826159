"""The process ends soon after its window."""

from __future__ import annotations

import atexit
import gc
from functools import cache


@cache
def end_without_collecting() -> None:
    """Let the interpreter end without looking through all objects for cycles once more.

    With torch loaded that takes one to two seconds, in which the window is gone and the process still there;
    the memory is given back all the same.
    """
    atexit.register(gc.freeze)

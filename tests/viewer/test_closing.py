"""The process ends soon after its window."""

from __future__ import annotations

import subprocess
import sys

END = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 0))  # called after what is registered later
from napari_zoommil.viewer.closing import end_without_collecting
end_without_collecting()
end_without_collecting()
print(gc.get_freeze_count() > 0, atexit._ncallbacks())
"""


def test_objects_are_left_out_of_the_last_collection_and_of_no_other() -> None:
    told = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "2", "True"]

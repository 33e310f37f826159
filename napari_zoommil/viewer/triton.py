"""Shared libraries that must not meet inside a window's process."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def load_triton_apart() -> None:
    """Load triton so that it keeps to the LLVM it brings.

    torchvision, and with it timm, loads triton. Where Mesa draws the window, Mesa's own LLVM has put
    its symbols before everybody's, triton takes those for its own, and the process ends in a
    segmentation fault (seen with torch 2.15, triton 3.9 and Mesa's software OpenGL). Deep binding
    lets triton look at its own symbols first.
    """
    if not sys.platform.startswith("linux") or "triton" in sys.modules or find_spec("triton") is None:
        return
    usual = sys.getdlopenflags()
    sys.setdlopenflags(usual | os.RTLD_DEEPBIND)
    try:
        import triton  # noqa: F401
    except ImportError:
        return  # whoever needs it will say so
    finally:
        sys.setdlopenflags(usual)

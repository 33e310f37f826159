"""Loading of triton without a conflict of its LLVM with that of Mesa."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def load_triton_apart() -> None:
    """Load triton so that it uses its own LLVM.

    torchvision, and so timm, loads triton. If Mesa draws the window, triton finds the symbols of Mesa's LLVM
    first, and the process ends in a segmentation fault (seen with torch 2.15, triton 3.9 and Mesa's software
    OpenGL). With deep binding triton uses its own symbols first.
    """
    if not sys.platform.startswith("linux") or "triton" in sys.modules or find_spec("triton") is None:
        return
    usual = sys.getdlopenflags()
    sys.setdlopenflags(usual | os.RTLD_DEEPBIND)
    try:
        import triton  # noqa: F401
    except ImportError:
        return  # importing triton reports the error
    finally:
        sys.setdlopenflags(usual)

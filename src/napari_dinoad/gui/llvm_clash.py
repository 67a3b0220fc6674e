"""Keeps two copies of LLVM apart: with both in one process, Linux ends it without a word.

Mesa, which draws napari's canvas on machines without a vendor's graphics driver, brings ``libLLVM``. The CUDA wheels
of torch bring Triton, whose library exports LLVM symbols of its own; importing it once Mesa is loaded is a
segmentation fault (Triton's symbols bind to Mesa's LLVM). timm and torchvision import Triton where they find it,
but only ``torch.compile`` needs it, which this package does not use.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

__all__ = ["keep_triton_out"]

logger = logging.getLogger(__name__)

_PROCESS_MAPS = Path("/proc/self/maps")


def keep_triton_out() -> bool:
    """Make later imports of Triton fail cleanly where they would crash; return whether that was done.

    Call it before torch is first used in a process that shows a viewer. torch and timm go on without Triton.
    """
    if not sys.platform.startswith("linux") or "triton" in sys.modules or not _has_libllvm():
        return False
    sys.modules["triton"] = None  # type: ignore[assignment]  # Python's own way to make an import fail
    logger.info("Mesa's LLVM is loaded: Triton is kept out, since importing it would crash the process.")
    return True


def _has_libllvm() -> bool:
    try:
        return "libLLVM" in _PROCESS_MAPS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False

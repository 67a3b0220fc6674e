"""What pydicom says of values quotes them: it is silent while headers and pixels are read, and files are made."""

from __future__ import annotations

from pydicom.config import disable_value_validation

from napari_dinoad.machine.shared_block import SharedBlock

__all__ = ["unvalidated"]

unvalidated = SharedBlock(disable_value_validation)
"""A block in which pydicom does not look whether values are as the standard wants them."""

"""Model files: tensors and one JSON document in a safetensors file, with a checksum of both."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from napari_dinoad.errors import ModelFileError
from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.machine.faults import is_of_memory
from napari_dinoad.machine.files import require_readable
from napari_dinoad.machine.temporaries import remove_abandoned
from napari_dinoad.normative_model.format import METADATA_KEY, fault_of_file, require_format

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

__all__ = ["content_sha256", "read_model_arrays", "read_model_file", "write_model_file"]

_CHECKSUM_KEY = "sha256"


def write_model_file(path: Path, document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a model file, atomically; the checksum is put into it.

    Raises
    ------
    DinoadError
        If the place cannot be written.
    """
    from safetensors.torch import save

    checked = {**document, _CHECKSUM_KEY: content_sha256(document, tensors)}
    content = save(tensors, {METADATA_KEY: json.dumps(checked, sort_keys=True, allow_nan=False)})
    remove_abandoned(path.parent)
    with atomic_path(path, n_bytes=len(content)) as temporary:
        # A full disk is then an OSError, which tells what is wrong; safetensors' own writer has another error.
        temporary.write_bytes(content)


def read_model_file(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], bool]:
    """Return the document, without its checksum, the tensors, and whether the checksum is that of both.

    Raises
    ------
    ModelFileError
        If the file is missing, no model file, or of another format.
    """
    return _read(path, "pt")


def read_model_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], bool]:
    """Return what `read_model_file` does with arrays in place of tensors, without torch; its errors are the same."""
    return _read(path, "numpy")


def _read(path: Path, framework: Literal["pt", "numpy"]) -> tuple[dict[str, Any], dict[str, Any], bool]:
    if not path.is_file():
        raise ModelFileError(f"{path}: expected a model file (.dinoad), found no such file.")
    require_readable(path, ModelFileError)
    try:
        with safe_open(path, framework=framework) as stored:
            text = (stored.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise ModelFileError(f"{path}: a safetensors file, but not a model of napari-dinoad.")
            document = json.loads(text)
            require_format(path, document)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
            if framework == "pt":
                # Copies: an update may replace the file while they are used, and Windows replaces no file that is
                # mapped. Arrays are copies already.
                tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    except (SafetensorError, OSError, RuntimeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        # RuntimeError: what PyTorch makes of a disk that fails, or a file that is cut short meanwhile.
        if is_of_memory(error):
            raise
        raise fault_of_file(path, error) from error
    checksum = document.pop(_CHECKSUM_KEY, "")
    try:
        is_whole = bool(checksum == content_sha256(document, tensors))
    except (LookupError, TypeError, AttributeError):
        is_whole = False
    return document, tensors, is_whole


def content_sha256(document: dict[str, Any], tensors: Mapping[str, torch.Tensor | np.ndarray]) -> str:
    """Return a SHA-256 (hex) of all that is in a model file beside the checksum itself and the date.

    So the same fit on another day has the same one.
    """
    provenance = {name: told for name, told in document["provenance"].items() if name != "created"}
    text = json.dumps({**document, "provenance": provenance}, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        if isinstance(tensor, np.ndarray):
            kind, array = f"torch.{tensor.dtype.name}", np.ascontiguousarray(tensor).reshape(tensor.shape)
        else:
            kind, array = str(tensor.dtype), tensor.contiguous().numpy()
        digest.update(f"{name} {kind} {tuple(tensor.shape)}".encode())
        digest.update(array.data)
    return digest.hexdigest()

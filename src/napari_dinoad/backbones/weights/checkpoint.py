"""Reading a weights file without running anything that it holds."""

from __future__ import annotations

import argparse
import json
import pickle
import re
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from napari_dinoad.backbones.weights.foreign_files import refuse_foreign_file
from napari_dinoad.backbones.weights.hub import INDEX_SUFFIX
from napari_dinoad.backbones.weights.unwrapping import unwrapped
from napari_dinoad.errors import WeightsError, first_line
from napari_dinoad.machine.faults import is_of_memory
from napari_dinoad.machine.files import require_readable, sha256_of_file, version_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_checkpoint"]

_HASH_IN_NAME = re.compile(r"^dinov3_\w+-([0-9a-f]{8,64})\.(?:pth|pt|bin|safetensors)$")
"""The names of DINOv3's files end in the first characters of the file's SHA-256; in others it may be a date."""

_PART = re.compile(r"^(?P<stem>.+)-\d{5}-of-(?P<n>\d{5})\.(?:safetensors|bin)$")
"""How the parts of a checkpoint in several files are named."""

_ANY_READ_ERROR = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
    SafetensorError,
)


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a weights file by name, on the CPU.

    Parameters
    ----------
    path : Path
        safetensors (also an index of several), or PyTorch's ``.pth``/``.pt``/``.bin``, which is read with
        ``weights_only=True``: code inside it is refused, never run; and compared with its checksums, if it has any.
        The kind is told by content, not by ending.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, no weights file, or holds anything but tensors; see `unwrapped`, too.
    Exception
        What the library raises where memory does not hold it; see `napari_dinoad.machine.faults`.
    """
    if not path.is_file():
        raise WeightsError(f"Weights: {path} is not there. Check the path.")
    require_readable(path, WeightsError)
    is_index = path.name.endswith(INDEX_SUFFIX)
    if not is_index and not _is_safetensors(path):
        refuse_foreign_file(path)
    _refuse_part(path)
    check_hash_in_name(path)
    try:
        if is_index:
            return _read_index(path)
        document = _read_safetensors(path) if _is_safetensors(path) else _torch_load(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"Weights: {path} holds code or objects besides tensors, or is damaged; nothing of it was run. Expected "
            "a plain file of weights: get the official file, or save the state dict as safetensors."
        ) from error
    except _ANY_READ_ERROR as error:
        if is_of_memory(error):
            raise
        raise WeightsError(
            f"Weights: {path} could not be read: it is damaged, cut short or no weights file "
            f"({first_line(error)}). Expected safetensors or PyTorch's .pth; download it again."
        ) from error
    return unwrapped(document, path)


def check_hash_in_name(path: Path) -> None:
    """Compare a file of DINOv3's release with the hash in its name; `WeightsError` if they differ."""
    found = _HASH_IN_NAME.match(path.name)
    if found and not sha256_of_file(path).startswith(found[1]):
        raise WeightsError(
            f"Weights: {path} is not the file that its name says: expected a SHA-256 beginning with {found[1]}, "
            f"got {sha256_of_file(path)[: len(found[1])]}. It is damaged or cut short; download it again."
        )


def _check_checksums(path: Path) -> None:
    """Compare a ``.pth`` with the checksums in it, as PyTorch does not; `WeightsError` if they differ.

    Files of PyTorch before version 1.6 and those that were saved without have none.
    """
    with path.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            return
    damaged: str | None
    try:
        with zipfile.ZipFile(path) as archive:
            has_checksums = any(record.CRC for record in archive.infolist())
            damaged = archive.testzip() if has_checksums else None
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError):
        damaged = "a tensor"  # A bit of what tells where they lie, and how they are packed.
    if damaged is not None:
        raise WeightsError(
            f"Weights: {path} is damaged: the checksum of {damaged} in it is not that of its content. Download it "
            "again."
        )


def _refuse_part(path: Path) -> None:
    part = _PART.match(path.name)
    if part and int(part["n"]) > 1:
        advice = (
            "Parts of this format are not put together: get the safetensors."
            if path.suffix == ".bin"
            else f"Give their index ({part['stem']}{INDEX_SUFFIX}), or the folder in which it lies with all of them."
        )
        raise WeightsError(f"Weights: {path} is one part of {int(part['n'])}. {advice}")


def _is_safetensors(path: Path) -> bool:
    # Eight bytes of header length, then the header, a JSON object.
    with path.open("rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return copies of the tensors: a file that stays mapped must not be cut short, and Windows replaces none.

    It is opened for each tensor, or what was copied would stay in memory a second time.
    """
    before = version_of(path)
    with safe_open(path, framework="pt") as stored:
        names = list(stored.keys())
    tensors = {name: _copied(path, name) for name in names}
    if version_of(path) != before:
        raise WeightsError(
            f"Weights: {path} was changed while it was read. Wait until it is whole, and try again."
        )
    return tensors


def _copied(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as stored:
        tensor: torch.Tensor = stored.get_tensor(name)
        return tensor.clone()


def _torch_load(path: Path) -> Any:
    # Training scripts save the arguments they were given; a namespace is but names with values, and runs nothing.
    with torch.serialization.safe_globals([argparse.Namespace]):
        document = torch.load(path, map_location="cpu", weights_only=True)
    _check_checksums(path)
    return document


def _read_index(path: Path) -> dict[str, torch.Tensor]:
    parts = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    tensors: dict[str, torch.Tensor] = {}
    for part in parts:
        if "/" in part or "\\" in part:
            raise WeightsError(f"Weights: {path} points outside its folder ({part}). Download it again.")
        file = path.with_name(part)
        if not _is_safetensors(file):
            refuse_foreign_file(file)
        tensors.update(_read_safetensors(file))
    return tensors

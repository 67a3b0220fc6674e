"""Files that are no weights, whatever they are called: told by their first bytes, before anything reads them."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

from napari_dinoad.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["refuse_foreign_file"]

_START_BYTES = 512

_UNPACK = "Unpack it, and give the weights file in it."
_OTHER_FORMAT = "Get the weights as safetensors or PyTorch's .pth."
_OTHER_FILE = "Expected a file of weights, safetensors or PyTorch's .pth: choose another one."

_BY_FIRST_BYTES = (
    (rb"\x1f\x8b", "compressed by gzip", _UNPACK),
    (rb"\xfd7zXZ\x00", "compressed by xz", _UNPACK),
    (rb"BZh[1-9]", "compressed by bzip2", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb".{257}ustar", "a tar archive", _UNPACK),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}WEBP", "a picture", _OTHER_FILE),
    (rb".{128}DICM", "a DICOM file", _OTHER_FILE),
    (rb"\x5c\x01\0\0|\0\0\x01\x5c|\x1c\x02\0\0|\0\0\x02\x1c", "a NIfTI scan", _OTHER_FILE),
    (rb"%PDF-", "a PDF document", _OTHER_FILE),
    (rb"GGUF", "a GGUF file (for llama.cpp)", _OTHER_FORMAT),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file (of Keras, probably)", _OTHER_FORMAT),
    # Its version, then its producer, graph or operators.
    (rb"\x08[\x01-\x1f][\x12\x3a\x42]", "an ONNX network", _OTHER_FORMAT),
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "a Git LFS pointer, which stands for the file",
        "Run 'git lfs pull' in that repository, or download the file itself.",
    ),
    (
        rb"(?:\xef\xbb\xbf)?\s*<(?i:!doctype|html|head|\?xml|!--)",
        "a web page, probably the login page of a proxy or a site",
        "Download it again, signed in there or with a browser, and look at its size before you bring it here.",
    ),
)
"""What a file begins with (regular expression), what it is then, and what to do."""


_PICKLE = b"\x80"
"""How PyTorch's files of before version 1.6 begin."""


def refuse_foreign_file(path: Path) -> None:
    """Raise `WeightsError`, with what it is and what to do, if a file is of another kind than PyTorch's own.

    Nothing is executed, and no more than the beginning and a zip archive's table of contents are read.
    """
    with path.open("rb") as stream:
        start = stream.read(_START_BYTES)
    for pattern, kind, advice in _BY_FIRST_BYTES:
        if re.match(pattern, start, re.DOTALL):
            raise WeightsError(f"Weights: {path} is {kind}. {advice}")
    if start.startswith(b"PK\x03\x04"):
        _refuse_foreign_zip(path)
    elif _is_text(start):
        raise WeightsError(f"Weights: {path} is a text. {_OTHER_FORMAT}")
    elif not start.startswith(_PICKLE):
        raise WeightsError(
            f"Weights: {path} is no weights file, or damaged: it begins neither as safetensors nor as PyTorch's "
            ".pth. Get the official file, or download it again."
        )


def _refuse_foreign_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise WeightsError(f"Weights: {path} is cut short or damaged. Download it again.") from error
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        raise WeightsError(
            f"Weights: {path} is a TorchScript program, which is code; nothing of it was run. Get the plain weights, "
            "or save its state dict as safetensors where it was made."
        )
    if "data.pkl" not in inner:
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise WeightsError(f"Weights: {path} is a zip archive ({listed or 'empty'}). {_UNPACK}")


def _is_text(start: bytes) -> bool:
    # A character of several bytes may be cut in two.
    characters = start.decode("utf-8", "ignore")
    return (
        len(characters.encode()) > len(start) - 4
        and bool(characters)
        and all(character.isprintable() or character in "\r\n\t\ufeff" for character in characters)
    )

"""Scorers as they were after an epoch, on disk, so that an interrupted fit goes on."""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.scoring.protocol import ScorerState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from napari_dinoad.pipeline.cohort.work_folder import WorkFolder

__all__ = ["Checkpoints"]

logger = logging.getLogger(__name__)

_METADATA_KEY = "state"
_CHECKSUM_KEY = "crc32"


@dataclass(frozen=True)
class Checkpoints:
    """States by name in a folder.

    A name is a hash of all that the state depends on (settings, and the scans that are fitted on), so that a state
    never meets other data than it was made from.

    Attributes
    ----------
    folder, temporary_folder : Path
        On one file system.
    """

    folder: Path
    temporary_folder: Path

    @classmethod
    def of(cls, work: WorkFolder) -> Checkpoints:
        """Return those of a fit, in its work folder."""
        return cls(work.states, work.temporary)

    def save(self, name: str, state: ScorerState) -> None:
        """Keep the state in place of an earlier one, atomically; `DinoadError` if the disk is full."""
        tensors = {key: tensor.contiguous() for key, tensor in state.tensors.items()}
        text = json.dumps(state.document())
        content = save(tensors, {_METADATA_KEY: text, _CHECKSUM_KEY: _checksum(text, tensors)})
        with atomic_path(self._path(name), self.temporary_folder, len(content)) as temporary:
            temporary.write_bytes(content)

    def load(self, name: str) -> ScorerState | None:
        """Return the state of that name, or None where there is none that can be read."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata()
                document = json.loads(metadata[_METADATA_KEY])
                # Copies: the file is replaced while they are used, and Windows replaces no file that is mapped.
                tensors = {key: stored.get_tensor(key).clone() for key in stored.keys()}
            if metadata[_CHECKSUM_KEY] != _checksum(metadata[_METADATA_KEY], tensors):
                raise ValueError("it has changed on the disk")
            return ScorerState(document["name"], document["settings"], tensors, document["history"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            logger.warning("A checkpoint of the fit cannot be read (%s); that part begins anew.", error)
            return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def _checksum(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the CRC-32 (hex) of a state's document and tensors."""
    checksum = zlib.crc32(text.encode())
    for key, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(
            tensor.numpy().data, zlib.crc32(f"{key} {tuple(tensor.shape)}".encode(), checksum)
        )
    return f"{checksum:08x}"

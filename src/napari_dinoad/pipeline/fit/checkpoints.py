"""Scorers as they were after an epoch, on disk, so that an interrupted fit goes on."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from napari_dinoad.machine.files import atomic_path
from napari_dinoad.scoring.protocol import ScorerState

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Checkpoints"]

logger = logging.getLogger(__name__)

_METADATA_KEY = "state"


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

    def save(self, name: str, state: ScorerState) -> None:
        """Keep the state in place of an earlier one, atomically; `DinoadError` if the disk is full."""
        document = {"name": state.name, "settings": dict(state.settings), "history": dict(state.history)}
        tensors = {key: tensor.contiguous() for key, tensor in state.tensors.items()}
        content = save(tensors, {_METADATA_KEY: json.dumps(document)})
        with atomic_path(self._path(name), self.temporary_folder, len(content)) as temporary:
            temporary.write_bytes(content)

    def load(self, name: str) -> ScorerState | None:
        """Return the state of that name, or None where there is none that can be read."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as stored:
                document = json.loads(stored.metadata()[_METADATA_KEY])
                # Copies: the file is replaced while they are used, and Windows replaces no file that is mapped.
                tensors = {key: stored.get_tensor(key).clone() for key in stored.keys()}
            return ScorerState(document["name"], document["settings"], tensors, document["history"])
        except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            logger.warning("A checkpoint of the fit cannot be read (%s); that part begins anew.", error)
            return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

"""The models of normal that this user has: those in the model folder and those opened lately."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from napari_dinoad.errors import DinoadError, ModelFileError, SettingError
from napari_dinoad.images.persons import of_persons
from napari_dinoad.machine.atomic_files import require_folder, write_json
from napari_dinoad.machine.file_names import MODEL_SUFFIX, safe_stem
from napari_dinoad.machine.files import require_readable
from napari_dinoad.normative_model.cohort_norms import CohortNorms, all_reach_air
from napari_dinoad.normative_model.format import METADATA_KEY, are_volumes, fault_of_file, require_format
from napari_dinoad.settings import ANATOMICAL_PLANES, STACKED_FOLDERS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ModelLibrary", "ModelSummary", "path_of_new_model", "read_model_summary"]

logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 200
"""File systems allow 255; the files beside a model have longer endings."""

_RECENT_FILE = "recent.json"

_MAX_RECENT = 12

_SCAN_SCORES = "calibration.scan_scores"
"""Array of a model file: the own scores of the normal scans that patients' scans are compared with."""

_SCORER_TITLES = {"dpmm": "DPMM", "ar-cnn": "AR-CNN", "memory-bank": "memory bank"}


@dataclass(frozen=True)
class ModelSummary:
    """What a model file says about itself; read without torch.

    Attributes
    ----------
    path : Path
    preset, scorer, backbone : str
    n_scans, n_slices : int
        Normal scans and slices that it was fitted on.
    created : datetime
    plane : str
        In which slices are taken.
    n_persons : int, optional
        Persons that the scans are of; None: as many.
    n_compared : int, optional
        Normal scans that a patient's scan as a whole is compared with; None: all.
    in_colour : bool
        Whether it sees the colours of pictures.
    widths_mm : tuple of float
        How wide the bodies of the normal scans are, of each cohort of which that is known.
    reach_air : frozenset of bool
        See `CohortNorms.reach_air`.
    stacks_folders : bool
        Whether 2D images of one folder were the slices of one normal scan; see `ReadSettings.stack_folders`.
    """

    path: Path
    preset: str
    scorer: str
    backbone: str
    n_scans: int
    n_slices: int
    created: datetime
    plane: str = ""
    n_persons: int | None = None
    n_compared: int | None = None
    in_colour: bool = False
    widths_mm: tuple[float, ...] = ()
    reach_air: frozenset[bool] = frozenset()
    stacks_folders: bool = False

    @property
    def name(self) -> str:
        """The file name without its ending."""
        return self.path.stem

    @property
    def is_2d(self) -> bool:
        """Whether it was fitted on 2D images, such as pictures of slices of MR."""
        n_planes = len(ANATOMICAL_PLANES) if self.plane == "all" else 1
        return not are_volumes(self.n_scans, self.n_slices, n_planes)

    def describe(self) -> str:
        """Return one line that says what the model is."""
        of = of_persons(self.n_scans, self.n_persons)
        scans = f"{self.n_scans} normal {'images' if self.is_2d else 'scans'}{of}"
        if self.n_compared is not None and self.n_compared != self.n_scans:
            scans += f", {self.n_compared} to compare with"
        scorer = " + ".join(_SCORER_TITLES.get(name, name) for name in self.scorer.split("+"))
        created = self.created.astimezone().strftime("%d %b %Y")
        plane = {"acquired": "as acquired", "all": "three planes"}.get(self.plane, self.plane)
        kind = f"{self.preset}, {plane}" if plane and not self.is_2d else self.preset
        misses = " · no DINO: hardly finds dark or smooth lesions" if self.backbone == "embedded" else ""
        return f"{kind} · {scorer} on {self.backbone} · {scans} · {created}{misses}"


def read_model_summary(path: str | Path) -> ModelSummary:
    """Read what a model file says about itself.

    Raises
    ------
    ModelFileError
        If the file is missing or no model; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: expected a model file ({MODEL_SUFFIX}), found no such file.")
    require_readable(path, ModelFileError)
    try:
        with safe_open(path, framework="np") as stored:
            document: dict[str, Any] = json.loads((stored.metadata() or {})[METADATA_KEY])
            # First: in a file of another version nothing else need be where it is looked for.
            require_format(path, document)
            n_compared = int(stored.get_slice(_SCAN_SCORES).get_shape()[0])
        provenance = document["provenance"]
        cohorts = [CohortNorms.from_dict(cohort) for cohort in document.get("cohorts", ())]
        widths = (cohort.width_mm for cohort in cohorts)
        return ModelSummary(
            path,
            str(document["preprocessing"]["preset"]),
            str(document["scorer"]),
            str(document["backbone"]["name"]),
            int(provenance["n_scans"]),
            int(provenance["n_slices"]),
            datetime.fromisoformat(provenance["created"]),
            str(document["preprocessing"].get("plane", "")),
            int(provenance.get("n_persons", provenance["n_scans"])),
            n_compared,
            bool(document["preprocessing"].get("colour", False)),
            tuple(width for width in widths if width is not None),
            all_reach_air(cohorts),
            STACKED_FOLDERS in provenance.get("reading", ()),
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise fault_of_file(path, error) from error


def path_of_new_model(text: str) -> Path:
    """Return the path that somebody typed for a model, with its ending.

    Raises
    ------
    SettingError
        If no file can have that name.
    """
    text = text.strip()
    if not text:
        raise SettingError("Save as: expected the name of a file, got none. Name the model.")
    try:
        path = Path(text).expanduser().absolute()
        if len(os.fsencode(path.name)) > _MAX_NAME_BYTES or not path.name.isprintable():
            raise SettingError(
                f"Save as: expected a name of at most {_MAX_NAME_BYTES} bytes without control characters, "
                f"got {len(os.fsencode(path.name))} bytes. Choose another one."
            )
        if text.endswith(("/", os.sep)) or path.is_dir():
            raise SettingError(f"Save as: expected the name of a file, got the folder {path}. Add a name.")
    except SettingError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingError(f"Save as: no file can have this name ({reason}). Choose another one.") from error
    if path.suffix != MODEL_SUFFIX:
        path = path.with_name(path.name + MODEL_SUFFIX)
    return path


class ModelLibrary:
    """Finds models and remembers which were used.

    Parameters
    ----------
    folder : Path
        Holds models (``*.dinoad``) and the list of those used lately.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def models(self) -> list[ModelSummary]:
        """Return the readable models, the one used last first, then by date, newest first."""
        return self.look()[0]

    def look(self) -> tuple[list[ModelSummary], list[ModelFileError]]:
        """Return the readable models as `models` does, and why others that are there cannot be read."""
        recent = self._recent()
        named = self.folder.glob(f"*{MODEL_SUFFIX}") if self.folder.is_dir() else []
        # Hidden: what is being written, and what macOS keeps of a file on disks of other systems (``._m.dinoad``).
        inside = sorted(path for path in named if not path.name.startswith("."))
        summaries, faults = [], []
        for path in [*recent, *(path for path in inside if path not in recent)]:
            try:
                summaries.append(read_model_summary(path))
            except ModelFileError as error:
                logger.info("Not listed: %s", error)
                if path.is_file():
                    faults.append(error)
        n_recent = sum(summary.path in recent for summary in summaries)
        newest_first = sorted(summaries[n_recent:], key=lambda summary: summary.created, reverse=True)
        return summaries[:n_recent] + newest_first, faults

    def remember(self, path: Path) -> None:
        """Put a model at the top of the list; a folder that cannot be written is no reason to stop."""
        paths = [path, *(known for known in self._recent() if known != path)][:_MAX_RECENT]
        try:
            require_folder(self.folder)
            write_json(self.folder / _RECENT_FILE, [str(known) for known in paths])
        except DinoadError as error:
            logger.warning("The list of recent models was not saved: %s", error)

    def free_path(self, stem: str) -> Path:
        """Return a path in the folder for a new model that no file has yet; any name will do."""
        stem = safe_stem(stem)
        path = self.folder / f"{stem}{MODEL_SUFFIX}"
        number = 2
        while path.exists():
            path = self.folder / f"{stem}-{number}{MODEL_SUFFIX}"
            number += 1
        return path

    def _recent(self) -> Sequence[Path]:
        try:
            listed = json.loads((self.folder / _RECENT_FILE).read_text(encoding="utf-8"))
            paths = [Path(entry) for entry in listed]
        except (OSError, ValueError, TypeError):
            return []
        return [path for path in paths if _may_be(path)]


def _may_be(path: Path) -> bool:
    """Return whether a file can have this name; a damaged list may hold any."""
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except (OSError, ValueError):
        return False
    return True

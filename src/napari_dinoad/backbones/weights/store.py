"""Where a backbone's weights are looked for, and the three ways to get them when they are nowhere."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_dinoad.backbones.registry import TIMM_PREFIX, find_backbone, list_backbones
from napari_dinoad.backbones.weights.hub import (
    HUB_FILES,
    INDEX_SUFFIX,
    cached_weights,
    download_weights,
    hub_repositories,
    torch_hub_folder,
)
from napari_dinoad.backbones.weights.official import official_file
from napari_dinoad.errors import DinoadError, WeightsError, WeightsNotFoundError
from napari_dinoad.machine.atomic_files import atomic_path, require_folder
from napari_dinoad.machine.file_lock import locked
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.machine.temporaries import remove_abandoned
from napari_dinoad.machine.user_folders import data_folder, expanded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dinoad.backbones.registry import BackboneSpec
    from napari_dinoad.progress import Progress

__all__ = [
    "WEIGHTS_VARIABLE",
    "WeightsFile",
    "add_weights",
    "find_weights",
    "given_weights",
    "known_backbones",
    "local_weights",
    "names_for_file",
    "weights_folder",
]

WEIGHTS_VARIABLE = "DINOAD_WEIGHTS"
"""Environment variable that names another settings folder for weights."""

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")

Source = Literal["given", "settings folder", "cache", "download"]


@dataclass(frozen=True)
class WeightsFile:
    """A weights file that was found.

    Attributes
    ----------
    path : Path
    source : str
        ``"given"``, ``"settings folder"``, ``"cache"`` or ``"download"``.
    """

    path: Path
    source: Source


def weights_folder() -> Path:
    """Return the settings folder for weights: ``DINOAD_WEIGHTS``, else the user's data folder. It need not exist."""
    override = os.environ.get(WEIGHTS_VARIABLE)
    if override:
        return expanded(override, WEIGHTS_VARIABLE)
    return data_folder(f"Set it, or name the folder that holds weights in {WEIGHTS_VARIABLE}.") / "weights"


def _usable_folder() -> Path | None:
    """Return the settings folder, None where there is none yet; `WeightsError` if it cannot be looked into."""
    folder = weights_folder()
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
        with suppress(FileNotFoundError):
            (folder / "any").stat()  # A folder may be listed and closed all the same.
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WeightsError(
            f"Weights: the settings folder {folder} cannot be looked into ({error.strerror or error}). Expected a "
            f"folder that you may read: ask for access, or name another one in {WEIGHTS_VARIABLE}."
        ) from error
    return folder


def find_weights(
    spec: BackboneSpec, given: str | Path | None = None, progress: Progress | None = None
) -> WeightsFile:
    """Return the weights file of a backbone.

    Searched in this order: the file given, the settings folder, the caches of the model hub and of ``torch.hub``;
    then it is downloaded.

    Parameters
    ----------
    spec : BackboneSpec
    given : path, optional
        A weights file, or a folder that holds one under the name of a hub repository's file.
    progress : callable, optional
        Told how far a download is; may raise `Cancelled`.

    Raises
    ------
    WeightsNotFoundError
        If there is none; it says where was looked and the three ways to get it.
    WeightsError
        If what was given is not there, or the settings folder holds more than one.
    """
    if given is not None:
        return WeightsFile(given_weights(expanded(given, "Weights"), spec.base_name), "given")
    found = local_weights(spec)
    if found is not None:
        return found
    try:
        return WeightsFile(download_weights(spec, progress), "download")
    except WeightsError as error:
        raise _not_found(spec, str(error)) from error


def local_weights(spec: BackboneSpec) -> WeightsFile | None:
    """Return the weights file of a backbone that is on this machine already, or None; see `find_weights`."""
    installed = _in_settings_folder(spec)
    if installed is not None:
        return WeightsFile(installed, "settings folder")
    cached = cached_weights(spec)
    return None if cached is None else WeightsFile(cached, "cache")


def known_backbones() -> tuple[BackboneSpec, ...]:
    """Return every named backbone, and those of timm whose weights were added to the settings folder."""
    folder = _usable_folder()
    named = sorted(folder.glob(f"{_file_name(TIMM_PREFIX)}?*")) if folder is not None else []
    kept = (path for path in named if path.is_file())
    names = dict.fromkeys(path.stem for path in kept if path.suffix in SUFFIXES)
    added = (find_backbone(TIMM_PREFIX + stem.removeprefix(_file_name(TIMM_PREFIX))) for stem in names)
    return (*list_backbones(), *added)


def add_weights(file: str | Path, name: str) -> Path:
    """Copy a weights file into the settings folder, where every later search finds it.

    Parameters
    ----------
    file : path
        Checked by the caller (``matching.check_weights``). A folder that holds one will do; a checkpoint in several
        parts is put together.
    name : str
        The backbone that it belongs to.

    Returns
    -------
    Path
        The copy, under the backbone's name, or the same file where the folder holds it already.

    Raises
    ------
    WeightsError
        If the folder holds another file of this backbone: models that were fitted with it need it; if it cannot be
        written, or its disk is full.
    """
    spec = find_backbone(name)
    source = given_weights(expanded(file, "Weights"), spec.base_name)
    with _adding_alone(spec):
        return _kept_there(spec, source) or _copied_there(spec, source)


@contextmanager
def _adding_alone(spec: BackboneSpec) -> Iterator[None]:
    """Hold what only one process may: adding weights of this backbone. On a disk without locks nothing is held.

    Of two that found none there each would add its file, and the backbone had two.
    """
    with ExitStack() as stack:
        lock = None
        # What hinders the lock hinders the copy, which tells it.
        with suppress(DinoadError):
            folder = require_folder(weights_folder())
            lock = stack.enter_context(locked(folder / f".{_file_name(spec.base_name)}.lock", wait=True))
        try:
            yield
        finally:
            if lock is not None:
                lock.remove()


def _kept_there(spec: BackboneSpec, source: Path) -> Path | None:
    """Return the same file where the settings folder holds it, None where it has none of this backbone."""
    is_index = source.name.endswith(INDEX_SUFFIX)
    there = _in_settings_folder(spec)
    if there is not None:
        if there.samefile(source) or (not is_index and sha256_of_file(there) == sha256_of_file(source)):
            return there
        raise WeightsError(f"Weights of {spec.base_name}: {there} is there already. Remove it first.")
    return None


def _copied_there(spec: BackboneSpec, source: Path) -> Path:
    is_index = source.name.endswith(INDEX_SUFFIX)
    suffix = ".safetensors" if is_index else source.suffix if source.suffix in SUFFIXES else ".pth"
    target = weights_folder() / f"{_file_name(spec.base_name)}{suffix}"
    try:
        remove_abandoned(require_folder(target.parent))
        with atomic_path(target, n_bytes=None if is_index else source.stat().st_size) as temporary:
            if is_index:
                _put_together(source, temporary)
            else:
                shutil.copyfile(source, temporary)
    except WeightsError:
        raise
    except DinoadError as error:
        raise WeightsError(
            f"{error} Weights are kept there: name another folder in the environment variable {WEIGHTS_VARIABLE}."
        ) from error
    return target


def _put_together(index: Path, target: Path) -> None:
    # Brings torch, which a search does without.
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from napari_dinoad.backbones.weights.checkpoint import read_checkpoint

    tensors = read_checkpoint(index)
    try:
        save_file(tensors, target, {"format": "pt"})
    except SafetensorError as error:
        # The number by which one knows what is wrong stands in its words only: "(os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(
            *((int(number[1]), os.strerror(int(number[1]))) if number else (str(error),))
        ) from error


def names_for_file(file: str | Path) -> tuple[str, ...]:
    """Return the backbones that a weights file belongs to by its name; official names are unambiguous."""
    name = Path(file).name
    return tuple(
        spec.name
        for spec in list_backbones()
        if name.rsplit(".", 1)[0] in (spec.name, spec.timm_name)
        or (spec.meta_stem is not None and name.startswith(spec.meta_stem))
    )


def given_weights(path: Path, base_name: str | None = None) -> Path:
    """Return the weights file that a path names: itself, or the one in a folder.

    Parameters
    ----------
    path : Path
    base_name : str, optional
        Of the backbone, whose name the file in a folder may have, too.

    Raises
    ------
    WeightsError
        If there is none.
    """
    if path.is_file():
        return path
    if path.is_dir():
        own = _own_names(base_name) if base_name else []
        for name in (*HUB_FILES, *own):
            if (path / name).is_file():
                return path / name
        raise WeightsError(f"Weights: the folder {path} has no {', '.join(HUB_FILES)}. Name the file itself.")
    raise WeightsError(f"Weights: {path} is not there. Check the path.")


def _file_name(name: str) -> str:
    return name.replace(":", "_").replace("/", "_")


def _own_names(base_name: str) -> list[str]:
    return [f"{_file_name(base_name)}{suffix}" for suffix in SUFFIXES]


def _in_settings_folder(spec: BackboneSpec) -> Path | None:
    folder = _usable_folder()
    if folder is None:
        return None
    found = [folder / name for name in _own_names(spec.base_name) if (folder / name).is_file()]
    for stem in (spec.meta_stem, spec.timm_name):
        if stem:
            named = (path for path in sorted(folder.glob(f"{stem}*")) if path.suffix in SUFFIXES)
            found += [path for path in named if path.is_file() and path not in found]
    for repository in hub_repositories(spec):
        for place in (folder / repository, folder / repository.split("/")[1]):
            found += [place / name for name in HUB_FILES if (place / name).is_file()][:1]
    if len(found) > 1:
        raise WeightsError(
            f"Weights of {spec.base_name}: expected one file in {folder}, found "
            f"{', '.join(str(path.relative_to(folder)) for path in found)}. Remove all but one, or choose with "
            "--weights."
        )
    return found[0] if found else None


def _not_found(spec: BackboneSpec, reason: str) -> WeightsNotFoundError:
    from huggingface_hub import constants

    stem = _file_name(spec.base_name)
    official = official_file(spec)
    files = [f"model.safetensors of https://huggingface.co/{name}" for name in hub_repositories(spec)]
    if official is not None:
        files.insert(0, official.url or f"{official.name} of Meta's release")
    elif spec.meta_stem:
        files.insert(0, f"{spec.meta_stem}.pt of Meta's release")
    return WeightsNotFoundError(
        spec.base_name,
        spec.licence,
        (
            f"the settings folder {weights_folder()} (for {stem}.safetensors or .pth, or the official file name)",
            f"the model hub's cache {constants.HF_HUB_CACHE}",
            f"torch.hub's cache {torch_hub_folder()}",
        ),
        reason,
        (
            f"On a machine with internet run 'dinoad weights get {spec.base_name}', or the same command there.",
            f"On any other machine download {' or '.join(files) or 'the file'}, bring it here and name it with "
            "--weights FILE.",
            "Bring that file here and run 'dinoad weights add FILE' once; every later run finds it.",
        ),
    )

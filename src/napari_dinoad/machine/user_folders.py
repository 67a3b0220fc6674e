"""Folders of the user who runs the program: what is kept between runs, and paths that begin with ``~``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_dinoad.errors import DinoadError, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cache_folder", "cache_folder_if_any", "data_folder", "expanded"]

logger = logging.getLogger(__name__)

_APPLICATION = "napari-dinoad"


def cache_folder(advice: str = "") -> Path:
    """Return the folder for what can be made again; it need not exist.

    Parameters
    ----------
    advice : str
        A sentence that says how else to name a place, for the error's message.

    Raises
    ------
    DinoadError
        If this user has no home folder: in containers and services ``HOME`` may be unset.
    """
    return _kept_in(platformdirs.user_cache_path, advice)


def cache_folder_if_any(what: str) -> Path | None:
    """Return `cache_folder`, or None where this user has none: what would be kept there is done without.

    Parameters
    ----------
    what : str
        What would be kept, for the log.
    """
    try:
        return cache_folder()
    except DinoadError as error:
        logger.info("%s not kept: %s", what, error)
        return None


def data_folder(advice: str = "") -> Path:
    """Return the folder for what the user has put there; it need not exist. As `cache_folder` otherwise."""
    return _kept_in(platformdirs.user_data_path, advice)


def _kept_in(find: Callable[..., Path], advice: str) -> Path:
    cause = None
    try:
        folder = find(_APPLICATION, appauthor=False)
        # Earlier versions of platformdirs give a folder named "~" within the current one.
        if folder.is_absolute():
            return folder
    except RuntimeError as error:
        cause = error
    raise DinoadError(
        "This user has no home folder that is known. Expected the full path of a folder in the environment variable "
        f"HOME. {advice or 'Set it.'}"
    ) from cause


def expanded(path: str | Path, name: str) -> Path:
    """Return a path with ``~`` and ``~user`` written out.

    Parameters
    ----------
    path : path
    name : str
        What the path is, as the error's message calls it.

    Raises
    ------
    SettingError
        If that user, or that user's home folder, is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SettingError(
            f"{name}: expected a path, got {str(path)!r}, and no home folder is known for {Path(path).parts[0]}. "
            "Write the path in full."
        ) from error

"""The plugin's settings in napari's Preferences, with defaults where napari has none (before 0.9)."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from platformdirs import user_data_path

from napari_dinoad.errors import first_line
from napari_dinoad.settings import DetectSettings, Device

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PLUGIN_NAME", "Configuration", "follow_configuration", "read_configuration"]

PLUGIN_NAME = "napari-dinoad"

_SHOWN_LETTERS = 80


@dataclass(frozen=True)
class Configuration:
    """What the user has set.

    Attributes
    ----------
    model_folder : Path
        Where models are looked for and saved.
    weights_folder : Path, optional
        Where weights are looked for and kept; None for the usual place.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    fpr : float
        False-positive rate at which masks are first drawn.
    min_volume_mm3 : float
        Smaller regions are left out.
    author : str
        By whom masks by hand are proposed to be; empty where nobody is named.
    """

    model_folder: Path
    weights_folder: Path | None
    device: Device
    fpr: float
    min_volume_mm3: float
    author: str = ""


def read_configuration() -> Configuration:
    """Return the settings as they are now."""
    defaults = DetectSettings()
    general = _general_settings()
    device = getattr(general, "device", defaults.device)
    percent = float(getattr(general, "false_positive_rate_percent", 100 * defaults.fpr))
    min_volume = float(getattr(general, "min_volume_mm3", defaults.min_volume_mm3))
    return Configuration(
        _folder(general, "models_folder") or user_data_path(PLUGIN_NAME, appauthor=False) / "models",
        _folder(general, "weights_folder"),
        cast("Device", device) if device in get_args(Device) else defaults.device,
        percent / 100,
        min_volume if math.isfinite(min_volume) else defaults.min_volume_mm3,
        str(getattr(general, "author", "") or "").strip(),
    )


def _folder(general: object, name: str) -> Path | None:
    """Return a folder that was set, which need not be there; None where none was, or one that cannot be."""
    text = str(getattr(general, name, "") or "").strip()
    if not text:
        return None
    try:
        folder = Path(text).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            folder.stat()
    except (OSError, RuntimeError, ValueError) as error:
        _tell(
            f"File → Preferences → DINOAD: the folder {text[:_SHOWN_LETTERS]!r} cannot be used "
            f"({getattr(error, 'strerror', None) or error}). The usual one is used; choose another."
        )
        return None
    return folder


def follow_configuration(callback: Callable[[object], None]) -> None:
    """Call a method, with napari's event, whenever a setting is changed; it is not kept alive by that."""
    events = getattr(_general_settings(), "events", None)
    if events is not None:
        events.connect(callback)


def _general_settings() -> Any:
    """Return napari's settings object of this plugin, or None where there is none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(PLUGIN_NAME).general
    except KeyError:
        # The plugin is used without being registered, from a script for instance.
        return None
    except (AssertionError, AttributeError, OSError, TypeError, ValueError) as error:
        # A file of one plugin, ours or not, that holds no settings at all: napari reads those of all together.
        _tell(
            f"napari cannot read its settings of plugins ({type(error).__name__}: {first_line(error)}); the usual "
            "ones of DINOAD are used. Remove the damaged file (*.yaml) beside napari's own settings."
        )
        return None


def _tell(text: str) -> None:
    """Show a warning, each only once."""
    if text not in _told:
        from napari.utils.notifications import show_warning

        _told.add(text)
        show_warning(text)


_told: set[str] = set()

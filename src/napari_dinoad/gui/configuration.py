"""The plugin's settings in napari's Preferences, with defaults where napari has none (before 0.9)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from platformdirs import user_data_path

from napari_dinoad.settings import DetectSettings, Device

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PLUGIN_NAME", "Configuration", "follow_configuration", "read_configuration"]

logger = logging.getLogger(__name__)

PLUGIN_NAME = "napari-dinoad"


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
    """

    model_folder: Path
    weights_folder: Path | None
    device: Device
    fpr: float
    min_volume_mm3: float


def read_configuration() -> Configuration:
    """Return the settings as they are now."""
    defaults = DetectSettings()
    general = _general_settings()
    folder = str(getattr(general, "models_folder", "") or "").strip()
    weights = str(getattr(general, "weights_folder", "") or "").strip()
    device = getattr(general, "device", defaults.device)
    percent = float(getattr(general, "false_positive_rate_percent", 100 * defaults.fpr))
    return Configuration(
        Path(folder).expanduser() if folder else user_data_path(PLUGIN_NAME, appauthor=False) / "models",
        Path(weights).expanduser() if weights else None,
        cast("Device", device) if device in get_args(Device) else defaults.device,
        percent / 100,
        float(getattr(general, "min_volume_mm3", defaults.min_volume_mm3)),
    )


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

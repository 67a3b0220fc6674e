"""How a setting is checked: one sentence with what was expected and what was got."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, get_args

from napari_dinoad.errors import SettingError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def require(condition: bool, what: str, expected: str, got: object) -> None:
    """Raise `SettingError` unless ``condition`` holds."""
    if not condition:
        raise SettingError(f"{what}: expected {expected}, got {got!r}.")


def require_kind(what: str, value: object, kind: type, instead: str = "") -> None:
    """Raise `SettingError` unless ``value`` is of this kind; ``instead`` says how one is made."""
    if not isinstance(value, kind):
        hint = instead or f"Give {kind.__name__}(…)."
        raise SettingError(f"{what}: expected {kind.__name__}, got {value!r}. {hint}")


def require_choice(what: str, value: object, choices: object) -> None:
    """Raise `SettingError` unless ``value`` is one of the names of a ``Literal``."""
    names = get_args(choices)
    is_one = isinstance(value, str) and value in names
    require(is_one, what, "one of " + ", ".join(map(str, names)), value)


def require_finite(settings: DataclassInstance, what: str) -> None:
    """Raise `SettingError` if a number among the settings is NaN or infinite: no model file could hold it."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        numbers = value if isinstance(value, tuple) else (value,)
        ok = all(math.isfinite(number) for number in numbers if isinstance(number, float))
        require(ok, f"{what} {item.name.replace('_', ' ')}", "a finite number", value)

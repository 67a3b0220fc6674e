"""Values of settings, as callers give them → the kinds that their fields are declared with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from napari_dinoad.settings.checks import require, require_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import DataclassInstance

__all__ = ["settle"]


def settle(settings: DataclassInstance) -> None:
    """Turn values into the kinds that the fields are declared with, which are those that a model file can hold.

    Numbers of NumPy and PyTorch become Python's, 8.0 a whole one, paths become text, and lists and arrays tuples.
    Settings among the settings stay as they are.

    Raises
    ------
    SettingError
        If a value is of another kind.
    """
    for name, hint in _hints(type(settings)).items():
        value = getattr(settings, name)
        # Frozen: this is the one place that may.
        object.__setattr__(settings, name, _settled(f"{type(settings).__name__}.{name}", hint, value))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _settled(what: str, hint: Any, value: object) -> object:
    if NoneType in get_args(hint):
        if value is None:
            return None
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is Literal and not isinstance(value, str):
        require_choice(what, value, hint)
    elif get_origin(hint) is tuple:
        return _settled_tuple(what, get_args(hint), value)
    elif hint in _KINDS:
        expected, converted = _KINDS[hint]
        settled = converted(_plain(value))
        require(settled is not None, what, expected, value)
        return settled
    return value


def _settled_tuple(what: str, kinds: tuple[Any, ...], value: object) -> tuple[object, ...]:
    is_row = isinstance(value, Iterable) and not isinstance(value, str | bytes | Set | Mapping)
    items: tuple[Any, ...] = tuple(value) if is_row and isinstance(value, Iterable) else ()
    ok = is_row and (kinds[-1] is Ellipsis or len(items) == len(kinds))
    number = "several numbers" if kinds[-1] is Ellipsis else f"{len(kinds)} numbers"
    require(ok, what, f"a tuple of {number}", value)
    return tuple(_settled(what, kinds[0], item) for item in items)


def _plain(value: Any) -> Any:
    """Return Python's own number for one of NumPy or PyTorch, and anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    number = None if isinstance(value, Integral) else _number(value)
    if number is not None:
        return int(number) if number.is_integer() else None
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _text(value: object) -> str | None:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return text if isinstance(text, str) else None


_KINDS: dict[Any, tuple[str, Callable[[Any], object]]] = {
    bool: ("bool", _truth),
    int: ("a whole number", _whole),
    float: ("a number", _number),
    str: ("a text", _text),
}
"""What each kind is called, and what makes it of a value: None where it is of another kind."""

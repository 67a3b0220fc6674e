"""Settings of scorers as text: ``n_components=500``, ``ar-cnn.dilations=2,4``."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from napari_dinoad.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_dinoad.settings.choices import ScorerName
    from napari_dinoad.settings.fitting import FitSettings

__all__ = ["with_scorer_settings"]

_FIELD_OF: dict[ScorerName, str] = {"dpmm": "dpmm", "ar-cnn": "ar_cnn", "memory-bank": "memory_bank"}
_TRUTHS = {"true": True, "false": False}


def with_scorer_settings(settings: FitSettings, texts: Iterable[str]) -> FitSettings:
    """Return the settings of a fit with some of its scorers' own.

    Parameters
    ----------
    settings : FitSettings
    texts : iterable of str
        Each ``name=value``, or ``scorer.name=value`` where several scorers of the fit have a setting of this name.
        Numbers of a tuple are separated by commas; truths are ``true`` and ``false``, and ``none`` is None.

    Raises
    ------
    SettingError
        If a name is unknown or belongs to several scorers, is the seed (which a fit has one of), or a value does not
        suit it.
    """
    changes: dict[ScorerName, dict[str, Any]] = {}
    for text in texts:
        full_name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(
                f"scorer setting: expected NAME=VALUE, got {text!r}. Name the folder before these."
            )
        scorer, name = _owner(settings, full_name)
        changes.setdefault(scorer, {})[name] = _value(settings, scorer, name, value)
    changed: dict[str, Any] = {
        _FIELD_OF[scorer]: replace(_own(settings, scorer), **values) for scorer, values in changes.items()
    }
    return replace(settings, **changed)


def _own(settings: FitSettings, scorer: ScorerName) -> Any:
    return getattr(settings, _FIELD_OF[scorer])


def _owner(settings: FitSettings, full_name: str) -> tuple[ScorerName, str]:
    """Return the scorer, and the name, that a name with or without its scorer means."""
    of_scorer, dot, name = full_name.rpartition(".")
    known = {
        scorer: [item.name for item in fields(_own(settings, scorer)) if item.name != "seed"]
        for scorer in settings.scorer_names
        if not dot or scorer == of_scorer
    }
    owners = [scorer for scorer, names in known.items() if name in names]
    if len(owners) == 1:
        return owners[0], name
    if owners:
        choices = " or ".join(f"{scorer}.{name}" for scorer in owners)
        raise SettingError(f"scorer setting: {name!r} is one of several scorers. Write {choices}.")
    if not known:
        chosen = ", ".join(settings.scorer_names)
        raise SettingError(f"scorer setting: expected one of {chosen} before the dot, got {full_name!r}.")
    offered = "; ".join(f"{scorer}: {', '.join(names)}" for scorer, names in known.items())
    instead = " The seed is that of the fit." if name == "seed" else ""
    raise SettingError(f"scorer setting: expected one of {offered}, got {name!r}.{instead}")


def _value(settings: FitSettings, scorer: ScorerName, name: str, text: str) -> Any:
    """Return a setting's value; whether it makes sense is for the settings to say."""
    hint = get_type_hints(type(_own(settings, scorer)))[name]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] or [hint]
    if type(None) in get_args(hint) and text.lower() == "none":
        return None
    if isinstance(kinds[0], str):
        return text
    try:
        if kinds[0] is bool:
            return _TRUTHS[text.lower()]
        if kinds[0] in (int, float):
            return kinds[0](text)
        return tuple(int(part) for part in text.split(","))
    except (ValueError, KeyError) as error:
        expected = {bool: "true or false", int: "a whole number", float: "a number"}
        what = expected.get(kinds[0], "whole numbers separated by commas")
        raise SettingError(f"{scorer} {name}: expected {what}, got {text!r}.") from error

"""What pydicom and highdicom say of headers quotes values of tags: it is kept to ourselves."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError, GeometryError, SettingError
from napari_dinoad.machine.shared_block import unwarned

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["discreet", "unheard"]


@contextmanager
def discreet(name: str, instead: str) -> Iterator[None]:
    """Keep to ourselves what pydicom and highdicom say of headers inside the block: they quote values of tags.

    Warnings and logs are dropped; errors become `SettingError` or `GeometryError` that begin with ``name``, what was
    to be made, and end with ``instead``, what else can be done.
    """
    with unheard():
        try:
            yield
        except GeometryError as error:
            raise GeometryError(f"{name}: {error}. {instead}.") from error
        except DinoadError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            told = str(error) if isinstance(error, AttributeError) else type(error).__name__
            # The cause may quote a tag's value, so it is not chained.
            raise SettingError(
                f"{name}: the headers of the source images lack what the standard requires ({told}). {instead}."
            ) from None


class _Unheard(logging.Filter):
    """Drops what is logged in a block of `unheard`; threads elsewhere are heard."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.here, "is_unheard", False)


_FILTER = _Unheard()
logging.getLogger("pydicom").addFilter(_FILTER)


@contextmanager
def unheard() -> Iterator[None]:
    """Drop what pydicom warns of, and logs, inside the block: it quotes values of tags."""
    before = getattr(_FILTER.here, "is_unheard", False)
    with unwarned:
        _FILTER.here.is_unheard = True
        try:
            yield
        finally:
            _FILTER.here.is_unheard = before

"""Arrays and numbers that callers give: refused where they are of another kind, and nothing is dropped in silence."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import DinoadError, SettingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["real_array", "require_array", "require_number"]


def require_array(what: str, values: object, error: type[DinoadError] = SettingError) -> None:
    """Raise ``error`` unless it is a NumPy array of real numbers, truths left out, none of them masked."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        got = getattr(values, "dtype", type(values).__name__)
        raise error(f"{what}: expected a NumPy array of real numbers, got {got}.")
    _refuse_masked(what, values, error)


def real_array(what: str, values: ArrayLike | Any) -> np.ndarray:
    """Return an array of real numbers or truths: of an array, a tensor, or lists of them.

    Raises
    ------
    SettingError
        If there are others, or some of them are masked.
    """
    _refuse_masked(what, values, SettingError)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        # Lists of several lengths; tensors with gradients, on a GPU, or of a type that NumPy has not.
        raise SettingError(f"{what}: expected an array of real numbers, got none: {error}") from error
    if array.dtype.kind not in "biuf":
        raise SettingError(f"{what}: expected an array of real numbers, got {array.dtype}.")
    return array


def _refuse_masked(what: str, values: object, error: type[DinoadError]) -> None:
    if isinstance(values, np.ma.MaskedArray):
        raise error(
            f"{what}: expected an array without a mask, whose masked values would count all the same. Give "
            "values.filled(0), or values.compressed() where the shape does not matter."
        )


def require_number(what: str, value: object) -> None:
    """Raise `SettingError` unless it is a real number, also NumPy's."""
    is_number = isinstance(value, Real) or (isinstance(value, np.ndarray) and value.shape == ())
    if not is_number or isinstance(value, bool):
        raise SettingError(f"{what}: expected a number, got {value!r}.")

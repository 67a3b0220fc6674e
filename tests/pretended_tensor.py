"""Tensors that say they are on a device that there is not; for `pretended_gpu` and `pretended_mps`."""

from __future__ import annotations

from typing import ClassVar

import torch

aten = torch.ops.aten
BOTH_DEVICES = {aten._to_copy, aten.copy_, aten.index, aten.index_put_}
"""Operations that take tensors of both devices."""


class PretendedTensor(torch.Tensor):
    """A tensor that says it is on `where`; its values are in ``inner``, on the CPU."""

    where: ClassVar[torch.device]

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=cls.where,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        raise RuntimeError(f"{operation} of a tensor on {cls.where} where none is pretended")


def inner_of(value):
    """Return the values of a tensor that is pretended to be elsewhere; anything else as it is."""
    return value.inner if isinstance(value, PretendedTensor) else value

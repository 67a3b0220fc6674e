"""Sums over batches of embeddings, computed where the batches lie.

A scorer that needs only sums of something over all batches (sufficient statistics, a loss) asks `sum_over` for them.
Batches in this process are read one by one; batches that lie on other machines (`DistributedBatches`) are not moved:
the function goes to them, and only sums come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import torch

__all__ = ["DistributedBatches", "Summable", "sum_over"]


class Summable(Protocol):
    """What two values of a kind can be: added."""

    def __add__(self, other: Self, /) -> Self: ...


S = TypeVar("S", bound=Summable)


@runtime_checkable
class DistributedBatches(Protocol):
    """Batches of embeddings that lie on other machines.

    They can also be iterated, like any batches, which moves them here one by one.
    """

    def sum_over(self, function: Callable[..., S], *arguments: Any) -> S | None:
        """Return Σ function(batch, *arguments) over all patches, in a fixed order; None where there is no batch.

        The function is given batches (n, gh, gw, d) float32, cut as it suits their place; it and its arguments must
        be picklable.
        """
        ...

    def patch_counts(self) -> list[int]:
        """Return how many patches each batch holds, in the order of iteration."""
        ...

    def patches_at(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return single patches (m, d) float32, on the CPU.

        Parameters
        ----------
        rows : sequence of torch.Tensor
            For each batch, in the order of iteration, the ascending places (m_b,) int64 among its patches.
        """
        ...


def sum_over(batches: Iterable[torch.Tensor], function: Callable[..., S], *arguments: Any) -> S | None:
    """Return Σ function(batch, *arguments) over ``batches``, or None where there is none.

    Parameters
    ----------
    batches : iterable of torch.Tensor
        (n, gh, gw, d) float each, here or elsewhere.
    function : callable
        Takes a batch and the arguments and returns something that can be added.
    """
    if isinstance(batches, DistributedBatches):
        return batches.sum_over(function, *arguments)
    total: S | None = None
    for batch in batches:
        part = function(batch, *arguments)
        total = part if total is None else total + part
    return total

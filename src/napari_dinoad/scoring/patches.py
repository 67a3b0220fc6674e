"""Embedding batches as the scorers want them: checked, in floating point, at unit length, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized

import torch

from napari_dinoad.errors import ScorerError

__all__ = [
    "CHUNK_BYTES",
    "as_patches",
    "cache_budget",
    "checked_embeddings",
    "in_chunks",
    "n_batches",
    "require_reiterable",
    "seeded_generator",
    "shuffled",
    "unit_length",
    "unit_patches",
]

CHUNK_BYTES = 256 * 2**20
"""Memory that one chunk of intermediate results may take, above the data itself."""

CACHE_BYTES = 16 * 2**20
"""The same on the CPU where a chunk is passed over several times: larger ones only leave the cache."""

SAFE_LENGTHS = (1e-15, 1e15)
"""Lengths whose squares are exact in float32."""


def seeded_generator(*seeds: int) -> torch.Generator:
    """Return a CPU generator for a tuple of seeds (for instance the fit's seed and the epoch).

    A generator of its own for each epoch makes a resumed fit draw what an undisturbed one draws.
    """
    mixed = 0
    for seed in seeds:
        # An odd 63-bit multiplier (from the golden ratio) keeps neighbouring seeds apart.
        mixed = (mixed * 0x5851F42D4C957F2D + seed + 0x14057B7EF767814F) % 2**63
    return torch.Generator().manual_seed(mixed)


def checked_embeddings(
    batch: torch.Tensor, n_channels: int | None = None, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Return ``batch`` in float32 (float64 stays) on ``device`` after checking it.

    Values that lie on a CUDA device already are not looked at: it would have to be waited for. NaN stays NaN there.

    Parameters
    ----------
    batch : torch.Tensor
        (n, gh, gw, d), any floating dtype.
    n_channels : int, optional
        The d that is expected.

    Raises
    ------
    ScorerError
        If the shape or dtype is wrong, or a value is NaN or infinite.
    """
    if not isinstance(batch, torch.Tensor) or batch.ndim != 4 or not batch.is_floating_point():
        raise ScorerError(f"embeddings: expected a float tensor (n, gh, gw, d), {_got_instead(batch)}")
    if n_channels is not None and batch.shape[-1] != n_channels:
        raise ScorerError(
            f"embeddings: expected {n_channels} channels as in the fit, got {batch.shape[-1]}; "
            "use the backbone that the scorer was fitted with."
        )
    if batch.shape[1] == 0 or batch.shape[2] == 0 or batch.shape[3] == 0:
        raise ScorerError(
            f"embeddings: expected a patch grid with at least one patch, got shape {tuple(batch.shape)}."
        )
    has_float64 = torch.device(device).type != "mps"
    wanted = torch.float64 if batch.dtype == torch.float64 and has_float64 else torch.float32
    batch = batch.detach().to(dtype=wanted)
    if batch.device.type != "cuda":
        _require_finite(batch)
    return batch.to(device)


def _got_instead(batch: object) -> str:
    """Return what was given in place of a batch, and what to do."""
    if isinstance(batch, torch.Tensor):
        got = f"got {batch.dtype} {tuple(batch.shape)}"
        single = batch.is_floating_point() and batch.ndim == 3
        advice = (
            "a single batch stands in a list, as fit([batch]), a single map is map[None]" if single else ""
        )
        return f"{got}; {advice or 'give patch embeddings as the backbone returns them'}."
    advice = "make it one with torch.as_tensor" if hasattr(batch, "__array__") else "take their .values"
    return f"got {type(batch).__name__}; {advice}."


def _require_finite(batch: torch.Tensor) -> None:
    # The sum is finite exactly when no value is NaN or infinite (or absurdly large): one fast pass.
    if not torch.isfinite(batch.sum()) and not torch.isfinite(batch).all():
        n_bad = int((~torch.isfinite(batch)).any(-1).sum())
        raise ScorerError(
            f"embeddings: expected finite values, got NaN or infinity in {n_bad} of "
            f"{batch[..., 0].numel()} patches; check the scan's intensities and the backbone's precision."
        )


def as_patches(batch: torch.Tensor) -> torch.Tensor:
    """Return (n, gh, gw, d) as patches (n·gh·gw, d)."""
    return batch.reshape(-1, batch.shape[-1])


def unit_length(patches: torch.Tensor) -> torch.Tensor:
    """Return ``patches`` (…, d) scaled to unit length; an all-zero patch stays zero."""
    length: torch.Tensor = torch.linalg.vector_norm(patches, dim=-1, keepdim=True)
    safe = (length > SAFE_LENGTHS[0]) & (length < SAFE_LENGTHS[1])
    # On a CUDA device the few operations cost less than waiting for it to say whether they are needed.
    if patches.device.type == "cuda" or not bool(safe.all()):
        # Squares that underflow or overflow: rare, so only these pay for a first scaling by the largest value.
        largest = patches.abs().amax(-1, keepdim=True)
        patches = torch.where(safe, patches, patches / torch.where(largest > 0, largest, 1.0))
        length = torch.linalg.vector_norm(patches, dim=-1, keepdim=True)
        length = torch.where(length > 0, length, 1.0)
    return patches / length


def unit_patches(
    batch: torch.Tensor, n_channels: int | None = None, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Return a batch's patches (n, d) at unit length, checked."""
    return unit_length(as_patches(checked_embeddings(batch, n_channels, device)))


def in_chunks(rows: torch.Tensor, bytes_per_row: float, budget: int = CHUNK_BYTES) -> Iterator[torch.Tensor]:
    """Yield ``rows`` in slices along the first axis, each of whose intermediate results fit into the memory budget.

    There is always one slice, even of no rows.
    """
    step = max(1, int(budget // max(1.0, bytes_per_row)))
    for first in range(0, max(1, len(rows)), step):
        yield rows[first : first + step]


def cache_budget(device: torch.device) -> int:
    """Return the memory budget of a chunk that is passed over several times."""
    return CACHE_BYTES if device.type == "cpu" else CHUNK_BYTES


def n_batches(batches: Iterable[torch.Tensor]) -> int:
    """Return how many batches there are, 0 when that is not known."""
    return len(batches) if isinstance(batches, Sized) else 0


def require_reiterable(batches: Iterable[torch.Tensor]) -> None:
    """Refuse a one-shot iterator, which would be empty from the second epoch on.

    Raises
    ------
    ScorerError
        If ``batches`` is an iterator, or nothing that can be gone through.
    """
    if not isinstance(batches, Iterable):
        raise ScorerError(
            f"batches: expected a list of tensors (n, gh, gw, d), got {type(batches).__name__}."
        )
    if iter(batches) is batches:
        raise ScorerError(
            f"batches: expected a re-iterable (a list, or an object whose __iter__ starts anew), got the "
            f"one-shot {type(batches).__name__}; a fit reads the data once an epoch."
        )


def shuffled(batches: Iterable[torch.Tensor], generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield the batches in random order where they can be indexed, else as stored.

    Batches that can be asked for ``in_order(indices)`` are, so that the next one is read meanwhile.
    """
    if isinstance(batches, Sized) and hasattr(batches, "__getitem__"):
        order = torch.randperm(len(batches), generator=generator).tolist()
        yield from (
            batches.in_order(order) if hasattr(batches, "in_order") else map(batches.__getitem__, order)
        )
    else:
        yield from batches

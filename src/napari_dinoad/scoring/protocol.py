"""What every scorer can do: be fitted on normal embeddings, score others, and give its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import torch

    from napari_dinoad.progress import Progress

__all__ = ["Scorer", "ScorerState"]


@dataclass(frozen=True)
class ScorerState:
    """All that is needed to rebuild a fitted scorer, as plain tensors and JSON values.

    Attributes
    ----------
    name : str
        The scorer's name (``"dpmm"``, ``"ar-cnn"``, ``"memory-bank"``).
    settings : Mapping[str, Any]
        Its settings and scalar state; JSON values only.
    tensors : Mapping[str, torch.Tensor]
        Its arrays, on the CPU, contiguous.
    history : Mapping[str, list[float]]
        Curves of the fit, one value an epoch (``"train_loss"``, ``"validation_loss"``, of an exact ``dpmm`` fit also
        ``"penalised_log_likelihood"``).
    """

    name: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    history: Mapping[str, list[float]] = field(default_factory=dict)

    @classmethod
    def copied(
        cls,
        name: str,
        settings: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        history: Mapping[str, Sequence[float]],
    ) -> ScorerState:
        """Return a state that stays as it is when the fit goes on."""
        own = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        return cls(name, settings, own, {key: list(curve) for key, curve in history.items()})

    def document(self) -> dict[str, Any]:
        """Return all but the tensors, as JSON values."""
        return {"name": self.name, "settings": dict(self.settings), "history": dict(self.history)}


class Scorer(Protocol):
    """A model of normal patch embeddings. Higher scores always mean more abnormal.

    Attributes
    ----------
    device : torch.device
        Where it computes; embeddings from elsewhere are brought there.
    """

    name: ClassVar[str]
    device: torch.device

    def fit(
        self,
        batches: Iterable[torch.Tensor],
        *,
        validation: Iterable[torch.Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Callable[[ScorerState], None] | None = None,
    ) -> Self:
        """Fit on normal embeddings.

        Parameters
        ----------
        batches : iterable of torch.Tensor
            Re-iterable; each item is (n, gh, gw, d) float. Iterated once or more an epoch.
        validation : iterable of torch.Tensor, optional
            Normal embeddings of *held-out scans*, same shapes, to choose the epoch that is kept.
        progress : callable, optional
            Called after each epoch; may raise `Cancelled`.
        checkpoint : callable, optional
            Called with the state after each epoch: a scorer rebuilt from it by `from_state` goes on with `fit`, to
            the same end. Its settings say by ``"finished"`` whether anything is left to do (nothing, without it).

        Returns
        -------
        Scorer
            Itself.
        """
        ...

    def score(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores (n, gh, gw) float32 for embeddings (n, gh, gw, d)."""
        ...

    def state(self) -> ScorerState:
        """Return all that `from_state` needs to rebuild this fitted scorer."""
        ...

    @classmethod
    def from_state(cls, state: ScorerState, *, device: str | torch.device = "cpu") -> Self:
        """Rebuild a fitted scorer; a missing or wrongly shaped tensor raises `ModelFileError`."""
        ...

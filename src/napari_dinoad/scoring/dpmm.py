"""The Dirichlet-process mixture scorer (Schulthess and Konukoglu, MICCAI 2025, arXiv 2509.19997)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from napari_dinoad.errors import ModelFileError, ScorerError
from napari_dinoad.progress import report
from napari_dinoad.scoring import dpmm_fit
from napari_dinoad.scoring.dpmm_fit import DpmmParameters, FitPoint, unit_patches
from napari_dinoad.scoring.mixture import ComponentDensities, Mixture
from napari_dinoad.scoring.patches import in_chunks, require_reiterable, unit_length
from napari_dinoad.scoring.protocol import ScorerState
from napari_dinoad.scoring.saved_state import require_scorer, saved_settings, saved_tensor, saved_value
from napari_dinoad.scoring.statistics import SufficientStatistics, log_density
from napari_dinoad.settings import DpmmSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from napari_dinoad.progress import Progress

__all__ = ["DpmmScorer"]


class DpmmScorer:
    """How unlike the clusters of normal patches a patch is.

    Embeddings are scaled to unit length and described by a truncated stick-breaking mixture of Gaussians. Departures
    from the paper's code, and why, are in ``docs/`` (exact EM, k-means++ start, float64 statistics, held-out choice).

    Parameters
    ----------
    settings : DpmmSettings, optional
        Defaults if left out.
    device : str or torch.device
        Where it computes, in float64 ("mps" has none, and computes on the CPU).
    """

    name: ClassVar[str] = "dpmm"

    def __init__(self, settings: DpmmSettings | None = None, *, device: str | torch.device = "cpu") -> None:
        self.settings = settings or DpmmSettings()
        device = torch.device(device)
        self.device = torch.device("cpu") if device.type == "mps" else device
        self._point: FitPoint | None = None
        self._parameters: DpmmParameters | None = None
        self._summary: dict[str, int] = {}
        self._history: dict[str, list[float]] = {}
        self._densities: ComponentDensities | None = None

    @property
    def parameters(self) -> DpmmParameters:
        """The parameters that score.

        Raises
        ------
        ScorerError
            Before `fit`.
        """
        if self._parameters is None:
            raise ScorerError("DPMM: expected a fitted scorer, got one without parameters; call fit first.")
        return self._parameters

    def fit(
        self,
        batches: Iterable[torch.Tensor],
        *,
        validation: Iterable[torch.Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Callable[[ScorerState], None] | None = None,
    ) -> Self:
        """Fit on normal embeddings; a scorer rebuilt from the state of an unfinished fit continues it.

        Parameters
        ----------
        batches : iterable of torch.Tensor
            Re-iterable; each item is (n, gh, gw, d) float. Read once for the start and once an epoch.
        validation : iterable of torch.Tensor, optional
            Normal embeddings of held-out scans: the epoch that explains them best is kept. Without them, the last.
        progress : callable, optional
            Called after each epoch; may raise `Cancelled`.
        checkpoint : callable, optional
            Called with the state after each epoch.

        Raises
        ------
        ScorerError
            If there is nothing to fit on, or an embedding is NaN or infinite.
        """
        require_reiterable(batches)
        settings = self.settings
        if self._point is None:
            self._point = dpmm_fit.start(batches, settings, self.device, progress)
        while not self._point.finished:
            self._point = dpmm_fit.next_epoch(self._point, batches, validation, settings)
            self._take(self._point)
            if checkpoint is not None:
                checkpoint(self.state())
            latest = {name: values[-1] for name, values in self._point.history.items()}
            report(progress, "Fitting DPMM", self._point.epoch, settings.epochs, metrics=latest)
        # A finished fit is not continued: the next call starts afresh.
        self._take(self._point)
        self._point = None
        return self

    def _take(self, point: FitPoint) -> None:
        self._parameters = point.best
        self._densities = None
        self._summary = {
            "epochs_done": point.epoch,
            "best_epoch": point.best_epoch,
            "n_patches": point.n_patches,
        }
        self._history = {name: list(values) for name, values in point.history.items()}

    # -- scoring -------------------------------------------------------------------------------------------

    def score(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores (n, gh, gw) float32 for embeddings (n, gh, gw, d).

        ``"cosine"``: 1 − max cos(x, μ_k) over components heavier than ``min_weight``, in [0, 2];
        ``"negative-log-likelihood"``: −log p(x), nats; ``"mahalanobis"``: distance to the nearest such component.

        Raises
        ------
        ScorerError
            Before `fit`, or if the channels differ from the fit's or a value is NaN or infinite.
        """
        mixture = self.parameters.mixture
        patches = unit_patches(embeddings, mixture.means.shape[1], self.device)
        if self.settings.score == "cosine":
            scores = self._cosine_scores(patches)
        elif self.settings.score == "mahalanobis":
            scores = self._mahalanobis_scores(patches)
        else:
            scores = -log_density(self._component_densities(), patches)
        return scores.to(torch.float32).reshape(embeddings.shape[:3])

    def _component_densities(self) -> ComponentDensities:
        if self._densities is None:
            self._densities = ComponentDensities(self.parameters.mixture)
        return self._densities

    def _counted(self) -> torch.Tensor:
        """Return the indices of the components that count as normal: the heaviest, and all above `min_weight`."""
        log_weights = self.parameters.mixture.log_weights
        counted = log_weights.exp() > self.settings.min_weight
        counted[log_weights.argmax()] = True
        return counted.nonzero().squeeze(1)

    def _cosine_scores(self, patches: torch.Tensor) -> torch.Tensor:
        directions = unit_length(self.parameters.mixture.means[self._counted()]).to(patches.dtype)
        chunks = in_chunks(patches, 2 * patches.element_size() * len(directions))
        return torch.cat([1 - (chunk @ directions.T).amax(-1) for chunk in chunks])

    def _mahalanobis_scores(self, patches: torch.Tensor) -> torch.Tensor:
        densities = self._component_densities()
        counted = torch.isin(densities.alive, self._counted())
        chunks = densities.chunks(patches)
        nearest = [densities.squared_mahalanobis(chunk)[:, counted].amin(-1) for chunk in chunks]
        return torch.cat(nearest).sqrt()

    def responsibilities(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return r (n, gh, gw, k) float64: how much each component explains each patch; they sum to 1."""
        densities = self._component_densities()
        mixture = densities.mixture
        patches = unit_patches(embeddings, mixture.means.shape[1], self.device)
        result = torch.zeros(len(patches), mixture.n_components, dtype=torch.float64, device=self.device)
        result[:, densities.alive] = densities.log_joint(patches).softmax(-1)
        return result.reshape(*embeddings.shape[:3], -1)

    def assign(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the component (n, gh, gw) int64 that explains each patch best, for a map of what is seen where."""
        densities = self._component_densities()
        patches = unit_patches(embeddings, densities.mixture.means.shape[1], self.device)
        chunks = densities.chunks(patches)
        labels = [densities.alive[densities.log_joint(chunk).argmax(-1)] for chunk in chunks]
        return torch.cat(labels).reshape(embeddings.shape[:3])

    # -- state ---------------------------------------------------------------------------------------------

    def state(self) -> ScorerState:
        """Return all that `from_state` needs; during a fit also all that it needs to continue."""
        parameters = self.parameters
        values: dict[str, Any] = {
            "settings": asdict(self.settings),
            "alpha": parameters.alpha,
            **self._summary,
            "finished": self._point is None or self._point.finished,
        }
        tensors = _parameter_tensors("", parameters)
        point = self._point
        if point is not None and not point.finished:
            values |= {"alpha_current": point.parameters.alpha, "alpha_previous": point.previous.alpha}
            values |= {"largest_batch": point.largest_batch, "step": point.step}
            tensors |= _parameter_tensors("current.", point.parameters)
            tensors |= _parameter_tensors("previous.", point.previous)
            if point.online is not None:
                tensors |= {
                    "online.responsibilities": point.online.responsibilities,
                    "online.first": point.online.first,
                    "online.second": point.online.second,
                }
                values["online_log_likelihood"] = point.online.log_likelihood
                values["online_patches"] = point.online.n_patches
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        history = {name: list(values) for name, values in self._history.items()}
        return ScorerState(self.name, values, tensors, history)

    @classmethod
    def from_state(cls, state: ScorerState, *, device: str | torch.device = "cpu") -> Self:
        """Rebuild a scorer; one of an unfinished fit scores with its best epoch so far and continues with `fit`.

        Raises
        ------
        ModelFileError
            If a tensor or value is missing or has the wrong shape.
        """
        require_scorer(state, cls.name)
        scorer = cls(saved_settings(state, DpmmSettings), device=device)
        settings = scorer.settings
        parameters = _saved_parameters(state, "", saved_value(state, "alpha", float), settings)
        scorer._parameters = _moved(parameters, scorer.device)
        scorer._summary = {
            key: saved_value(state, key, int) for key in ("epochs_done", "best_epoch", "n_patches")
        }
        scorer._history = {name: [float(v) for v in values] for name, values in state.history.items()}
        if not saved_value(state, "finished", bool):
            scorer._point = scorer._saved_point(state)
        return scorer

    def _saved_point(self, state: ScorerState) -> FitPoint:
        settings = self.settings
        current = _saved_parameters(state, "current.", saved_value(state, "alpha_current", float), settings)
        previous = _saved_parameters(
            state, "previous.", saved_value(state, "alpha_previous", float), settings
        )
        online = None
        if settings.update != "exact":
            mixture = current.mixture
            online = SufficientStatistics(
                saved_value(state, "online_patches", float),
                saved_tensor(state, "online.responsibilities", mixture.log_weights.shape),
                saved_tensor(state, "online.first", mixture.means.shape),
                saved_tensor(state, "online.second", mixture.covariances.shape),
                saved_value(state, "online_log_likelihood", float),
            ).to(self.device)
        history: Mapping[str, tuple[float, ...]] = {k: tuple(v) for k, v in self._history.items()}
        return FitPoint(
            parameters=_moved(current, self.device),
            n_patches=self._summary["n_patches"],
            largest_batch=saved_value(state, "largest_batch", int),
            epoch=self._summary["epochs_done"],
            previous=_moved(previous, self.device),
            best=self.parameters,
            best_epoch=self._summary["best_epoch"],
            online=online,
            step=saved_value(state, "step", int),
            history=history,
        )


def _moved(parameters: DpmmParameters, device: torch.device) -> DpmmParameters:
    return DpmmParameters(parameters.mixture.to(device), parameters.sticks.to(device), parameters.alpha)


def _parameter_tensors(prefix: str, parameters: DpmmParameters) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}sticks": parameters.sticks,
        f"{prefix}means": parameters.mixture.means,
        f"{prefix}covariances": parameters.mixture.covariances,
        f"{prefix}log_weights": parameters.mixture.log_weights,
    }


def _saved_parameters(
    state: ScorerState, prefix: str, alpha: float, settings: DpmmSettings
) -> DpmmParameters:
    means = saved_tensor(state, f"{prefix}means", (None, None))
    k, d = means.shape
    shape = {"diag": (k, d), "spherical": (k,), "full": (k, d, d)}[settings.covariance]
    covariances = saved_tensor(state, f"{prefix}covariances", shape)
    variances = covariances.diagonal(dim1=-2, dim2=-1) if settings.covariance == "full" else covariances
    if k == 0 or not bool((variances > 0).all()):
        raise ModelFileError(
            "scorer 'dpmm': expected positive variances of at least one component; the file is damaged."
        )
    mixture = Mixture(
        saved_tensor(state, f"{prefix}log_weights", (k,)), means, covariances, settings.covariance
    )
    return DpmmParameters(mixture, saved_tensor(state, f"{prefix}sticks", (k,)), alpha)

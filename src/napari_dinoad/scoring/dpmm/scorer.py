"""The Dirichlet-process mixture scorer (Schulthess and Konukoglu, MICCAI 2025, arXiv 2509.19997)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from napari_dinoad.errors import ScorerError
from napari_dinoad.progress import report
from napari_dinoad.scoring.dpmm import fit as dpmm_fit
from napari_dinoad.scoring.dpmm import start as dpmm_start
from napari_dinoad.scoring.dpmm import state as dpmm_state
from napari_dinoad.scoring.dpmm.mixture import ComponentDensities
from napari_dinoad.scoring.dpmm.pooling import pooled, pooled_truncation, statistics_of
from napari_dinoad.scoring.patches import in_chunks, require_reiterable, unit_length, unit_patches
from napari_dinoad.scoring.saved_state import require_scorer
from napari_dinoad.settings import DpmmSettings
from napari_dinoad.settings.checks import require_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_dinoad.progress import Progress
    from napari_dinoad.scoring.dpmm.fit import DpmmParameters, FitPoint
    from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics
    from napari_dinoad.scoring.protocol import ScorerState

__all__ = ["DpmmScorer"]


class DpmmScorer:
    """How unlike the clusters of normal patches a patch is (Schulthess and Konukoglu, MICCAI 2025, arXiv 2509.19997).

    Embeddings are scaled to unit length and described by a truncated stick-breaking mixture of Gaussians. Unlike the
    paper's code it starts from k-means over a sample of all scans, takes exact EM steps (with float64 statistics)
    over all data, weights the last batch of an online fit by its size, and keeps the epoch that explains held-out
    normal scans best.

    Parameters
    ----------
    settings : DpmmSettings, optional
        Defaults if left out.
    device : str or torch.device
        Where it computes (where "mps" stands, the CPU: it has no float64). All is float64 but the cosines, which have
        the embeddings' precision.
    """

    name: ClassVar[str] = "dpmm"

    def __init__(self, settings: DpmmSettings | None = None, *, device: str | torch.device = "cpu") -> None:
        self.settings = DpmmSettings() if settings is None else settings
        require_kind("settings", self.settings, DpmmSettings)
        device = torch.device(device)
        self.device = torch.device("cpu") if device.type == "mps" else device
        self._point: FitPoint | None = None
        self._densities: ComponentDensities | None = None
        self._counted_densities: ComponentDensities | None = None
        self._directions: torch.Tensor | None = None

    def __repr__(self) -> str:
        what = (
            "not fitted"
            if self._point is None
            else f"{len(self.parameters.mean_responsibilities)} components"
        )
        return f"<DpmmScorer ({self.settings.covariance}, {self.settings.score}): {what}>"

    @property
    def parameters(self) -> DpmmParameters:
        """The parameters that score.

        Raises
        ------
        ScorerError
            Before `fit`.
        """
        return self._fitted().best

    def _fitted(self) -> FitPoint:
        if self._point is None:
            raise ScorerError("DPMM: expected a fitted scorer, got one without parameters; call fit first.")
        return self._point

    def fit(
        self,
        batches: Iterable[torch.Tensor],
        *,
        validation: Iterable[torch.Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Callable[[ScorerState], None] | None = None,
    ) -> Self:
        """Fit on normal embeddings.

        A scorer rebuilt from the state of an unfinished fit continues it, to the same end as if it had never stopped;
        any other starts anew. Where it is stopped by an error or `Cancelled`, the scorer stays as it was.

        Parameters
        ----------
        batches : iterable of torch.Tensor
            Re-iterable; each item is (n, gh, gw, d) float. Read once for the start (of full covariances twice) and
            once an epoch.
        validation : iterable of torch.Tensor, optional
            Normal embeddings of held-out scans: the epoch that explains them best is kept. Without them, the last.
        progress : callable, optional
            Called after each epoch (and each batch of the start); may raise `Cancelled`.
        checkpoint : callable, optional
            Called with the state after each epoch.

        Raises
        ------
        ScorerError
            If there is nothing to fit on, or an embedding is NaN or infinite.
        """
        require_reiterable(batches)
        point = self._point
        if point is None or point.finished:
            point = dpmm_start.start(batches, self.settings, self.device, progress)
        while not point.finished:
            point = dpmm_fit.next_epoch(point, batches, validation, self.settings)
            if checkpoint is not None:
                checkpoint(dpmm_state.state_of(self.name, self.settings, point))
            latest = {name: curve[-1] for name, curve in point.history.items()}
            report(progress, "Fitting DPMM", point.epoch, self.settings.epochs, metrics=latest)
        self._set(point)
        return self

    def updated(
        self,
        batches: Iterable[torch.Tensor],
        *,
        validation: Iterable[torch.Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Callable[[ScorerState], None] | None = None,
        settings: DpmmSettings | None = None,
        device: str | torch.device | None = None,
    ) -> Self:
        """Return a scorer fitted on the patches behind this one and on new ones; this one stays as it is.

        The earlier patches are known by this mixture alone. The fit is exact whatever ``settings.update`` says. See
        ``scoring/dpmm/pooling`` for the method.

        Parameters
        ----------
        batches, validation, progress, checkpoint
            See `fit`.
        settings : DpmmSettings, optional
            Seed and epochs; all else is this scorer's. None: these too.
        device : str or torch.device, optional
            None: this scorer's.

        Raises
        ------
        ScorerError
            If there is nothing to fit on, or an embedding is NaN, infinite, or of another backbone.
        """
        require_reiterable(batches)
        fit = settings or self.settings
        k = self.settings.n_components
        chosen = replace(
            self.settings,
            n_components=pooled_truncation((k, k)),
            update="exact",
            seed=fit.seed,
            epochs=fit.epochs,
        )
        other = type(self)(chosen, device=self.device if device is None else device)
        statistics, alpha = self._statistics(), self.parameters.alpha
        other._set(dpmm_start.start_update(statistics, alpha, batches, chosen, k, other.device, progress))
        return other.fit(batches, validation=validation, progress=progress, checkpoint=checkpoint)

    def _statistics(self) -> SufficientStatistics:
        """Return what the mixture knows of the patches that it was fitted on."""
        point = self._fitted()
        best, regularisation = point.best, self.settings.effective_regularisation
        return statistics_of(best.mixture, best.mean_responsibilities, point.n_patches, regularisation)

    @property
    def n_patches(self) -> int:
        """The number of patches that it was fitted on."""
        return self._fitted().n_patches

    @classmethod
    def merged(cls, scorers: Sequence[Self]) -> Self:
        """Return a scorer of the patches behind all of ``scorers``, from their mixtures alone.

        The union of the components, each with the patches that it stands for; those are merged whose difference
        predicts nothing (Akaike's criterion), and the least different ones until no more than `pooled_truncation`
        are left. The order of the scorers has no influence.

        Parameters
        ----------
        scorers : sequence of DpmmScorer
            At least one; of one covariance, regularisation, score and least weight.

        Raises
        ------
        ScorerError
            If their settings or channels do not go together.
        """
        first = scorers[0].settings
        for name in ("covariance", "effective_regularisation", "score", "min_weight"):
            values = [getattr(scorer.settings, name) for scorer in scorers]
            if len(set(values)) > 1:
                raise ScorerError(
                    f"DPMM {name.removeprefix('effective_').replace('_', ' ')}: expected the same in all, got "
                    f"{', '.join(map(str, values))}; fit them with the same settings."
                )
        channels = [scorer.parameters.mixture.means.shape[1] for scorer in scorers]
        if len(set(channels)) > 1:
            raise ScorerError(
                f"DPMM channels: expected the same in all, got {', '.join(map(str, channels))}; "
                "merge models of one backbone."
            )
        truncations = [scorer.settings.n_components for scorer in scorers]
        settings = replace(first, n_components=pooled_truncation(truncations))
        parts = [scorer._statistics() for scorer in scorers]
        regularisation = settings.effective_regularisation
        statistics = pooled(parts, settings.covariance, regularisation, settings.n_components)
        alpha = sum(scorer.parameters.alpha * scorer.n_patches for scorer in scorers) / statistics.n_patches
        merged = cls(settings, device=scorers[0].device)
        # Pooled on the CPU, wherever the mixtures are.
        parameters, _ = dpmm_start.parameters_of(statistics.to(merged.device), settings, alpha)
        merged._set(
            dpmm_fit.FitPoint.first(
                parameters,
                n_patches=int(statistics.n_patches),
                largest_batch=max(scorer._fitted().largest_batch for scorer in scorers),
                finished=True,
            )
        )
        return merged

    @classmethod
    def clustered(
        cls,
        batches: Iterable[torch.Tensor],
        settings: DpmmSettings,
        *,
        device: str | torch.device = "cpu",
        progress: Progress | None = None,
    ) -> Self:
        """Return a scorer with the clusters that a fit on ``batches`` starts from; parameters as of `fit`."""
        require_reiterable(batches)
        scorer = cls(settings, device=device)
        scorer._set(dpmm_start.start(batches, settings, scorer.device, progress))
        return scorer

    def _set(self, point: FitPoint) -> None:
        self._point = point
        self._densities = self._counted_densities = self._directions = None

    # -- scoring -------------------------------------------------------------------------------------------

    def score(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores (n, gh, gw) float32 for embeddings (n, gh, gw, d).

        ``"cosine"``: 1 − max cos(x, μ_k) over components heavier than ``min_weight``, in [0, 2] but for rounding;
        ``"negative-log-likelihood"``: −log p(x), nats; ``"mahalanobis"``: distance to the nearest such component.

        Parameters
        ----------
        embeddings : torch.Tensor
            (n, gh, gw, d), any floating dtype, d as in the fit.

        Raises
        ------
        ScorerError
            Before `fit`, or if the channels differ from the fit's or a value is NaN or infinite.
        """
        patches = self._patches(embeddings)
        if self.settings.score == "cosine":
            scores = self._cosine_scores(patches)
        elif self.settings.score == "mahalanobis":
            scores = self._mahalanobis_scores(patches)
        else:
            scores = -self._component_densities().log_density(patches)
        return scores.to(torch.float32).reshape(embeddings.shape[:3])

    def _patches(self, embeddings: torch.Tensor) -> torch.Tensor:
        return unit_patches(embeddings, self.parameters.mixture.means.shape[1], self.device)

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
        if self._directions is None:
            self._directions = unit_length(self.parameters.mixture.means[self._counted()])
        directions = self._directions.to(patches.dtype)
        chunks = in_chunks(patches, 2 * patches.element_size() * len(directions))
        return torch.cat([1 - (chunk @ directions.T).amax(-1) for chunk in chunks])

    def _mahalanobis_scores(self, patches: torch.Tensor) -> torch.Tensor:
        if self._counted_densities is None:
            self._counted_densities = ComponentDensities(self.parameters.mixture.selected(self._counted()))
        return self._counted_densities.nearest_mahalanobis(patches)

    def responsibilities(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return r (n, gh, gw, k) float64: how much each component explains each patch; they sum to 1.

        Parameters
        ----------
        embeddings : torch.Tensor
            As of `score`, and so are the errors.
        """
        patches = self._patches(embeddings)
        densities = self._component_densities()
        result = torch.zeros(
            len(patches), densities.mixture.n_components, dtype=torch.float64, device=self.device
        )
        result[:, densities.alive] = densities.log_joint(patches).softmax(-1)
        return result.reshape(*embeddings.shape[:3], -1)

    def components(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the component (n, gh, gw) int64 that explains each patch best: a map of what is seen where.

        The numbers are places in `component_names`.

        Parameters
        ----------
        embeddings : torch.Tensor
            As of `score`, and so are the errors.
        """
        patches = self._patches(embeddings)
        densities = self._component_densities()
        labels = [
            densities.alive[densities.log_joint(chunk).argmax(-1)] for chunk in densities.chunks(patches)
        ]
        return torch.cat(labels).reshape(embeddings.shape[:3])

    @property
    def component_names(self) -> tuple[str, ...]:
        """A name for each component: its number and the share of the normal patches that it explains.

        Large ones come first, but not strictly: a step that sorting would make worse leaves the order as it is.
        """
        shares = 100 * self.parameters.mean_responsibilities
        return tuple(
            f"component {number} ({share:.2g} % of normal)" for number, share in enumerate(shares.tolist(), 1)
        )

    # -- state ---------------------------------------------------------------------------------------------

    def state(self) -> ScorerState:
        """Return all that `from_state` needs; of an unfinished fit also all that it needs to continue."""
        return dpmm_state.state_of(self.name, self.settings, self._fitted())

    @classmethod
    def from_state(cls, state: ScorerState, *, device: str | torch.device = "cpu") -> Self:
        """Rebuild a scorer; one of an unfinished fit scores with its best epoch so far and continues with `fit`.

        Raises
        ------
        ModelFileError
            If a tensor or value is missing or has the wrong shape.
        """
        require_scorer(state, cls.name)
        scorer = cls(device=device)
        scorer.settings, point = dpmm_state.point_of(state, scorer.device)
        scorer._set(point)
        return scorer

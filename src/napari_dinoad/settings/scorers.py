"""Settings of the scorers."""

from __future__ import annotations

from dataclasses import dataclass

from napari_dinoad.errors import SettingError
from napari_dinoad.settings.checks import require, require_choice, require_finite
from napari_dinoad.settings.choices import (
    SCORER_NAMES,
    ArCnnContext,
    ArCnnNetwork,
    CovarianceType,
    DpmmScore,
    DpmmStart,
    DpmmUpdate,
    MemoryReduction,
    ScorerName,
)
from napari_dinoad.settings.kinds import settle


def split_scorer_names(text: str) -> tuple[ScorerName, ...]:
    """Return the scorers that a name like ``"ar-cnn+dpmm"`` stands for, in the order of `SCORER_NAMES`.

    Raises
    ------
    SettingError
        If one is unknown, or named twice.
    """
    parts = [part.strip() for part in text.split("+")]
    unknown = [part for part in parts if part not in SCORER_NAMES]
    if unknown or len(set(parts)) < len(parts):
        raise SettingError(
            f"scorer: expected one of {', '.join(SCORER_NAMES)}, or several of them joined by '+', got {text!r}."
        )
    return tuple(name for name in SCORER_NAMES if name in parts)


@dataclass(frozen=True)
class DpmmSettings:
    """Settings of the Dirichlet-process mixture (see ``scoring/dpmm``).

    Attributes
    ----------
    n_components : int
        Truncation K of the stick-breaking construction.
    covariance : str
        ``"diag"``, ``"full"`` or ``"spherical"``.
    update : str
        ``"exact"`` (statistics over all data each epoch), ``"ema"`` or ``"decay"`` (online).
    score : str
        ``"cosine"``, ``"negative-log-likelihood"`` or ``"mahalanobis"``.
    alpha0 : float
        Concentration α at the start.
    epochs : int
        At most so many passes over the data.
    patience : int
        Stop when so many epochs in a row explain the held-out normal scans no better.
    tolerance : float
        Stop an exact fit when an epoch raises the mean penalised log-likelihood by less (nats per patch and channel),
        or when the last two gains, or what the last step expects of itself, say that the next one will be less.
        Beyond the default the held-out likelihood still creeps up, but tumours are found no better.
    ema_rate, decay_exponent : float
        γ of the ``"ema"`` schedule and ρ of the ``"decay"`` schedule γ = t^−ρ.
    min_weight : float
        Components lighter than this do not count as normal in the cosine and Mahalanobis scores.
    regularisation : float, optional
        λ, added to every variance, at least 1e-12; None: 1e-6, and 1e-3 for full covariances.
    merge : bool
        Merge clusters of the start that the data do not tell apart (by Schwarz's criterion).
    start : str
        Where k-means starts: ``"principal-splits"`` (no random choice but the sample) or ``"k-means++"``.
    start_patches_per_component, start_iterations : int
        Patches sampled (over all scans) for each component, and Lloyd iterations, of the k-means start.
    seed : int
        The same seed gives the same scorer on the same machine. `FitSettings.seed` takes its place in a fit.
    """

    n_components: int = 750
    covariance: CovarianceType = "diag"
    update: DpmmUpdate = "exact"
    score: DpmmScore = "cosine"
    alpha0: float = 2.0
    epochs: int = 40
    patience: int = 5
    tolerance: float = 5e-3
    ema_rate: float = 0.2
    decay_exponent: float = 0.6
    min_weight: float = 1e-6
    regularisation: float | None = None
    merge: bool = True
    start: DpmmStart = "principal-splits"
    start_patches_per_component: int = 80
    start_iterations: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        require_finite(self, "DPMM")
        require_choice("DPMM covariance", self.covariance, CovarianceType)
        require_choice("DPMM update", self.update, DpmmUpdate)
        require_choice("DPMM start", self.start, DpmmStart)
        require_choice("DPMM score", self.score, DpmmScore)
        require(self.n_components >= 1, "DPMM components", "at least 1", self.n_components)
        require(self.alpha0 >= 1, "DPMM alpha0", "at least 1", self.alpha0)
        require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        require(self.patience >= 1, "DPMM patience", "at least 1 epoch", self.patience)
        require(self.tolerance >= 0, "DPMM tolerance", "0 or more", self.tolerance)
        require(0 < self.ema_rate <= 1, "DPMM ema rate", "above 0, at most 1", self.ema_rate)
        require(0.5 < self.decay_exponent <= 1, "DPMM decay exponent", "0.5 to 1", self.decay_exponent)
        require(0 <= self.min_weight < 1, "DPMM min weight", "0 to 1", self.min_weight)
        if self.regularisation is not None:
            # Variances are differences of squares of unit length, right to 1e-16 in float64.
            ok = self.regularisation >= 1e-12
            require(ok, "DPMM regularisation", "at least 1e-12", self.regularisation)
        ok = self.start_patches_per_component >= 1
        require(ok, "DPMM start patches per component", "at least 1", self.start_patches_per_component)
        require(self.start_iterations >= 0, "DPMM start iterations", "0 or more", self.start_iterations)

    @property
    def effective_regularisation(self) -> float:
        """Return λ."""
        if self.regularisation is not None:
            return self.regularisation
        return 1e-3 if self.covariance == "full" else 1e-6

    @property
    def is_of_likelihood(self) -> bool:
        """Whether scores are −log p(x), not distances to the nearest component."""
        return self.score == "negative-log-likelihood"


@dataclass(frozen=True)
class ArCnnSettings:
    """Settings of the autoregressive CNN (see ``scoring/ar_cnn``).

    Attributes
    ----------
    network : str
        ``"rings"`` (a bottleneck, rings of neighbours at several distances, then 1×1 layers) or ``"paper"``
        (five masked 3×3 convolutions).
    context : str
        What a patch is predicted from: ``"two-sided"`` (all around it) or ``"causal"`` (before it in raster order).
    dilations : tuple of int, optional
        Distances of the rings in patches; for ``"paper"`` one value for each of its five layers, or one for all.
        None: one and two ninths of the grid's shorter side (``"paper"``: one), as far in the picture at any
        resolution. The nearest patches are left out: they know so much of a patch that they give away a lesion.
    mirrored : bool
        Whether two-sided rings also look at the mirrored place, left for right, where a head shows its other half.
    bottleneck_channels, hidden_channels : int
        Channels of the neighbours (at most one more than an embedding has), and of the hidden layers.
    standardise : bool
        Scale each channel to zero mean and unit variance over the training patches first (the paper does not).
    normalise_positions : bool
        Divide a patch's error by the mean error that normal patches have at its place in the grid.
    epochs, patience : int
        Passes over the data, and how many without a better held-out loss end the fit early.
    batch_maps : int
        Maps in a training step. Few maps (a map has hundreds of patches) and few epochs make more steps of less
        work than the paper's 40 epochs of 64 maps.
    learning_rate, warmup_fraction, weight_decay, clip_norm : float
        AdamW's peak rate, the share of all steps that it rises over (it falls as a cosine after), decay, and the
        norm that gradients are clipped to (a large one, 1e9, clips none).
    noise_probability, noise_scale : float
        Share of maps whose input gets noise, and its size in standard deviations of the map's channel.
    seed : int
        The same seed gives the same scorer on the same machine. `FitSettings.seed` takes its place in a fit.
    """

    network: ArCnnNetwork = "rings"
    context: ArCnnContext = "two-sided"
    dilations: tuple[int, ...] | None = None
    mirrored: bool = False
    bottleneck_channels: int = 96
    hidden_channels: int = 256
    standardise: bool = True
    normalise_positions: bool = False
    epochs: int = 8
    patience: int = 8
    batch_maps: int = 4
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.02
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    noise_probability: float = 0.2
    noise_scale: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        require_finite(self, "AR-CNN")
        require_choice("AR-CNN network", self.network, ArCnnNetwork)
        require_choice("AR-CNN context", self.context, ArCnnContext)
        if self.dilations is not None:
            ok = len(self.dilations) >= 1 and all(d >= 1 for d in self.dilations)
            require(ok, "AR-CNN dilations", "one or more distances of at least 1 patch", self.dilations)
            if self.network == "paper":
                ok = len(self.dilations) in (1, 5)
                require(ok, "AR-CNN dilations of the paper's network", "one or five", self.dilations)
        ok = self.bottleneck_channels >= 1
        require(ok, "AR-CNN bottleneck channels", "at least 1", self.bottleneck_channels)
        require(self.hidden_channels >= 1, "AR-CNN hidden channels", "at least 1", self.hidden_channels)
        require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        require(self.patience >= 1, "AR-CNN patience", "at least 1 epoch", self.patience)
        require(self.batch_maps >= 1, "AR-CNN batch", "at least 1 map", self.batch_maps)
        require(self.learning_rate > 0, "AR-CNN learning rate", "above 0", self.learning_rate)
        require(0 <= self.warmup_fraction < 1, "AR-CNN warm-up fraction", "0 to 1", self.warmup_fraction)
        require(self.weight_decay >= 0, "AR-CNN weight decay", "0 or more", self.weight_decay)
        require(self.clip_norm > 0, "AR-CNN clip norm", "above 0", self.clip_norm)
        require(0 <= self.noise_probability <= 1, "noise probability", "0 to 1", self.noise_probability)
        require(self.noise_scale >= 0, "noise scale", "0 or more", self.noise_scale)


@dataclass(frozen=True)
class MemoryBankSettings:
    """Settings of the memory bank (see ``scoring/memory_bank``).

    Attributes
    ----------
    n_patches : int
        Patches that the bank holds at most.
    n_neighbours : int
        The score is the mean cosine distance to so many nearest patches.
    reduction : str
        How the sample is thinned to the bank: ``"coreset"`` (greedy k-centre), ``"k-means"`` or ``"random"``.
    sample_factor : int
        The uniform sample over all scans that is thinned holds this many times ``n_patches``.
    seed : int
        The same seed gives the same scorer on the same machine. `FitSettings.seed` takes its place in a fit.
    """

    n_patches: int = 10_000
    n_neighbours: int = 1
    reduction: MemoryReduction = "k-means"
    sample_factor: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        require_choice("memory bank reduction", self.reduction, MemoryReduction)
        require(self.n_patches >= 1, "memory bank patches", "at least 1", self.n_patches)
        require(self.n_neighbours >= 1, "memory bank neighbours", "at least 1", self.n_neighbours)
        require(self.sample_factor >= 1, "memory bank sample factor", "at least 1", self.sample_factor)

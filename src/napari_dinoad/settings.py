"""Every default of the package, validated, in one place.

All settings are frozen dataclasses; a value that makes no sense raises `SettingError` when the object is
made, before any work starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from napari_dinoad.errors import SettingError

__all__ = [
    "ANATOMICAL_PLANES",
    "AUPRO_FPR_LIMIT",
    "FALSE_POSITIVE_RATES",
    "HEATMAP_LIMITS",
    "MODEL_FORMAT_VERSION",
    "PRESETS",
    "SCORER_NAMES",
    "ArCnnSettings",
    "BodyMask",
    "CacheSettings",
    "CalibrationSettings",
    "ClusterSettings",
    "DatasetLayout",
    "DetectSettings",
    "Device",
    "DpmmSettings",
    "EvaluationProtocol",
    "EvaluationSettings",
    "FitSettings",
    "Intensity",
    "MemoryBankSettings",
    "Plane",
    "PreprocessingSettings",
    "ReadSettings",
    "ScorerName",
    "SegSegments",
    "preset",
    "split_scorer_names",
]

Plane = Literal["axial", "coronal", "sagittal", "acquired", "all"]
"""Slicing direction; ``"acquired"`` is the plane across the largest voxel spacing (or the stored 2D plane).

``"all"`` scores a volume in the three anatomical planes and combines them in p-space."""

ANATOMICAL_PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

Intensity = Literal["robust-percentiles", "slice-percentiles", "window", "as-stored"]
BodyMask = Literal["automatic", "off"]
DatasetLayout = Literal["auto", "bmad", "folder"]
EvaluationProtocol = Literal["native", "ar240", "bmad224"]
SegSegments = Literal["single", "regions"]
"""Segments of a DICOM-SEG: one, or one for each region."""
Device = Literal["auto", "cpu", "cuda", "mps"]
ScorerName = Literal["dpmm", "ar-cnn", "memory-bank"]
CalibrationMethod = Literal["auto", "split", "cross"]
CovarianceType = Literal["diag", "full", "spherical"]
DpmmUpdate = Literal["exact", "ema", "decay"]
DpmmStart = Literal["principal-splits", "k-means++"]
DpmmScore = Literal["cosine", "negative-log-likelihood", "mahalanobis"]
ArCnnContext = Literal["two-sided", "causal"]
ArCnnNetwork = Literal["rings", "paper"]
MemoryReduction = Literal["coreset", "k-means", "random"]

SCORER_NAMES: tuple[ScorerName, ...] = get_args(ScorerName)
"""The scorers; a model may hold several, side by side."""

FALSE_POSITIVE_RATES = (0.1, 0.05, 0.01, 0.001)
"""Rates of normal voxels marked at which every model states its thresholds."""

AUPRO_FPR_LIMIT = 0.3
"""False-positive rate up to which per-region overlap is averaged."""

HEATMAP_LIMITS = (1.3, 5.0)
"""−log10 p at which a heatmap begins (p = 0.05) and is brightest: fixed, so that scans compare."""


MODEL_FORMAT_VERSION = 2
"""Version of the model file's layout; a file of another version is refused."""


def _require(condition: bool, what: str, expected: str, got: object) -> None:
    if not condition:
        raise SettingError(f"{what}: expected {expected}, got {got!r}.")


def _require_choice(what: str, value: object, choices: object) -> None:
    names = get_args(choices)
    _require(value in names, what, "one of " + ", ".join(map(str, names)), value)


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
class ReadSettings:
    """What is meant where a file or folder could be read in several ways.

    Attributes
    ----------
    series : str, optional
        Which DICOM series: its number, its description, or the end of its UID.
    frame : int, optional
        Which volume of a 4D scan, or page of a stack, from 0.
    resample : bool
        Make even volumes of uneven or tilted DICOM slices by interpolation, instead of refusing them.
    stack_folders : bool
        The 2D images of one folder are the slices of one scan (OCT B-scans), not a scan each.
    """

    series: str | None = None
    frame: int | None = None
    resample: bool = False
    stack_folders: bool = False

    def __post_init__(self) -> None:
        if self.frame is not None:
            _require(self.frame >= 0, "frame", "0 or more", self.frame)

    def words(self) -> tuple[str, ...]:
        """Return what is not the plain reading, a sentence each, for a model's card; nothing that the user typed."""
        said = []
        if self.series is not None:
            said.append("Of several DICOM series one was chosen.")
        if self.frame is not None:
            said.append(f"Of scans with several frames, frame {self.frame} (from 0) was used.")
        if self.resample:
            said.append("Uneven or tilted DICOM series were made even by interpolation.")
        if self.stack_folders:
            said.append("The 2D images of a folder were one scan.")
        return tuple(said)


@dataclass(frozen=True)
class PreprocessingSettings:
    """How a scan becomes model inputs. Stored in the model file: patients are treated like the normals.

    Attributes
    ----------
    preset : str
        The name of the preset that these settings started from.
    intensity : str
        ``"robust-percentiles"`` (inside the body, per volume), ``"slice-percentiles"`` (per slice),
        ``"window"`` (fixed, ``window``) or ``"as-stored"`` (integer range → [0, 1]).
    window : tuple of float, optional
        Lower and upper bound in the scan's own units (Hounsfield units for CT).
    percentiles : tuple of float
        Lower and upper percentile that become 0 and 1.
    plane : str
        Slicing direction; ``"all"`` for three of them, fused in p-space.
    resolution_px : int, optional
        Side of the square model input; None takes the backbone's own.
    body_mask : str
        ``"automatic"`` finds the body, crops to it and scores only there; ``"off"`` uses the whole image.
    min_body_fraction : float
        Slices with less body than this share of the largest slice's body are not scored.
    """

    preset: str = "image-2d"
    intensity: Intensity = "as-stored"
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (1.0, 99.5)
    plane: Plane = "acquired"
    resolution_px: int | None = None
    body_mask: BodyMask = "automatic"
    min_body_fraction: float = 0.05

    def __post_init__(self) -> None:
        _require_choice("intensity", self.intensity, Intensity)
        _require_choice("plane", self.plane, Plane)
        _require_choice("body mask", self.body_mask, BodyMask)
        if self.intensity == "window":
            ok = self.window is not None and self.window[0] < self.window[1]
            _require(ok, "intensity window", "a lower and a higher bound", self.window)
        low, high = self.percentiles
        _require(0 <= low < high <= 100, "percentiles", "0 <= low < high <= 100", self.percentiles)
        if self.resolution_px is not None:
            in_range = 32 <= self.resolution_px <= 4096
            _require(in_range, "resolution", "32 to 4096 pixels", self.resolution_px)
        _require(0 <= self.min_body_fraction < 1, "min body fraction", "0 to 1", self.min_body_fraction)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The slicing directions, one or several."""
        return ANATOMICAL_PLANES if self.plane == "all" else (self.plane,)


def _ct_window(centre_hu: float, width_hu: float) -> tuple[float, float]:
    return centre_hu - width_hu / 2, centre_hu + width_hu / 2


PRESETS: dict[str, PreprocessingSettings] = {
    "mr-brain": PreprocessingSettings("mr-brain", "robust-percentiles", plane="axial"),
    "ct-head": PreprocessingSettings("ct-head", "window", _ct_window(40, 80), plane="axial"),
    "ct-chest": PreprocessingSettings("ct-chest", "window", _ct_window(-600, 1500), plane="axial"),
    "ct-abdomen": PreprocessingSettings("ct-abdomen", "window", _ct_window(40, 350), plane="axial"),
    "oct": PreprocessingSettings("oct", "slice-percentiles", body_mask="off"),
    "image-2d": PreprocessingSettings("image-2d", "as-stored"),
    "bmad": PreprocessingSettings("bmad", "as-stored", body_mask="off"),
}


def preset(name: str) -> PreprocessingSettings:
    """Return the preprocessing settings of the preset ``name``.

    Raises
    ------
    SettingError
        If there is no such preset.
    """
    if name not in PRESETS:
        raise SettingError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}.")
    return PRESETS[name]


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
        Stop an exact fit when an epoch raises the mean penalised log-likelihood by less (nats per patch).
    ema_rate, decay_exponent : float
        γ of the ``"ema"`` schedule and ρ of the ``"decay"`` schedule γ = t^−ρ.
    min_weight : float
        Components lighter than this do not count as normal in the cosine and Mahalanobis scores.
    regularisation : float, optional
        λ, added to every variance; None: 1e-6, and 1e-3 for full covariances.
    merge : bool
        Merge clusters of the start that the data do not tell apart (by Schwarz's criterion).
    start : str
        Where k-means starts: ``"principal-splits"`` (no random choice but the sample) or ``"k-means++"``.
    start_patches_per_component, start_iterations : int
        Patches sampled (over all scans) for each component, and Lloyd iterations, of the k-means start.
    """

    n_components: int = 500
    covariance: CovarianceType = "diag"
    update: DpmmUpdate = "exact"
    score: DpmmScore = "cosine"
    alpha0: float = 2.0
    epochs: int = 40
    patience: int = 5
    tolerance: float = 1e-3
    ema_rate: float = 0.2
    decay_exponent: float = 0.6
    min_weight: float = 1e-6
    regularisation: float | None = None
    merge: bool = True
    start: DpmmStart = "principal-splits"
    start_patches_per_component: int = 40
    start_iterations: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        _require_choice("DPMM covariance", self.covariance, CovarianceType)
        _require_choice("DPMM update", self.update, DpmmUpdate)
        _require_choice("DPMM start", self.start, DpmmStart)
        _require_choice("DPMM score", self.score, DpmmScore)
        _require(self.n_components >= 1, "DPMM components", "at least 1", self.n_components)
        _require(self.alpha0 >= 1, "DPMM alpha0", "at least 1", self.alpha0)
        _require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _require(self.patience >= 1, "DPMM patience", "at least 1 epoch", self.patience)
        _require(self.tolerance >= 0, "DPMM tolerance", "0 or more", self.tolerance)
        _require(0 < self.ema_rate <= 1, "DPMM ema rate", "above 0, at most 1", self.ema_rate)
        _require(0.5 < self.decay_exponent <= 1, "DPMM decay exponent", "0.5 to 1", self.decay_exponent)
        _require(0 <= self.min_weight < 1, "DPMM min weight", "0 to 1", self.min_weight)
        if self.regularisation is not None:
            _require(self.regularisation > 0, "DPMM regularisation", "above 0", self.regularisation)
        ok = self.start_patches_per_component >= 1
        _require(ok, "DPMM start patches per component", "at least 1", self.start_patches_per_component)
        _require(self.start_iterations >= 0, "DPMM start iterations", "0 or more", self.start_iterations)

    @property
    def effective_regularisation(self) -> float:
        """Return λ."""
        if self.regularisation is not None:
            return self.regularisation
        return 1e-3 if self.covariance == "full" else 1e-6


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
    dilations : tuple of int
        Distances of the rings in patches; for ``"paper"`` one value for each of its five layers, or one for all.
    bottleneck_channels, hidden_channels : int
        Channels of the neighbours (at most one more than an embedding has), and of the hidden layers.
    standardise : bool
        Scale each channel to zero mean and unit variance over the training patches first (the paper does not).
    normalise_positions : bool
        Divide a patch's error by the mean error that normal patches have at its place in the grid.
    epochs, patience : int
        Passes over the data, and how many without a better held-out loss end the fit early.
    batch_maps : int
        Maps in a training step.
    learning_rate, warmup_fraction, weight_decay, clip_norm : float
        AdamW's peak rate, the share of all steps that it rises over (it falls as a cosine after), decay, and the
        norm that gradients are clipped to.
    noise_probability, noise_scale : float
        Share of maps whose input gets noise, and its size in standard deviations of the map's channel.
    """

    network: ArCnnNetwork = "rings"
    context: ArCnnContext = "two-sided"
    dilations: tuple[int, ...] = (1, 2, 4)
    bottleneck_channels: int = 96
    hidden_channels: int = 256
    standardise: bool = True
    normalise_positions: bool = False
    epochs: int = 40
    patience: int = 8
    batch_maps: int = 64
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.02
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    noise_probability: float = 0.2
    noise_scale: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        _require_choice("AR-CNN network", self.network, ArCnnNetwork)
        _require_choice("AR-CNN context", self.context, ArCnnContext)
        ok = len(self.dilations) >= 1 and all(d >= 1 for d in self.dilations)
        _require(ok, "AR-CNN dilations", "one or more distances of at least 1 patch", self.dilations)
        if self.network == "paper":
            ok = len(self.dilations) in (1, 5)
            _require(ok, "AR-CNN dilations of the paper's network", "one or five", self.dilations)
        _require(
            self.bottleneck_channels >= 1,
            "AR-CNN bottleneck channels",
            "at least 1",
            self.bottleneck_channels,
        )
        _require(self.hidden_channels >= 1, "AR-CNN hidden channels", "at least 1", self.hidden_channels)
        _require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _require(self.patience >= 1, "AR-CNN patience", "at least 1 epoch", self.patience)
        _require(self.batch_maps >= 1, "AR-CNN batch", "at least 1 map", self.batch_maps)
        _require(self.learning_rate > 0, "AR-CNN learning rate", "above 0", self.learning_rate)
        _require(0 <= self.warmup_fraction < 1, "AR-CNN warm-up fraction", "0 to 1", self.warmup_fraction)
        _require(self.weight_decay >= 0, "AR-CNN weight decay", "0 or more", self.weight_decay)
        _require(self.clip_norm > 0, "AR-CNN clip norm", "above 0", self.clip_norm)
        _require(0 <= self.noise_probability <= 1, "noise probability", "0 to 1", self.noise_probability)
        _require(self.noise_scale >= 0, "noise scale", "0 or more", self.noise_scale)


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
    """

    n_patches: int = 10_000
    n_neighbours: int = 1
    reduction: MemoryReduction = "k-means"
    sample_factor: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _require_choice("memory bank reduction", self.reduction, MemoryReduction)
        _require(self.n_patches >= 1, "memory bank patches", "at least 1", self.n_patches)
        _require(self.n_neighbours >= 1, "memory bank neighbours", "at least 1", self.n_neighbours)
        _require(self.sample_factor >= 1, "memory bank sample factor", "at least 1", self.sample_factor)


@dataclass(frozen=True)
class CalibrationSettings:
    """How raw scores become probabilities.

    Attributes
    ----------
    method : str
        ``"split"`` holds one share of the scans out; ``"cross"`` refits on folds, so that every scan is scored by a
        model that has not seen it and all calibrate; ``"auto"`` takes ``"cross"`` below ``cross_below`` scans.
    holdout : float
        Share of the normal *scans* (never slices) that calibrate with ``"split"``; at least one scan.
    folds : int
        Number of folds of ``"cross"`` (at most one a scan).
    scan_top_fraction : float
        A scan's own score is the mean raw score of this share of its most abnormal body voxels.
    """

    method: CalibrationMethod = "auto"
    holdout: float = 0.2
    folds: int = 5
    cross_below: int = 100
    scan_top_fraction: float = 0.005

    def __post_init__(self) -> None:
        _require_choice("calibration method", self.method, CalibrationMethod)
        _require(self.folds >= 2, "calibration folds", "at least 2", self.folds)
        _require(0 < self.holdout < 1, "holdout", "above 0 and below 1", self.holdout)
        ok = 0 < self.scan_top_fraction <= 1
        _require(ok, "scan top fraction", "above 0, at most 1", self.scan_top_fraction)


@dataclass(frozen=True)
class CacheSettings:
    """Where a fit keeps embeddings and unfinished scorers, so that it can go on after any interruption.

    Attributes
    ----------
    folder : str, optional
        None: the user's cache folder. Fits may share one; embeddings that several need are stored once.
    keep : bool
        Whether the embeddings stay after the fit, for other scorers; otherwise those that no other fit needs go.
    resume : bool
        Whether to go on where an interrupted run of the same fit was; otherwise what it left is removed first.
    limit_bytes : int, optional
        A fit whose embeddings may take more than this is refused before it starts.
    """

    folder: str | None = None
    keep: bool = False
    resume: bool = True
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.limit_bytes is not None:
            _require(self.limit_bytes > 0, "cache limit", "above 0 bytes", self.limit_bytes)


@dataclass(frozen=True)
class ClusterSettings:
    """Where a fit's embedding and sums are computed, when not in its own process.

    Attributes
    ----------
    address : str, optional
        Of a running Dask scheduler, ``"tcp://host:8786"``; None: workers are started on this machine.
    workers : int
        How many are started.
    timeout_s : float
        How long to wait for the scheduler and its first worker.
    """

    address: str | None = None
    workers: int = 2
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        _require(self.workers >= 1, "workers", "at least 1", self.workers)
        _require(self.timeout_s > 0, "cluster timeout", "above 0 seconds", self.timeout_s)


@dataclass(frozen=True)
class FitSettings:
    """Everything that `fit_folder` needs beside the folder.

    Attributes
    ----------
    scorer : str
        ``"dpmm"``, ``"ar-cnn"`` or ``"memory-bank"``, or several joined by ``+``, in any order: they are fitted side
        by side and combined in p-space. Kept in the order of `SCORER_NAMES`.
    backbone : str
        A name of the registry; ``"embedded"`` needs no weights.
    weights : str, optional
        A local weights file for the backbone.
    preprocessing : PreprocessingSettings, optional
        None: `fit_folder` takes the preset that suits the scans found (2D images: ``image-2d``, volumes:
        ``mr-brain``).
    reading : ReadSettings
        Which series and frame of the normal scans are meant.
    plane, resolution_px : optional
        Override those of ``preprocessing``, or of the preset that is taken where there is none.
    epochs : int, optional
        Overrides the scorers' own number of epochs.
    """

    scorer: str = "dpmm"
    backbone: str = "embedded"
    weights: str | None = None
    preprocessing: PreprocessingSettings | None = None
    reading: ReadSettings = field(default_factory=ReadSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    dpmm: DpmmSettings = field(default_factory=DpmmSettings)
    ar_cnn: ArCnnSettings = field(default_factory=ArCnnSettings)
    memory_bank: MemoryBankSettings = field(default_factory=MemoryBankSettings)
    epochs: int | None = None
    device: Device = "auto"
    seed: int = 0
    plane: Plane | None = None
    resolution_px: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scorer", "+".join(split_scorer_names(self.scorer)))
        _require_choice("device", self.device, Device)
        if self.epochs is not None:
            _require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        # Refuses a plane or resolution that makes no sense.
        self.preprocessing_or(PreprocessingSettings())

    def preprocessing_or(self, default: PreprocessingSettings) -> PreprocessingSettings:
        """Return ``preprocessing``, or ``default`` where there is none, with what overrides it in place."""
        chosen = self.preprocessing or default
        return replace(
            chosen,
            plane=self.plane or chosen.plane,
            resolution_px=self.resolution_px or chosen.resolution_px,
        )

    @property
    def scorer_names(self) -> tuple[ScorerName, ...]:
        """The scorers to fit side by side."""
        return split_scorer_names(self.scorer)

    def scorer_settings(self, name: ScorerName) -> DpmmSettings | ArCnnSettings | MemoryBankSettings:
        """Return a scorer's settings, with the seed and number of epochs of this fit."""
        if name == "memory-bank":
            return replace(self.memory_bank, seed=self.seed)
        chosen = self.dpmm if name == "dpmm" else self.ar_cnn
        return replace(chosen, seed=self.seed, epochs=self.epochs or chosen.epochs)


@dataclass(frozen=True)
class DetectSettings:
    """Settings of `detect`.

    Attributes
    ----------
    fpr : float
        False-positive rate among normal voxels at which the mask is drawn.
    min_volume_mm3 : float
        Regions smaller than this are left out (for pixels without physical size: pixels).
    batch_slices : int, optional
        Slices scored at a time; None: as many as keep the device busy and its memory holds.
    """

    fpr: float = 0.01
    min_volume_mm3: float = 0.0
    device: Device = "auto"
    batch_slices: int | None = None

    def __post_init__(self) -> None:
        _require_choice("device", self.device, Device)
        _require(0 < self.fpr < 1, "false-positive rate", "above 0 and below 1", self.fpr)
        _require(self.min_volume_mm3 >= 0, "minimum volume", "0 or more", self.min_volume_mm3)
        ok = self.batch_slices is None or self.batch_slices >= 1
        _require(ok, "batch", "at least 1 slice", self.batch_slices)


@dataclass(frozen=True)
class EvaluationSettings:
    """How maps are compared with the truth of a benchmark.

    Attributes
    ----------
    protocol : str
        ``"native"`` (each scan's own pixels), ``"ar240"`` (maps and masks at 240²) or ``"bmad224"`` (at 224²).
    false_positive_rates : tuple of float
        Rates of normal pixels at which Dice is told.
    aupro_limit : float
        False-positive rate up to which the per-region overlap is averaged.
    top_fraction : float
        An image's own score is the mean of this share of its highest scores.
    """

    protocol: EvaluationProtocol = "native"
    false_positive_rates: tuple[float, ...] = (0.01, 0.05, 0.1)
    aupro_limit: float = AUPRO_FPR_LIMIT
    top_fraction: float = CalibrationSettings.scan_top_fraction

    def __post_init__(self) -> None:
        _require_choice("protocol", self.protocol, EvaluationProtocol)
        for rate in self.false_positive_rates:
            _require(0 < rate < 1, "false-positive rate", "above 0 and below 1", rate)
        _require(0 < self.aupro_limit <= 1, "AUPRO limit", "above 0, at most 1", self.aupro_limit)
        _require(0 < self.top_fraction <= 1, "top fraction", "above 0, at most 1", self.top_fraction)

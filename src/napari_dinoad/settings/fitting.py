"""Settings of a fit: calibration, what is kept on disk, where it is computed, and all of it together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from napari_dinoad.settings.checks import require, require_choice, require_kind
from napari_dinoad.settings.choices import CalibrationMethod, Device, PersonGrouping, Plane, ScorerName
from napari_dinoad.settings.kinds import settle
from napari_dinoad.settings.scans import PreprocessingSettings, ReadSettings
from napari_dinoad.settings.scorers import ArCnnSettings, DpmmSettings, MemoryBankSettings, split_scorer_names

LEAST_KEPT_PATCHES = 50
"""Of fewer chance decides how much a merged model marks: of 16 from each of two models, four times the rate."""

MOST_KEPT_PATCHES = 20_000
"""A model of several keeps 4,000 in all; so many embeddings of length 384 take 15 MB in each model file."""


@dataclass(frozen=True)
class CalibrationSettings:
    """How raw scores become probabilities.

    Attributes
    ----------
    method : str
        ``"split"`` holds one share of the scans out; ``"cross"`` refits on folds, so that every scan is scored by a
        model that has not seen it and all calibrate; ``"auto"`` takes ``"cross"`` below ``cross_below`` persons.
    holdout : float
        Share of the normal persons (never slices, nor single scans of a person) that calibrate with ``"split"``; at
        least one.
    folds : int
        Number of folds of ``"cross"`` (at most one a person).
    cross_below : int
        Number of persons from which ``"auto"`` takes ``"split"``.
    scan_top_fraction : float
        A scan's own score is the mean raw score of this share of its most abnormal body voxels.
    smoothing_mm : float
        Raw scores of a volume are averaged across neighbouring slices by a Gaussian of this standard deviation; 0:
        each slice is scored for itself, as 2D images always are.
    persons : str
        Which scans are of one person: they are held out together. ``"auto"``: those with one BIDS entity
        ``sub-<label>`` in their path, DICOM series with one PatientID, and else each scan by itself;
        ``"folder"``: those in one first folder below the chosen one; ``"name"``: those in one folder whose names
        differ by a number at their end alone; ``"each-scan"``: each by itself.
    slice_levels : bool
        Whether the averaged scores of a volume's slices are divided by what is usual of slices of other persons that
        look alike. From five held-out persons with volumes on; where scores are likelihoods, never.
    n_kept_patches : int
        A model of ``"dpmm"`` alone, in one plane, keeps the embeddings of about so many held-out patches, on which a
        model that it is merged into is calibrated. 0: none; then merged models mark less than the rate says, and
        of an updated model those that it had go. Else `LEAST_KEPT_PATCHES` to `MOST_KEPT_PATCHES`.
    """

    method: CalibrationMethod = "auto"
    holdout: float = 0.2
    folds: int = 5
    cross_below: int = 100
    scan_top_fraction: float = 0.005
    smoothing_mm: float = 5.0
    persons: PersonGrouping = "auto"
    slice_levels: bool = True
    n_kept_patches: int = 2_000

    def __post_init__(self) -> None:
        settle(self)
        require_choice("calibration method", self.method, CalibrationMethod)
        require_choice("persons", self.persons, PersonGrouping)
        require(self.folds >= 2, "calibration folds", "at least 2", self.folds)
        ok = self.n_kept_patches == 0 or LEAST_KEPT_PATCHES <= self.n_kept_patches <= MOST_KEPT_PATCHES
        expected = f"0 or {LEAST_KEPT_PATCHES} to {MOST_KEPT_PATCHES}"
        require(ok, "kept patches", expected, self.n_kept_patches)
        require(0 < self.holdout < 1, "holdout", "above 0 and below 1", self.holdout)
        ok = 0 < self.scan_top_fraction <= 1
        require(ok, "scan top fraction", "above 0, at most 1", self.scan_top_fraction)
        ok = 0 <= self.smoothing_mm < float("inf")
        require(ok, "smoothing across slices", "0 mm or more", self.smoothing_mm)


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
        settle(self)
        if self.limit_bytes is not None:
            require(self.limit_bytes > 0, "cache limit", "above 0 bytes", self.limit_bytes)


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
        settle(self)
        require(self.workers >= 1, "workers", "at least 1", self.workers)
        require(self.timeout_s > 0, "cluster timeout", "above 0 seconds", self.timeout_s)


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
        None: `fit_folder` looks at some of the scans found and takes the preset that suits them.
    reading : ReadSettings
        Which series and frame of the normal scans are meant.
    calibration : CalibrationSettings
        How scans are held out, and how their scores become probabilities.
    dpmm, ar_cnn, memory_bank : DpmmSettings, ArCnnSettings, MemoryBankSettings
        Of each scorer; those that ``scorer`` does not name are not used. Their own ``seed`` is replaced by this one.
    epochs : int, optional
        Overrides the scorers' own number of epochs.
    device : str
        Where backbone and scorers compute: ``"auto"`` (the quickest), ``"cpu"``, ``"cuda"`` or ``"mps"``.
    seed : int
        Of everything that is drawn: the same seed gives the same model on the same machine.
    plane, resolution_px : optional
        Override those of ``preprocessing``, or of the preset that is taken where there is none.
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
        settle(self)
        object.__setattr__(self, "scorer", "+".join(split_scorer_names(self.scorer)))
        require_choice("device", self.device, Device)
        if self.preprocessing is not None:
            of_preset = "Take those of a preset: preset('mr-brain')."
            require_kind("preprocessing", self.preprocessing, PreprocessingSettings, of_preset)
        require_kind("reading", self.reading, ReadSettings)
        require_kind("calibration", self.calibration, CalibrationSettings)
        require_kind("dpmm", self.dpmm, DpmmSettings)
        require_kind("ar_cnn", self.ar_cnn, ArCnnSettings)
        require_kind("memory_bank", self.memory_bank, MemoryBankSettings)
        require(self.seed >= 0, "seed", "at least 0", self.seed)
        if self.epochs is not None:
            require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        # Refuses a plane or resolution that makes no sense.
        self.preprocessing_or(PreprocessingSettings())

    def preprocessing_or(self, default: PreprocessingSettings) -> PreprocessingSettings:
        """Return ``preprocessing``, or ``default`` where there is none, with what overrides it in place."""
        chosen = self.preprocessing or default
        return replace(
            chosen,
            plane=chosen.plane if self.plane is None else self.plane,
            resolution_px=chosen.resolution_px if self.resolution_px is None else self.resolution_px,
        )

    @property
    def scorer_names(self) -> tuple[ScorerName, ...]:
        """The scorers to fit side by side."""
        return split_scorer_names(self.scorer)

    def is_levelled(self, name: ScorerName) -> bool:
        """Whether a scorer's averaged scores are divided by what is usual of alike slices: not likelihoods."""
        of_likelihood = name == "dpmm" and self.dpmm.is_of_likelihood
        return self.calibration.slice_levels and not of_likelihood

    def scorer_settings(self, name: ScorerName) -> DpmmSettings | ArCnnSettings | MemoryBankSettings:
        """Return a scorer's settings, with the seed and number of epochs of this fit."""
        if name == "memory-bank":
            return replace(self.memory_bank, seed=self.seed)
        chosen = self.dpmm if name == "dpmm" else self.ar_cnn
        return replace(chosen, seed=self.seed, epochs=self.epochs or chosen.epochs)

"""Names that settings may take, and constants that are the same everywhere."""

from __future__ import annotations

from typing import Literal, get_args

Plane = Literal["axial", "coronal", "sagittal", "acquired", "all"]
"""Slicing direction; ``"acquired"`` is the plane across the largest voxel spacing (or the stored 2D plane).

``"all"`` scores a volume in the three anatomical planes and combines them in p-space."""

ANATOMICAL_PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

Intensity = Literal["robust-percentiles", "slice-percentiles", "window", "as-stored"]
BodyMask = Literal["automatic", "field-of-view", "off"]
DatasetLayout = Literal["auto", "bmad", "mvtec", "folder"]
EvaluationProtocol = Literal["native", "ar240", "bmad224"]
SegSegments = Literal["single", "regions"]
"""Segments of a DICOM-SEG: one, or one for each region."""
Device = Literal["auto", "cpu", "cuda", "mps"]
ScorerName = Literal["dpmm", "ar-cnn", "memory-bank"]
CalibrationMethod = Literal["auto", "split", "cross"]
PersonGrouping = Literal["auto", "each-scan", "folder", "name"]
"""How it is told which normal scans are of one person."""
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

BENCH_SLICES = 155
"""Slices of the volume that speed is measured on: a head's at 1 mm."""

AUPRO_FPR_LIMIT = 0.3
"""False-positive rate up to which per-region overlap is averaged."""

HEATMAP_LIMITS = (1.3, 5.0)
"""−log10 p at which a heatmap begins (p = 0.05) and is brightest: fixed, so that scans compare."""

HEATMAP_STOPS = (
    (0.0, (0.45, 0.0, 0.35, 0.0)),
    (0.2, (0.75, 0.05, 0.3, 0.55)),
    (0.6, (0.98, 0.45, 0.1, 0.7)),
    (1.0, (1.0, 0.95, 0.45, 0.85)),
)
"""Places within the limits, and red, green, blue and opacity there: the same wherever a heatmap is drawn."""

COLOURED = 0.02
"""A picture is in colour whose red, green and blue differ by so much of white on average; JPEG makes less of grey."""

MODEL_FORMAT_VERSION = 6
"""Version of the model file's layout; a file of another version is refused."""

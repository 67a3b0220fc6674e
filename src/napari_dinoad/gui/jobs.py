"""Requests of the interface, frozen before they start, that run on a worker thread; and what they bring back.

torch is imported inside the jobs only, so that opening a widget does not load it.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import DinoadError
from napari_dinoad.files import require_folder
from napari_dinoad.gui.llvm_clash import keep_triton_out
from napari_dinoad.images.discovery import Discovery, discover_scans
from napari_dinoad.progress import ProgressEvent
from napari_dinoad.settings import ArCnnSettings, CalibrationSettings, FitSettings

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from napari_dinoad.gui.layers import LayerScan
    from napari_dinoad.gui.worker import JobChannel
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.normative_model import FitReport
    from napari_dinoad.pipeline import Detector
    from napari_dinoad.settings import DetectSettings, Device

__all__ = [
    "DemoModelJob",
    "DetectJob",
    "DetectOutcome",
    "DetectorCache",
    "DiscoverJob",
    "FitJob",
    "FitOutcome",
    "ReadJob",
    "ScanRead",
    "SlicesScored",
    "demo_settings",
]

logger = logging.getLogger(__name__)

N_DEMO_SCANS = 10
"""Phantoms that the demo model is fitted on."""


def demo_settings(device: Device) -> FitSettings:
    """Return settings that fit the demo model in a minute or two on two cores, those of ``dinoad demo``."""
    return FitSettings(
        scorer="ar-cnn",
        calibration=CalibrationSettings(method="split", holdout=0.3),
        ar_cnn=ArCnnSettings(hidden_channels=128, batch_maps=16, epochs=20),
        device=device,
    )


@dataclass(frozen=True)
class ReadJob:
    """Reads scans as layer data tuples."""

    paths: tuple[Path, ...]

    def __call__(self, channel: JobChannel) -> list[tuple[Any, dict[str, Any], str]]:
        """Return the layer data tuples of all scans."""
        from napari_dinoad.gui.reader import read_layers

        layers = []
        for i, path in enumerate(self.paths):
            channel.progress(ProgressEvent("Reading", i, len(self.paths)))
            layers += read_layers(path)
        return layers


@dataclass(frozen=True)
class DiscoverJob:
    """Looks into a folder."""

    folder: Path

    def __call__(self, channel: JobChannel) -> Discovery:
        """Return what the folder holds."""
        channel.progress(ProgressEvent("Looking into the folder", 0, 0))
        return discover_scans(self.folder)


@dataclass(frozen=True)
class FitOutcome:
    """A model that was fitted and saved.

    Attributes
    ----------
    path : Path
    report : FitReport
        The scans used, those skipped with their reasons, curves and times.
    """

    path: Path
    report: FitReport


@dataclass(frozen=True)
class FitJob:
    """Fits a model of normal from a folder and saves it."""

    folder: Path
    settings: FitSettings
    out: Path

    def __call__(self, channel: JobChannel) -> FitOutcome:
        """Fit, save, and return where the model is and how it went."""
        keep_triton_out()
        from napari_dinoad.pipeline import fit_folder

        require_folder(self.out.parent)
        model = fit_folder(self.folder, self.settings, channel.progress)
        if model.fit_report is None:
            raise RuntimeError("A model that was just fitted has no report.")
        channel.progress(ProgressEvent("Saving the model", 0, 0))
        model.save(self.out)
        self._keep_weights()
        return FitOutcome(self.out, model.fit_report)

    def _keep_weights(self) -> None:
        """Copy a weights file that was chosen to where scoring will look for it."""
        if self.settings.weights is None:
            return
        from napari_dinoad.backbones.weights import add_weights, installed_weights

        if self.settings.backbone in installed_weights():
            # Models fitted before rest on those; they are not replaced.
            return
        try:
            add_weights(self.settings.weights, self.settings.backbone)
        except DinoadError as error:
            logger.warning("The weights were not kept for scoring: %s", error)


@dataclass(frozen=True)
class DemoModelJob:
    """Fits a small model on normal phantoms, to try the plugin without any scan."""

    settings: FitSettings
    out: Path

    def __call__(self, channel: JobChannel) -> FitOutcome:
        """Make the phantoms, fit, save, and return where the model is."""
        from napari_dinoad.phantom import write_cohort

        with tempfile.TemporaryDirectory(prefix="dinoad-demo-") as folder:
            cohort = write_cohort(folder, N_DEMO_SCANS, kinds=(), progress=channel.progress)
            return FitJob(cohort.normal_folder, self.settings, self.out)(channel)


class DetectorCache:
    """Keeps the detector used last, so that the next slice does not load the backbone again.

    Only jobs use it, and only one runs at a time.
    """

    def __init__(self) -> None:
        self._key: object = None
        self._detector: Detector | None = None

    def get(self, path: Path, settings: DetectSettings) -> Detector:
        """Return the detector of the model in a file, loading what is not loaded yet.

        Raises
        ------
        DinoadError
            If the model or its backbone cannot be loaded.
        """
        keep_triton_out()
        from napari_dinoad.normative_model import NormativeModel
        from napari_dinoad.pipeline import Detector

        modified = path.stat().st_mtime_ns if path.is_file() else None
        key = (path, modified, settings)
        if self._detector is None or key != self._key:
            self._detector = None
            self._detector = Detector(NormativeModel.load(path), settings)
            self._key = key
        return self._detector


@dataclass(frozen=True, eq=False)
class ScanRead:
    """Delivered first: the scan itself, and across which axis of the canonical array it is sliced."""

    volume: Volume
    axis: int


@dataclass(frozen=True, eq=False)
class SlicesScored:
    """Delivered after each batch.

    Attributes
    ----------
    axis : int
        Axis of the canonical array.
    indices : tuple of int
    values : numpy.ndarray
        (n, …) float32, −log10 p of these slices.
    """

    axis: int
    indices: tuple[int, ...]
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class DetectOutcome:
    """What is known at the end beside the map.

    Attributes
    ----------
    p_value : float, optional
        Of the whole scan; None when only some slices were scored.
    n_calibration_scans, n_more_normal : int
        Normal scans compared with, and how many of them are less extreme than this one.
    seconds : float
    card : dict, optional
        The card of the model that scored.
    """

    p_value: float | None
    n_calibration_scans: int
    n_more_normal: int
    seconds: float
    card: dict[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class DetectJob:
    """Scores a layer's scan: the shown slice first, then outwards; or the shown slice alone.

    Attributes
    ----------
    scan : LayerScan
    model_path : Path
    settings : DetectSettings
    shown : tuple of int
        Canonical voxel (z, y, x) in view.
    only_shown : bool
        Whether to score the slice in view alone.
    detectors : DetectorCache
    """

    scan: LayerScan
    model_path: Path
    settings: DetectSettings
    shown: tuple[int, int, int]
    only_shown: bool
    detectors: DetectorCache

    def __call__(self, channel: JobChannel) -> DetectOutcome:
        """Score, delivering a `ScanRead` and then `SlicesScored` as they come."""
        channel.progress(ProgressEvent("Reading the scan", 0, 0))
        volume = self.scan.volume()
        channel.progress(ProgressEvent("Loading the model", 0, 0))
        detector = self.detectors.get(self.model_path, self.settings)
        axis = detector.slice_axis(volume)
        channel.deliver(ScanRead(volume, axis))
        channel.progress(ProgressEvent("Preparing the scan", 0, 0))
        detection = detector.detect(
            volume,
            slices=[self.shown[axis]] if self.only_shown else None,
            start_slice=self.shown[axis],
            progress=channel.progress,
            on_slices=partial(_deliver_slices, channel),
        )
        return DetectOutcome(
            detection.p_value,
            detection.n_calibration_scans,
            detection.n_more_normal,
            detection.seconds["total"],
            detector.model.card(),
        )


def _deliver_slices(channel: JobChannel, axis: int, indices: list[int], values: np.ndarray) -> None:
    channel.deliver(SlicesScored(axis, tuple(indices), values.copy()))

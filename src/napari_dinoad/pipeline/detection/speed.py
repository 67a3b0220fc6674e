"""How long this computer takes for a slice, from a volume to its map, beside the backbone alone.

A volume in which every slice shows a body is scored by a small model. The bare backbone, at its best batch size, goes
through as many slices before and after it: a machine slows down under a load that lasts, and when it is shared. The
volume is scored on its own, and as one of many: the next one is read and prepared meanwhile, as `score_scans` does.
Speed depends on no weights, so the networks have random ones.
"""

from __future__ import annotations

import math
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import nibabel as nib
import numpy as np
import torch

from napari_dinoad.backbones import untrained_backbone
from napari_dinoad.errors import SettingError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.machine.ordered_logs import OrderedLogs
from napari_dinoad.pipeline.detection.detector import Detector
from napari_dinoad.pipeline.fit.fitting import fit_folder
from napari_dinoad.progress import report
from napari_dinoad.settings import (
    BENCH_SLICES,
    CacheSettings,
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    preset,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import Device

T = TypeVar("T")

__all__ = ["DetectionSpeed", "SpeedTrial"]

SLICE_SHAPE = (240, 240)
"""Voxels of a slice, 1 mm each."""

MODEL_PATCHES = 16_000
"""Patches that the model is fitted and calibrated on: enough to fill a mixture and a memory bank of default size."""

N_NORMALS = 5

LEAST_SECONDS = 5.0
"""Rounds go on until this much time is measured."""


@dataclass(frozen=True)
class DetectionSpeed:
    """What a slice takes, the median of all rounds.

    Attributes
    ----------
    scorer : str
    batch_slices : int
        Slices a call at which the backbone alone is fastest.
    bare_ms, detect_ms, of_many_ms : float
        Milliseconds a slice by the clock, of the backbone alone, from the volume to the map, and of a volume among
        many: prepared already, while the next one is read and prepared.
    bare_cpu_ms, detect_cpu_ms, of_many_cpu_ms : float
        The same of processor time, summed over threads.
    stages_ms : dict of float
        Milliseconds a slice of `Detection.seconds`.
    n_rounds : int
    """

    scorer: str
    batch_slices: int
    bare_ms: float
    detect_ms: float
    of_many_ms: float
    bare_cpu_ms: float
    detect_cpu_ms: float
    of_many_cpu_ms: float
    stages_ms: dict[str, float]
    n_rounds: int

    @property
    def share(self) -> float:
        """The rate from volume to map as a share of the bare backbone's."""
        return self.bare_ms / self.detect_ms

    @property
    def share_of_many(self) -> float:
        """The same of a volume among many."""
        return self.bare_ms / self.of_many_ms


class SpeedTrial:
    """A backbone and a volume, to measure any scorer on.

    Parameters
    ----------
    backbone : str
        A name of the registry.
    device : str
    resolution_px : int, optional
        Side of the model input; None: the backbone's own.
    n_slices : int
        Of the volume.

    Raises
    ------
    BackboneError
        If the name is unknown, the device is not there, or the resolution does not fit.
    SettingError
        If there is no slice.

    Attributes
    ----------
    backbone : Backbone
    resolution_px, n_slices : int
    """

    def __init__(
        self,
        backbone: str,
        device: Device = "auto",
        resolution_px: int | None = None,
        n_slices: int = BENCH_SLICES,
    ) -> None:
        if n_slices < 1:
            raise SettingError(f"slices: expected at least 1, got {n_slices}.")
        self.backbone: Backbone = untrained_backbone(backbone, device)
        self.resolution_px = resolution_px or self.backbone.default_resolution_px
        self.n_slices = n_slices
        rows, columns = self.backbone.patch_grid(self.resolution_px, self.resolution_px)
        self._normal_slices = max(2, math.ceil(MODEL_PATCHES / N_NORMALS / (rows * columns)))

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(z, y, x) voxels of the volume that is scored."""
        return (self.n_slices, *SLICE_SHAPE)

    def speeds(self, scorers: Sequence[str], progress: Progress | None = None) -> Iterator[DetectionSpeed]:
        """Measure one scorer after the other.

        Parameters
        ----------
        scorers : sequence of str
            As in `FitSettings.scorer`.
        progress : callable, optional
            Told of each step; may raise `Cancelled`.

        Raises
        ------
        SettingError
            If a scorer is unknown.
        """
        wanted = [self._settings(scorer) for scorer in scorers]
        with tempfile.TemporaryDirectory(prefix="dinoad-bench-") as temporary:
            folder = Path(temporary)
            patient = self._save_volumes(folder)
            batch = self._best_batch(progress)
            for settings in wanted:
                cache = CacheSettings(str(folder / "cache"), keep=True)
                # What the model's probabilities are worth is nobody's concern here.
                with OrderedLogs() as logs, logs.holding([]):
                    model = fit_folder(folder / "normals", settings, progress, cache, backbone=self.backbone)
                yield self._measured(settings.scorer, model, patient, batch, progress)

    def _settings(self, scorer: str) -> FitSettings:
        return FitSettings(
            scorer=scorer,
            backbone=self.backbone.name,
            preprocessing=replace(preset("mr-brain"), resolution_px=self.resolution_px),
            calibration=CalibrationSettings(method="split"),
            # As many components as a large cohort of real scans has.
            dpmm=DpmmSettings(merge=False),
            epochs=1,
        )

    def _save_volumes(self, folder: Path) -> Path:
        """Write the normal volumes, and return the path of the one that is to be scored."""
        (folder / "normals").mkdir()
        for seed in range(N_NORMALS):
            _save_volume(folder / "normals" / f"{seed}.nii", self._normal_slices, seed)
        return _save_volume(folder / "patient.nii", self.n_slices, N_NORMALS)

    def _best_batch(self, progress: Progress | None) -> int:
        """Return the batch size at which the backbone alone takes least time a slice."""
        usual = self.backbone.batch_slices
        sizes = sorted({1, max(1, usual // 2), usual, 2 * usual})
        self._timed(self._bare(1, 1))  # What is done once: a conversion, choosing kernels.
        seconds = {}
        for done, size in enumerate(sizes):
            report(progress, "Looking for the best batch", done, len(sizes))
            bare = self._bare(size, size)
            seconds[size] = min(self._timed(bare)[0][0] for _ in range(2)) / size
        return min(sizes, key=seconds.__getitem__)

    def _bare(self, n_slices: int, batch: int) -> Callable[[], None]:
        """Return work that embeds so many random slices, which lie on the device already."""
        size = self.resolution_px
        images = torch.rand(min(n_slices, batch), size, size).to(self.backbone.device)

        def embed() -> None:
            for start in range(0, n_slices, batch):
                self.backbone(images[: n_slices - start])

        return embed

    def _measured(
        self,
        scorer: str,
        model: NormativeModel,
        patient: Path,
        batch: int,
        progress: Progress | None,
    ) -> DetectionSpeed:
        detector = Detector(model, backbone=self.backbone)
        detector.detect(read_volume(patient), slices=range(min(self.n_slices, self.backbone.batch_slices)))
        half = self.n_slices // 2
        before, after = self._bare(self.n_slices - half, batch), self._bare(half, batch)
        rounds: list[_Round] = []
        while sum(measured.wall_seconds for measured in rounds) < LEAST_SECONDS:
            report(progress, f"Measuring {scorer}", len(rounds), 0)
            rounds.append(self._round(detector, patient, before, after))
        ms = 1000 / self.n_slices
        bare, detect, of_many = (
            ms * np.median([getattr(r, name) for r in rounds], axis=0)
            for name in ("bare", "detect", "of_many")
        )
        stages = {name: ms * median(r.stages[name] for r in rounds) for name in rounds[0].stages}
        return DetectionSpeed(
            scorer,
            batch,
            bare_ms=float(bare[0]),
            detect_ms=float(detect[0]),
            of_many_ms=float(of_many[0]),
            bare_cpu_ms=float(bare[1]),
            detect_cpu_ms=float(detect[1]),
            of_many_cpu_ms=float(of_many[1]),
            stages_ms=stages,
            n_rounds=len(rounds),
        )

    def _round(
        self, detector: Detector, patient: Path, before: Callable[[], None], after: Callable[[], None]
    ) -> _Round:
        # Another volume each time, of which nothing is prepared.
        volume = read_volume(patient)
        bare = self._timed(before)[0]
        detect, detection = self._timed(lambda: detector.detect(volume))
        loaded = _loaded(detector, patient)
        of_many, _ = self._timed(lambda: _detect_and_load(detector, *loaded, patient))
        return _Round(bare + self._timed(after)[0], detect, of_many, detection.seconds)

    def _timed(self, work: Callable[[], T]) -> tuple[np.ndarray, T]:
        """Return the seconds (2,), by the clock and of the processor, that some work takes, and what it gives."""
        self._wait()
        wall, cpu = time.perf_counter(), time.process_time()
        done = work()
        self._wait()
        return np.array([time.perf_counter() - wall, time.process_time() - cpu]), done

    def _wait(self) -> None:
        """Wait for a GPU to finish."""
        if self.backbone.device.type == "cuda":
            torch.cuda.synchronize(self.backbone.device)
        elif self.backbone.device.type == "mps":
            torch.mps.synchronize()


@dataclass(frozen=True)
class _Round:
    """Seconds (2,), by the clock and of the processor, and those of each stage."""

    bare: np.ndarray
    detect: np.ndarray
    of_many: np.ndarray
    stages: dict[str, float]

    @property
    def wall_seconds(self) -> float:
        return float(self.bare[0] + self.detect[0] + self.of_many[0])


def _loaded(detector: Detector, path: Path) -> tuple[Volume, tuple[PreparedScan, ...]]:
    """Read and prepare a volume."""
    volume = read_volume(path)
    return volume, detector.prepare_apart(volume)


def _detect_and_load(
    detector: Detector, volume: Volume, prepared: tuple[PreparedScan, ...], following: Path
) -> None:
    """Score a volume that was prepared, and load the next one meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="dinoad-read-ahead") as reader:
        load = reader.submit(partial(_loaded, detector, following))
        detector.detect(volume, prepared=prepared)
        load.result()


def _save_volume(path: Path, n_slices: int, seed: int) -> Path:
    """Write a volume with a textured tube-like body through every slice, 1 mm voxels."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in SLICE_SHAPE), indexing="ij")
    inside = (x**2 + y**2 < 0.8)[:, :, None]
    values = inside * rng.integers(500, 800, (*SLICE_SHAPE, n_slices))
    nib.save(nib.Nifti1Image(values.astype(np.int16), np.eye(4)), path)
    return path

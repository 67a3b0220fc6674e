"""One scan being scored: slices through the backbone and the scorers, and their scores onto the scan's grid."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from napari_dinoad.errors import SettingError
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.machine.sending import on_device
from napari_dinoad.pipeline.slices.device_slices import slices_of_planes
from napari_dinoad.pipeline.slices.placed_slices import HostScores
from napari_dinoad.pipeline.slices.plane_fusion import PlaneMean
from napari_dinoad.pipeline.slices.slice_embedding import SliceEmbedder
from napari_dinoad.pipeline.slices.slice_looks import looks_of
from napari_dinoad.pipeline.slices.slice_smoothing import (
    SlicesInProgress,
    SliceSmoothing,
    as_index,
    averaging_like,
    zeros_like,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.backbones.embeddings import Images
    from napari_dinoad.calibration import Calibration
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.normative_model.plane_model import PlaneModel
    from napari_dinoad.pipeline.slices.placed_slices import GatheredScores, Placed, ScanSlices

__all__ = ["ScanRun", "ScoredBatch"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ScoredBatch:
    """A batch that was scored, and what could be put into the map after it.

    Attributes
    ----------
    plane : int
        Number of the plane.
    n_scored : int
        Slices in the batch.
    indices : list of int
        Slices of the map; others than those of the batch where they are averaged with their neighbours.
    values : numpy.ndarray
        (len(indices), …) float32, −log10 p by this plane's own calibration, of these slices of the canonical array.
    is_final : bool
        Whether they stay as they are: neither their neighbours nor other planes are waited for.
    """

    plane: int
    n_scored: int
    indices: list[int]
    values: np.ndarray
    is_final: bool


@dataclass(frozen=True, eq=False)
class _Scores:
    """The patch scores of a batch; ``is_awaited``: it is shown before its neighbours are scored."""

    plane: int
    indices: list[int]
    patch_scores: list[torch.Tensor]
    is_awaited: bool


class _PlaneRun:
    """One plane of a scan that is being scored.

    Parameters
    ----------
    plane : PlaneModel
    prepared : PreparedScan
    placing : ScanSlices
        Of the same scan and plane.
    slices : sequence of int, optional
        See `ScanRun`.
    smoothing_mm : float
        See `CalibrationSettings.smoothing_mm`.

    Attributes
    ----------
    single : PlaneModel
        With the calibrations for a slice that is shown before its neighbours are scored.
    """

    def __init__(
        self,
        plane: PlaneModel,
        prepared: PreparedScan,
        placing: ScanSlices,
        slices: Sequence[int] | None,
        smoothing_mm: float,
    ) -> None:
        self.placing = placing
        self.single = plane.for_single_slices
        self._whole = plane
        self._spacing_mm, self._smoothing_mm = prepared.stack.spacing_mm, smoothing_mm
        self._indices = sorted(set(prepared.indices if slices is None else slices))
        # Slices that were asked for one by one lack neighbours; a cohort of single images had none to average.
        self._may_average = slices is None and plane.alone is not None
        self._levels: Any = None

    # What the CPU takes some time to tell is told once it is asked for: a GPU is at work then.
    @cached_property
    def _smoothing(self) -> SliceSmoothing | None:
        if not self._may_average:
            return None
        return averaging_like(self._indices, self._spacing_mm, self._smoothing_mm, self._whole.noise_share)

    @property
    def plane(self) -> PlaneModel:
        """With the calibrations that hold for what is scored here."""
        return self._whole if self._smoothing is not None else self.single

    @cached_property
    def in_progress(self) -> SlicesInProgress:
        """The slices, each of which leaves with its neighbours."""
        return SlicesInProgress(self._smoothing or SliceSmoothing(self._indices, None, 0.0))

    def compare(self, indices: Sequence[int], embeddings: torch.Tensor) -> None:
        """Note what is usual of slices that look like these, where their averaged scores are divided by it.

        Parameters
        ----------
        indices : sequence of int
        embeddings : torch.Tensor
            (n, gh, gw, d) of these slices.
        """
        if not self.plane.levels:
            return
        body = torch.as_tensor(self.placing.outline(indices, embeddings.shape[1]))
        looks = looks_of(embeddings.float(), on_device(body, embeddings.device))
        levels = self.placing.taken(self.plane.usual_levels(looks).T)
        if self._levels is None:
            n_slices = 1 + self._indices[-1]
            self._levels = zeros_like(levels, n_slices)
        self._levels[as_index(indices, levels)] = levels

    def compared(self, indices: Sequence[int], patch_scores: Sequence[Any]) -> Sequence[Any]:
        """Return the averaged patch scores (n, gh, gw) of slices by each scorer, divided by what was noted."""
        if self._levels is None or not indices:
            return patch_scores
        levels = self._levels[as_index(indices, self._levels)]
        return [scores / levels[:, member, None, None] for member, scores in enumerate(patch_scores)]


class ScanRun:
    """The state of a scan that is being scored.

    Raw scores are averaged across slices (see `SliceSmoothing`), and a slice comes once its neighbours are scored;
    the very first, which somebody waits for, comes at once as well, scored for itself.

    Parameters
    ----------
    model : NormativeModel
    backbone : Backbone
    prepared : sequence of PreparedScan
        The scan in each plane of the model.
    slices : sequence of int, optional
        Only these slices, by the first plane alone; None: all that show the body, in all planes.
    placed_on : torch.device, optional
        Where slices are resampled and scores are placed; None: where the backbone is.
    voxels : torch.Tensor, optional
        The scan's voxels that lie there already; see `sent_voxels`.

    Attributes
    ----------
    values : numpy.ndarray
        (z, y, x) float32, −log10 p so far; with several planes once they are fused.
    slices : tuple of int
        Those of the first plane that were asked for or, once planes are fused, that are in the map.
    planes : tuple of str
        The planes that score.
    is_whole : bool
        Whether all is scored that the normal scans were scored on.
    seconds : dict of float
        Spent so far, by stage.

    Raises
    ------
    SettingError
        If a slice is not in the scan.
    """

    def __init__(
        self,
        model: NormativeModel,
        backbone: Backbone,
        prepared: Sequence[PreparedScan],
        slices: Sequence[int] | None = None,
        placed_on: torch.device | None = None,
        voxels: torch.Tensor | None = None,
    ) -> None:
        self._model = model
        self._backbone = backbone
        self._prepared = prepared
        shape = prepared[0].stack.shape
        self.seconds = {"prepare": 0.0, "embed": 0.0, "score": 0.0, "map": 0.0}
        n_planes = len(model.planes) if slices is None else 1
        self.planes = tuple(plane.plane for plane in model.planes[:n_planes])
        self._mean = PlaneMean(shape) if n_planes > 1 else None
        # In the end what is fused takes the place of the sum that it is made of.
        self.values = np.zeros(shape, dtype=np.float32) if self._mean is None else self._mean.total
        if slices is not None:
            # Each once, however often it was asked for.
            slices = tuple(dict.fromkeys(index(number) for number in slices))
        self.slices = prepared[0].indices if slices is None else slices
        n_slices = shape[self.axis]
        placing = slices_of_planes(prepared[:n_planes], placed_on or backbone.device, voxels)
        self._runs = [
            _PlaneRun(plane, scan, of_plane, slices, model.smoothing_mm)
            for plane, scan, of_plane in zip(model.planes[:n_planes], prepared, placing, strict=False)
        ]
        outside = [index for index in self.slices if not 0 <= index < n_slices]
        if outside:
            raise SettingError(f"Slices: expected 0 to {n_slices - 1}, got {outside}.")
        self._body_scores: GatheredScores = HostScores(0)
        if self._mean is None:
            self._body_scores = self._runs[0].placing.gather(self.slices)
        self.is_whole = n_planes == len(model.planes) and set(prepared[0].indices) <= set(self.slices)

    @property
    def axis(self) -> int:
        """Axis of the canonical array across which the first plane takes slices."""
        return self._prepared[0].axis

    @property
    def n_slices(self) -> int:
        """Slices to score, in all planes."""
        others = self._prepared[1 : len(self.planes)]
        return len(self.slices) + sum(len(prepared.indices) for prepared in others)

    def batches(self, start_slice: int | None, size: int) -> Iterator[tuple[int, list[int]]]:
        """Yield (number of the plane, slices) in the order in which they are to be scored.

        Parameters
        ----------
        start_slice : int, optional
            The first plane's slices come outwards from this one.
        size : int
            Slices in a batch.
        """
        for number in range(len(self.planes)):
            wanted = list(self.slices if number == 0 else self._prepared[number].indices)
            first = size
            if number == 0 and start_slice is not None:
                wanted.sort(key=lambda index: abs(index - start_slice))
                # The first slice alone is on screen soonest; then whole batches.
                first = 1
            yield from ((number, batch) for batch in _split(wanted, first, size))

    @property
    def calibration(self) -> Calibration:
        """What the scan's own score is compared with: normal scans that were scored in the same way."""
        return self._model.calibration if self._mean is not None else self._runs[0].plane.calibration

    def scored(self, batches: Iterable[tuple[int, list[int]]]) -> Iterator[ScoredBatch]:
        """Score batch by batch; the next one is resampled meanwhile, and a GPU works on it while one is placed.

        Parameters
        ----------
        batches : iterable of tuple
            As `batches` yields them.
        """
        embed = SliceEmbedder(self._backbone)
        one_by_one = self._backbone.device.type == "cpu"
        before: Callable[[], ScoredBatch] | None = None
        wanted = list(batches)
        tasks = [partial(self._inputs, number, batch) for number, batch in wanted]
        # Somebody waits for a first batch that is smaller: nothing else is done meanwhile.
        n_alone = 1 if len(wanted) > 1 and len(wanted[0][1]) < len(wanted[1][1]) else 0
        with ReadAhead() as reader:
            inputs = chain((task() for task in tasks[:n_alone]), reader.results(tasks[n_alone:]))
            for place, (number, indices) in enumerate(wanted):
                embeddings = self._timed(
                    "embed", partial(embed, *self._timed("prepare", partial(next, inputs)))
                )
                members = self._model.planes[number].members
                self._timed("score", partial(self._runs[number].compare, indices, embeddings))
                scores = [self._timed("score", partial(m.scorer.score, embeddings)) for m in members]
                placed = self._placing(_Scores(number, indices, scores, place < n_alone))
                if before is not None:
                    yield before()
                before = placed
                if one_by_one:
                    yield before()
                    before = None
        if before is not None:
            yield before()

    def _inputs(self, number: int, indices: list[int]) -> tuple[Images, list[bytes]]:
        return self._runs[number].placing.inputs(indices), self._prepared[number].contents(indices)

    def _placing(self, batch: _Scores) -> Callable[[], ScoredBatch]:
        """Return what puts a batch into the map; a GPU begins with its part of it now."""
        if self._runs[batch.plane].placing.begins_at_once:
            return partial(self._put, batch, *self._place(batch))
        return lambda: self._put(batch, *self._place(batch))

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        done = work()
        self.seconds[stage] += time.perf_counter() - started
        return done

    def _place(self, batch: _Scores) -> tuple[list[int], Placed, bool]:
        """Place what has all its neighbours; return these slices and whether they are final."""
        run = self._runs[batch.plane]
        scores = [self._timed("score", partial(run.placing.taken, own)) for own in batch.patch_scores]
        return self._timed("map", partial(self._averaged_and_placed, run, batch, scores))

    def _averaged_and_placed(
        self, run: _PlaneRun, batch: _Scores, scores: list[Any]
    ) -> tuple[list[int], Placed, bool]:
        indices, averaged = run.in_progress.add(batch.indices, scores)
        if not indices and batch.is_awaited:
            return batch.indices, run.placing.place(run.single, batch.indices, scores), False
        return indices, run.placing.place(run.plane, indices, run.compared(indices, averaged)), True

    def _put(self, batch: _Scores, indices: list[int], placed: Placed, is_final: bool) -> ScoredBatch:
        """Put placed slices into the map."""
        started = time.perf_counter()
        prepared = self._prepared[batch.plane]
        block = placed.block()
        if self._mean is None:
            for there, here in prepared.stack.runs(indices):
                self.values[there] = block[here]
        if is_final and self._mean is not None:
            body = np.take(prepared.body, indices, axis=prepared.axis)
            self._mean.add_block(prepared.stack, indices, body, block)
        elif is_final:
            self._body_scores.add(placed.raw)
        self.seconds["map"] += time.perf_counter() - started
        values = np.moveaxis(block, prepared.axis, 0)
        return ScoredBatch(batch.plane, len(batch.indices), indices, values, is_final and self._mean is None)

    def fuse(self) -> bool:
        """Put what is fused of all planes into ``values``; return False, and do nothing, where there is one plane."""
        if self._mean is None:
            return False
        started = time.perf_counter()
        self._body_scores = HostScores(self._mean.n_scored)
        for where, scored, raw in self._mean.parts():
            levels = self._runs[0].placing.neg_log10_p(self._model.calibration, raw)
            self.values[where][scored] = levels
            self._body_scores.add(raw)
        others = tuple(a for a in range(3) if a != self.axis)
        self.slices = tuple(int(i) for i in np.flatnonzero(self._mean.scored().any(axis=others)))
        self.seconds["map"] += time.perf_counter() - started
        return True

    def shown_batches(self, size: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """Yield (slices, their −log10 p (n, …)) of the map as it is, in order, ``size`` at a time."""
        for batch in _split(list(self.slices), size, size):
            yield batch, np.moveaxis(self.values.take(batch, axis=self.axis), self.axis, 0)

    def scan_score(self) -> float:
        """Return the scan's own raw score over all that was scored; −∞ when no slice was asked for."""
        return self._body_scores.scan_score(self._model.scan_top_fraction)


def _split(indices: list[int], first: int, size: int) -> Iterator[list[int]]:
    """Yield the first ``first`` of some slices and then ``size`` at a time."""
    if indices:
        yield indices[:first]
    for start in range(first, len(indices), size):
        yield indices[start : start + size]

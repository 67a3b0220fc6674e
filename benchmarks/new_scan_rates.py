"""What of new normal scans is marked: with few normal scans behind a model, and at the ends of a volume.

    python benchmarks/new_scan_rates.py made-up [--normals 2 5 10 30] [--cohorts 60]
    python benchmarks/new_scan_rates.py phantoms [--scorers dpmm memory-bank ar-cnn] [--cohorts 12]
    python benchmarks/new_scan_rates.py slices [--data FOLDER] [--cohorts 30]

For each cohort a scorer is fitted on folds, as a fit does it, and its held-out scores are calibrated: as counted, and
as a model has it, with p raised to the share that is measured on each scan by the table of the others. Rates are
those of new scans, as a multiple of the rate that was asked for, mean ± standard error over cohorts (median). Made-up
scans have no scorer: their scores are normal numbers, with a mean (spread 0.3 and 1 standard deviations) and a
standard deviation of each scan's own.

Of phantoms, the rates are also given by place: within 10 mm of the first and of the last slice, and between; with one
table for all slices, with a table of their own for the slices at both ends, with one table for scores less what
the highest of a slice usually are at that height (see `profile`), and with one for scores divided by what the highest
usually are of slices that look alike, as a model does it (see `SliceLevels`). Phantom patients tell what each finds,
by kind of lesion, and when the scan begins or ends with the lesion; ``--brightness 2`` how that depends on the weight
of the backbone's brightness channels.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from napari_dinoad import preset, read_volume
from napari_dinoad.backbones import load_backbone
from napari_dinoad.evaluation import average_precision, dice
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.normative_model.slice_levels import LookSpace, SliceLevels
from napari_dinoad.phantom import KINDS, make_normal, make_patient
from napari_dinoad.pipeline.fit.folds import choose_folds, choose_validation
from napari_dinoad.pipeline.fit.held_out_scans import HeldOutScans, Level
from napari_dinoad.pipeline.slices.slice_looks import looks_of
from napari_dinoad.pipeline.slices.slice_smoothing import SliceSmoothing
from napari_dinoad.scoring import make_scorer
from napari_dinoad.settings import (
    DEMO_SCAN_SHAPE,
    ArCnnSettings,
    CalibrationSettings,
    DpmmSettings,
    MemoryBankSettings,
    PreprocessingSettings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.calibration import Calibration
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.scoring.protocol import Scorer

RATES = (0.05, 0.01, 0.001)
SPREADS = (0.3, 1.0)
N_VOXELS = 10_000
SLICES = PreprocessingSettings("benchmark", "slice-percentiles", percentiles=(1.0, 99.5))
SCORERS = {
    "dpmm": DpmmSettings(),
    "memory-bank": MemoryBankSettings(),
    "ar-cnn": ArCnnSettings(epochs=6, hidden_channels=128, batch_maps=16),
}
CALIBRATION = CalibrationSettings()
BATCH_MAPS = 32
N_BRIGHTNESS_CHANNELS = 3
"""The last ones of the embedded backbone."""

POOL, NEW, N_NEW = 150, 70, 16
"""Normal phantoms that cohorts are drawn from, other ones that are new to all, and how many a cohort is tried on."""

N_NEW_SLICES = 80
END_MM = 10.0
INNER, LOWER, UPPER = 0, 1, 2
N_POSITIONS, TOP_SHARE, BLUR = 40, 0.02, 1.5
"""Of a profile: its positions, the share of a slice's voxels that exceed it, and positions that it is smoothed by."""

FIRST_PATIENT, PATIENTS_A_KIND, COHORTS_WITH_PATIENTS = 2_000_000, 6, 3


@dataclass(frozen=True, eq=False)
class Scan:
    """An embedded scan; ``truth`` is what is abnormal in its body voxels."""

    prepared: PreparedScan
    embeddings: torch.Tensor
    truth: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        volume: Volume,
        how: PreprocessingSettings,
        backbone: Backbone,
        lesion: np.ndarray | None = None,
        brightness: float = 1.0,
    ) -> Scan:
        """Embed a scan, through float16 as in the cache of a fit; its brightness counts ``brightness`` times."""
        prepared = prepare_scan(volume, how, backbone.default_resolution_px)
        images = prepared.images(prepared.indices)
        parts = [backbone(images[i : i + 4]).values for i in range(0, len(images), 4)]
        truth = None
        if lesion is not None:
            body = prepared.body_slices(prepared.indices)
            truth = prepared.to_display(lesion[prepared.stack.where(prepared.indices)])[body]
        embeddings = torch.cat(parts)
        embeddings[..., -N_BRIGHTNESS_CHANNELS:] *= brightness
        return cls(prepared, torch.nn.functional.normalize(embeddings, dim=-1).half(), truth)

    def scored(self, scorer: Scorer) -> np.ndarray:
        """Return the raw scores (n,) of the body voxels, averaged across slices."""
        parts = [scorer.score(batch.float()) for batch in self.embeddings.split(BATCH_MAPS)]
        patch_scores = torch.cat(parts).numpy()
        stack = self.prepared.stack
        averaged = SliceSmoothing(stack.indices, stack.spacing_mm, CALIBRATION.smoothing_mm).smoothed(
            patch_scores
        )
        return self.prepared.maps_to_slices(averaged)[self.prepared.body_slices(stack.indices)]

    def places(self) -> np.ndarray:
        """Return whether the body voxels (n,) lie near the first slice, near the last, or between."""
        stack = self.prepared.stack
        heights = np.array(stack.indices) * (stack.spacing_mm or 0.0)
        places = np.where(heights - heights[0] < END_MM, LOWER, INNER)
        places[heights[-1] - heights < END_MM] = UPPER
        return np.repeat(places, self.n_voxels)

    @property
    def n_voxels(self) -> np.ndarray:
        """Number of body voxels (slices,) of each slice."""
        return np.count_nonzero(self.prepared.body_slices(self.prepared.indices), axis=(1, 2))

    @property
    def positions(self) -> np.ndarray:
        """Where each slice lies: 0 the first, 1 the last."""
        indices = np.array(self.prepared.indices, dtype=float)
        return (indices - indices[0]) / (indices[-1] - indices[0])

    @cached_property
    def looks(self) -> torch.Tensor:
        """What each slice looks like (slices, k)."""
        body = self.prepared.body_slices(self.prepared.indices)
        outline = self.prepared.placement.coarser(self.embeddings.shape[1]).to_model(body.astype(np.float32))
        return looks_of(self.embeddings.float(), torch.from_numpy(outline))

    def tops(self, scores: np.ndarray) -> np.ndarray:
        """Return the raw score that a share of each slice's body voxels exceed (slices,)."""
        slices = np.split(scores, np.cumsum(self.n_voxels)[:-1])
        return np.array([np.quantile(part, 1 - TOP_SHARE) for part in slices])

    def cut(self, kept: np.ndarray) -> Scan:
        """Return the scan as if it had some slices (slices,) bool only."""
        prepared = replace(self.prepared, indices=tuple(np.array(self.prepared.indices)[kept].tolist()))
        truth = None if self.truth is None else self.truth[np.repeat(kept, self.n_voxels)]
        return Scan(prepared, self.embeddings[torch.from_numpy(kept)], truth)

    def from_and_up_to_lesion(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the slices (slices,) bool from the lowest of the lesion on, and up to its highest."""
        parts = np.split(self.truth, np.cumsum(self.n_voxels)[:-1])
        with_lesion = np.flatnonzero([part.any() for part in parts])
        rows = np.arange(len(parts))
        return rows >= with_lesion[0], rows <= with_lesion[-1]

    def levelled(self, scores: np.ndarray, usual: np.ndarray) -> np.ndarray:
        """Return the raw scores (n,) of the body voxels less what a profile says of their slices."""
        of_slices = np.interp(self.positions, np.linspace(0, 1, len(usual)), usual)
        return (scores - np.repeat(of_slices, self.n_voxels)).astype(np.float32)

    def by_look(self, scores: np.ndarray, usual: SliceLevels) -> np.ndarray:
        """Return the raw scores (n,) of the body voxels by what is usual of slices that look like theirs."""
        return (scores / np.repeat(usual(self.looks)[0].numpy(), self.n_voxels)).astype(np.float32)


def fit(name: str, scans: list[Scan], rows: np.ndarray, seed: int) -> Scorer:
    """Fit a scorer on some of the scans as a fit does it."""
    fitting, validating = choose_validation(np.arange(len(scans)), rows, seed)
    if name == "memory-bank":
        fitting, validating = rows, rows[:0]

    def batches(chosen: np.ndarray) -> list[torch.Tensor]:
        maps = torch.cat([scans[row].embeddings for row in chosen]).float()
        order = np.random.default_rng(seed).permutation(len(maps))
        return list(maps[torch.from_numpy(order)].split(BATCH_MAPS))

    validation = batches(validating) if len(validating) else None
    return make_scorer(replace(SCORERS[name], seed=seed)).fit(batches(fitting), validation=validation)


def held_out_scores(name: str, scans: list[Scan], seed: int) -> dict[int, np.ndarray]:
    """Return the raw scores of the body voxels of each scan by a scorer that has not seen it."""
    every = np.arange(len(scans))
    folds, _ = choose_folds(every, CALIBRATION, seed)
    held_out = {}
    for fold in folds:
        scorer = fit(name, scans, np.setdiff1d(every, fold), seed)
        held_out.update({row: scans[row].scored(scorer) for row in fold.tolist()})
    return held_out


def calibrations(scores: dict[int, np.ndarray]) -> dict[str, Calibration]:
    """Return the calibration that a model has, and the one whose p is raised to what left-out scans show."""
    level = Level.of(HeldOutScans(tuple(scores), CALIBRATION.scan_top_fraction, "cross"), scores.__getitem__)
    return {"as counted": level.calibration, "left out": level.for_new_persons()}


class Figures:
    """What was measured, by row and column of a table, one figure a cohort."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, row: str, column: str, figures: Sequence[float]) -> None:
        """Add a cohort's mean."""
        self._cells[row, column].append(float(np.mean(figures)))

    def add_rates(self, row: str, calibration: Calibration, new: list[np.ndarray]) -> None:
        """Add how much of new scans' voxels is marked at each rate, as a multiple of it."""
        for rate in RATES:
            level = np.float32(-np.log10(rate))
            shares = [
                (calibration.neg_log10_p(scores) >= level).mean() / rate for scores in new if scores.size
            ]
            self.add(row, f"{100 * rate:g} %", shares)

    def print(self, title: str) -> None:
        """Print a Markdown table of means ± standard errors, with medians."""
        columns = list(dict.fromkeys(column for _, column in self._cells))
        print(f"\n| {title} | cohorts | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 2))
        for row in dict.fromkeys(row for row, _ in self._cells):
            cells = [np.array(self._cells[row, column]) for column in columns]
            texts = [
                f"{c.mean():.3g} ± {c.std() / len(c) ** 0.5:.2g} ({np.median(c):.3g})" if len(c) else "–"
                for c in cells
            ]
            print(f"| {row} | {len(cells[0])} | " + " | ".join(texts) + " |", flush=True)


def made_up(options: argparse.Namespace) -> None:
    """Measure on scores that were drawn."""
    rng = np.random.default_rng(0)
    figures = Figures()
    for spread in SPREADS:
        for n in options.normals:
            for _ in range(options.cohorts):
                # Means and standard deviations of the cohort's scans, then of the new ones.
                means, widths = rng.normal(0, spread, n + 20), np.exp(rng.normal(0, 0.3 * spread, n + 20))
                scans = [
                    (mean + width * rng.standard_normal(N_VOXELS)).astype(np.float32)
                    for mean, width in zip(means, widths, strict=True)
                ]
                for how, calibration in calibrations(dict(enumerate(scans[:n]))).items():
                    figures.add_rates(f"{spread:g}, {n} scans, {how}", calibration, scans[n:])
    figures.print("spread of means, multiple of the rate")


def few_scans(pool: list[Scan], new: list[Scan], n_new: int, options: argparse.Namespace) -> None:
    """Measure rates on new scans by the number of normal ones."""
    figures = Figures()
    for name in options.scorers:
        for n in options.normals:
            for seed in range(options.cohorts):
                rng = np.random.default_rng([seed, n])
                scans = [pool[i] for i in rng.permutation(len(pool))[:n]]
                tried = [new[i] for i in rng.permutation(len(new))[:n_new]]
                scorer = fit(name, scans, np.arange(n), seed)
                scores = [scan.scored(scorer) for scan in tried]
                for how, calibration in calibrations(held_out_scores(name, scans, seed)).items():
                    figures.add_rates(f"{name}, {n} scans, {how}", calibration, scores)
    figures.print("multiple of the rate")


def profile(scans: list[Scan], scores: list[np.ndarray]) -> np.ndarray:
    """Return what a share of a slice's voxels exceeds (positions,), first to last slice; the mean over scans."""
    curves = []
    for scan, own in zip(scans, scores, strict=True):
        curves.append(np.interp(np.linspace(0, 1, N_POSITIONS), scan.positions, scan.tops(own)))
    return np.asarray(gaussian_filter1d(np.mean(curves, axis=0), BLUR, mode="nearest"))


def alike(scans: list[Scan], scores: list[np.ndarray]) -> SliceLevels:
    """Return what is usual by look; each scan is of another person."""
    looks = torch.cat([scan.looks for scan in scans])
    tops = np.concatenate([scan.tops(own) for scan, own in zip(scans, scores, strict=True)])
    persons = np.repeat(np.arange(len(scans)), [len(scan.looks) for scan in scans])
    space = LookSpace.of(looks)
    levels = torch.from_numpy(tops.astype(np.float32))[None]
    return SliceLevels.of(space, space.places(looks), levels, torch.from_numpy(persons))


Usual = Callable[[list["Scan"], list[np.ndarray]], Callable[["Scan", np.ndarray], np.ndarray]]
"""Normal scans and their raw scores → what makes a scan's raw scores comparable from slice to slice."""


def as_it_is(scans: list[Scan], scores: list[np.ndarray]) -> Callable[[Scan, np.ndarray], np.ndarray]:
    """Leave scores as they are."""
    return lambda scan, own: own


def by_profile(scans: list[Scan], scores: list[np.ndarray]) -> Callable[[Scan, np.ndarray], np.ndarray]:
    """Take off what is usual at a slice's height."""
    usual = profile(scans, scores)
    return lambda scan, own: scan.levelled(own, usual)


def by_look(scans: list[Scan], scores: list[np.ndarray]) -> Callable[[Scan, np.ndarray], np.ndarray]:
    """Divide by what is usual of slices that look alike."""
    usual = alike(scans, scores)
    return lambda scan, own: scan.by_look(own, usual)


def levelled_without(
    scans: list[Scan], held_out: dict[int, np.ndarray], usual: Usual
) -> dict[int, np.ndarray]:
    """Return the scores of held-out scans, each made comparable by what is usual of the others."""
    levelled = {}
    for row, own in held_out.items():
        others = [other for other in held_out if other != row]
        levelled[row] = usual([scans[i] for i in others], [held_out[i] for i in others])(scans[row], own)
    return levelled


@dataclass(frozen=True, eq=False)
class Marking:
    """How raw scores become −log10 p: made comparable between slices, then by tables of inner and outer slices."""

    comparable: Callable[[Scan, np.ndarray], np.ndarray]
    inner: Calibration
    outer: Calibration

    @classmethod
    def of(
        cls, usual: Usual, scans: list[Scan], held_out: dict[int, np.ndarray], two_tables: bool
    ) -> Marking:
        """Calibrate on held-out raw scores."""
        levelled = levelled_without(scans, held_out, usual)
        tables = [calibrations(levelled)["left out"]] * 2
        if two_tables:
            is_end = {row: scans[row].places() != INNER for row in held_out}
            for number, at_end in enumerate((False, True)):
                parts = {row: own[is_end[row] == at_end] for row, own in levelled.items()}
                tables[number] = calibrations(parts)["left out"]
        return cls(usual([scans[row] for row in held_out], list(held_out.values())), *tables)

    def levels(self, scan: Scan, raw: np.ndarray) -> np.ndarray:
        """Return −log10 p (n,) of the body voxels' raw scores."""
        made = self.comparable(scan, raw)
        return np.where(scan.places() != INNER, self.outer.neg_log10_p(made), self.inner.neg_log10_p(made))

    def found(self, patient: Scan, raw: np.ndarray) -> dict[str, float]:
        """Return what is found of a patient's lesion, by column of a table."""
        levels, truth = self.levels(patient, raw), patient.truth
        highest = int(levels.argmax())
        figures = {
            "AP": average_precision(levels, truth),
            "Dice at 1 %": dice(levels >= 2, truth),
            "Dice at 0.1 %": dice(levels >= 3, truth),
            "highest at an end": float(patient.places()[highest] != INNER),
            "highest in lesion": float(truth[highest]),
        }
        for name, kept in zip(("begins", "ends"), patient.from_and_up_to_lesion(), strict=True):
            part = patient.cut(kept)
            own = self.levels(part, raw[np.repeat(kept, patient.n_voxels)])
            figures[f"AP, scan {name} with lesion"] = average_precision(own, part.truth)
        return figures


def ends(
    pool: list[Scan], new: list[Scan], patients: list[tuple[str, Scan]], options: argparse.Namespace
) -> None:
    """Measure rates by place and what is found: one table, one more for both ends, by profile and by look."""
    rates, found = Figures(), Figures()
    for name in options.scorers:
        for seed in range(COHORTS_WITH_PATIENTS):
            rng = np.random.default_rng([seed, 10])
            scans = [pool[i] for i in rng.permutation(len(pool))[:10]]
            tried = [new[i] for i in rng.permutation(len(new))[:N_NEW]]
            scorer = fit(name, scans, np.arange(len(scans)), seed)
            held_out = held_out_scores(name, scans, seed)
            scored = {id(scan): scan.scored(scorer) for scan in (*tried, *(p for _, p in patients))}
            for how, usual in (
                ("one table", as_it_is),
                ("two tables", as_it_is),
                ("profile", by_profile),
                ("look", by_look),
            ):
                marking = Marking.of(usual, scans, held_out, how == "two tables")
                of_tried = [(scan.places(), marking.comparable(scan, scored[id(scan)])) for scan in tried]
                for label, place in (("between", INNER), ("lower end", LOWER), ("upper end", UPPER)):
                    own = [scores[places == place] for places, scores in of_tried]
                    table = marking.inner if place == INNER else marking.outer
                    rates.add_rates(f"{name}, {how}, {label}", table, own)
                if how != "two tables":
                    rates.add_rates(f"{name}, {how}, all", marking.inner, [own for _, own in of_tried])
                for kind, patient in patients:
                    for column, figure in marking.found(patient, scored[id(patient)]).items():
                        found.add(f"{name}, {how}, {kind}", column, [figure])
                        found.add(f"{name}, {how}, all", column, [figure])
    rates.print("place, multiple of the rate")
    found.print("found (one figure a patient and cohort)")


def main() -> int:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("made-up", "phantoms", "slices"))
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).parents[2] / "shared/data/brain_mr_2d/normal"
    )
    parser.add_argument("--scorers", nargs="+", default=list(SCORERS), choices=list(SCORERS))
    parser.add_argument("--normals", type=int, nargs="+", default=[5, 10, 30])
    parser.add_argument("--cohorts", type=int, default=12)
    parser.add_argument("--ends-only", action="store_true", help="leave out the numbers of scans (phantoms)")
    parser.add_argument(
        "--brightness",
        type=float,
        default=1.0,
        metavar="WEIGHT",
        help="of the embedded backbone's brightness channels (phantoms)",
    )
    options = parser.parse_args()
    if options.what == "made-up":
        made_up(options)
        return 0
    backbone = load_backbone("embedded", device="cpu")
    if options.what == "slices":
        scans = [Scan.of(read_volume(path), SLICES, backbone) for path in sorted(options.data.glob("*"))]
        np.random.default_rng(0).shuffle(scans)
        half = len(scans) // 2
        few_scans(scans[:half], scans[half:], N_NEW_SLICES, options)
        return 0
    how, weight = preset("mr-brain"), options.brightness
    scans = [
        Scan.of(make_normal(seed, DEMO_SCAN_SHAPE), how, backbone, brightness=weight)
        for seed in range(POOL + NEW)
    ]
    patients = []
    for kind in KINDS:
        for number in range(PATIENTS_A_KIND):
            made = make_patient(FIRST_PATIENT + number, kind, DEMO_SCAN_SHAPE)
            patients.append((kind, Scan.of(made.volume, how, backbone, made.lesion_mask, weight)))
    if not options.ends_only:
        few_scans(scans[:POOL], scans[POOL:], N_NEW, options)
    ends(scans[:POOL], scans[POOL:], patients, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How well each scorer finds tumours in real brain slices: pixel AUROC and AUPR, mean and spread over seeds.

    python benchmarks/detection_brain_mr.py --data ../shared/data/brain_mr_2d [--seeds 0 1 2] [--cache FILE]
        [--choices "dpmm" "dpmm update=ema" "ar-cnn context=causal" …] [--json FILE] [--jobs 2]

The folder holds ``normal/`` (slices), ``tumour/image/`` and ``tumour/mask/`` (same names). A choice is a scorer and
settings that differ from its defaults; ``papers-dpmm`` is the paper's schedule in our code (see `papers_fit`).

Slices are cropped to the head, padded to a square and scaled from the 1st to the 99.5th percentile; the stored
tumour slices lie on their side and are transposed. The seed draws the fifth of the normal slices that is held out (it
chooses the epoch that is kept) and everything random in a fit. Maps are bilinear on the model input. Figures are over
all pixels of all slices, and, as the package scores only there, over those of the body. Because 16 tumours are few,
lesions are also planted into the held-out normal slices.

The images' rights are not settled: they are measured on, never trained or tuned into the package, and never copied.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_dinoad.backbones import load_backbone
from napari_dinoad.evaluation.labelled_histogram import LabelledHistogram
from napari_dinoad.evaluation.metrics import auroc
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.scoring import make_scorer
from napari_dinoad.scoring.dpmm import fit as dpmm_fit
from napari_dinoad.scoring.dpmm.mixture import Mixture
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.scoring.dpmm.statistics import hard_statistics
from napari_dinoad.scoring.dpmm.stick_breaking import log_weights
from napari_dinoad.scoring.patches import unit_patches
from napari_dinoad.settings import ArCnnSettings, DpmmSettings, MemoryBankSettings, PreprocessingSettings
from planted_lesions import KINDS, plant

if TYPE_CHECKING:
    from napari_dinoad.backbones import Backbone
    from napari_dinoad.scoring.protocol import Scorer

PREPROCESSING = PreprocessingSettings("benchmark", "slice-percentiles", percentiles=(1.0, 99.5))
HOLDOUT = 0.2
BATCH_MAPS = 16
PAPERS_BATCH_MAPS = 12
N_PLANTED = 24
ONLY_SCORING = ("score", "min_weight", "n_neighbours")
"""Settings that a fit does not depend on: choices that differ in these alone share one."""

SCORERS: dict[str, Any] = {
    "dpmm": DpmmSettings,
    "papers-dpmm": partial(DpmmSettings, n_components=500),
    "ar-cnn": ArCnnSettings,
    "memory-bank": MemoryBankSettings,
}
CHOICES = (
    "dpmm",
    "dpmm score=negative-log-likelihood",
    "dpmm score=mahalanobis",
    "dpmm covariance=spherical",
    "dpmm covariance=full",
    "dpmm update=ema",
    "dpmm update=decay",
    "papers-dpmm update=ema",
    "papers-dpmm update=decay",
    "ar-cnn",
    "ar-cnn dilations=2",
    "ar-cnn dilations=1,2,4",
    "ar-cnn context=causal",
    "ar-cnn context=causal dilations=1,2,4",
    "ar-cnn network=paper context=causal dilations=1",
    "ar-cnn network=paper context=causal dilations=4",
    "memory-bank",
    "memory-bank reduction=coreset",
    "memory-bank reduction=random",
    "memory-bank n_neighbours=3",
)


@dataclass(frozen=True)
class Slices:
    """Embedded slices with what is abnormal on them.

    Attributes
    ----------
    embeddings : torch.Tensor
        (n, gh, gw, d) float32.
    truth, body : numpy.ndarray
        (n, H, W) bool on the model input.
    """

    embeddings: torch.Tensor
    truth: np.ndarray
    body: np.ndarray

    def chosen(self, rows: np.ndarray) -> Slices:
        """Return some of the slices."""
        return Slices(self.embeddings[rows], self.truth[rows], self.body[rows])


def model_input(path: Path, resolution_px: int, mask_path: Path | None = None) -> list[np.ndarray]:
    """Return a slice (H, W) float32 as the backbone sees it, its truth and its body (H, W) bool."""
    image = read_volume(path).values[0]
    mask = np.zeros_like(image)
    if mask_path is not None:
        image, mask = image.T, read_volume(mask_path).values[0].T
    volume = Volume(np.ascontiguousarray(image)[None], Geometry.of_pixels(image.shape))
    scan = prepare_scan(volume, PREPROCESSING, resolution_px)
    truth, body = (
        scan.placement.to_model(part.astype(np.float32))[0] > 0.5
        for part in ((mask > 0)[None], scan.body_slices([0]))
    )
    return [scan.images([0])[0], truth, body]


def embedded(inputs: list[list[np.ndarray]], backbone: Backbone) -> Slices:
    """Return the slices' embeddings, through float16 as in the cache of a fit."""
    images, truth, body = (np.stack(part) for part in zip(*inputs, strict=True))
    parts = [backbone(images[i : i + BATCH_MAPS]).values.cpu() for i in range(0, len(images), BATCH_MAPS)]
    return Slices(torch.cat(parts).half().float(), truth, body)


def read_data(folder: Path, backbone: Backbone, resolution_px: int) -> dict[str, Slices]:
    """Return the ``"normal"``, ``"tumour"`` and ``"planted"`` slices; the last are the normal ones with lesions."""
    masks = folder / "tumour/mask"
    tumour = [
        model_input(path, resolution_px, masks / path.name) for path in sorted(folder.glob("tumour/image/*"))
    ]
    normal = [model_input(path, resolution_px) for path in sorted(folder.glob("normal/*"))]
    rng = np.random.default_rng(0)
    planted = [[*plant(image, KINDS[i % len(KINDS)], rng), body] for i, (image, _, body) in enumerate(normal)]
    sets = {"normal": normal, "tumour": tumour, "planted": planted}
    return {name: embedded(inputs, backbone) for name, inputs in sets.items()}


def settings_of(choice: str, seed: int) -> Any:
    """Return the settings that a choice like ``"ar-cnn context=causal dilations=1,2"`` describes."""
    name, *pairs = choice.split()
    defaults = SCORERS[name](seed=seed)
    known = {item.name: getattr(defaults, item.name) for item in fields(defaults)}
    values: dict[str, Any] = {}
    for key, text in (pair.split("=") for pair in pairs):
        default = known[key]
        if key == "dilations":
            values[key] = tuple(int(part) for part in text.split(","))
        elif isinstance(default, bool):
            values[key] = text == "True"
        else:
            values[key] = text if isinstance(default, str) else type(default or 0.0)(float(text))
    return replace(defaults, **values)


def papers_fit(train: torch.Tensor, held_out: torch.Tensor, settings: DpmmSettings) -> Scorer:
    """Fit a mixture on the paper's schedule: means from the first K rows, then online EM in batches of 12 slices.

    Variances begin as those of the first batch and all weights alike. Unlike the public code it counts in float64,
    weights the last batch by its size, and chooses the epoch by held-out normal slices.
    """
    batches, validation = train.split(PAPERS_BATCH_MAPS), held_out.split(PAPERS_BATCH_MAPS)
    first = unit_patches(batches[0]).double()
    k = settings.n_components
    sticks = 1 / torch.arange(k, 0, -1, dtype=torch.float64)
    variances = first.var(0).clamp_min(settings.effective_regularisation).expand(k, -1).clone()
    mixture = Mixture(log_weights(sticks), first[:k].clone(), variances, "diag")
    parameters = dpmm_fit.DpmmParameters(mixture, sticks, settings.alpha0, mixture.log_weights.exp())
    one_each = hard_statistics(first[:k], torch.arange(k), k, "diag")
    second = one_each.second + variances
    point = dpmm_fit.FitPoint.first(
        parameters, train[..., 0].numel(), len(first), online=replace(one_each, second=second).scaled(1 / k)
    )
    while not point.finished:
        point = dpmm_fit.next_epoch(point, batches, validation, settings)
    scorer = DpmmScorer(settings)
    scorer._set(point)
    return scorer


def score_maps(scorer: Scorer, slices: Slices) -> np.ndarray:
    """Return scores (n, H, W) on the model input."""
    scores = torch.cat([scorer.score(batch) for batch in slices.embeddings.split(BATCH_MAPS)])
    size = slices.truth.shape[1:]
    return torch.nn.functional.interpolate(scores[:, None], size=size, mode="bilinear")[:, 0].numpy()


@dataclass(frozen=True)
class Fit:
    """A fitted scorer, the slices that it has not seen, and the processor time that it took."""

    scorer: Scorer
    held_out: np.ndarray
    seconds: float


def fit(choice: str, seed: int, normal: torch.Tensor, split_seed: int | None = None) -> Fit:
    """Fit on normal slices (n, gh, gw, d) with a seed, which also draws what is held out if no other does."""
    settings = settings_of(choice, seed)
    order = np.random.default_rng(seed if split_seed is None else split_seed).permutation(len(normal))
    n_held_out = round(HOLDOUT * len(order))
    held_out, train = normal[order[:n_held_out]], normal[order[n_held_out:]]
    begin = time.process_time()
    if choice.startswith("papers-dpmm"):
        scorer = papers_fit(train, held_out, settings)
    else:
        scorer = make_scorer(settings)
        scorer.fit(train.split(BATCH_MAPS), validation=held_out.split(BATCH_MAPS))
    return Fit(scorer, order[:n_held_out], time.process_time() - begin)


def measure(fitted: Fit, choice: str, data: dict[str, Slices]) -> dict[str, float]:
    """Return the figures of a fitted scorer in percent."""
    scorer = fitted.scorer
    changes = {key: getattr(settings_of(choice, 0), key, None) for key in ONLY_SCORING}
    changes = {key: value for key, value in changes.items() if hasattr(scorer.settings, key)}
    scorer.settings = replace(scorer.settings, **changes)
    figures = {"fit, CPU s": fitted.seconds}
    normal_maps = score_maps(scorer, data["normal"].chosen(fitted.held_out))
    planted = data["planted"].chosen(fitted.held_out[:N_PLANTED])
    for name, slices in (("tumour", data["tumour"]), ("planted", planted)):
        maps = score_maps(scorer, slices)
        histogram = LabelledHistogram.of(maps, slices.truth)
        figures[f"{name} AUROC"] = 100 * histogram.auroc()
        figures[f"{name} AUPR"] = 100 * histogram.average_precision()
        body = LabelledHistogram.of(maps[slices.body], slices.truth[slices.body])
        figures[f"{name} body AUROC"] = 100 * body.auroc()
        peaks = np.concatenate([maps.max((1, 2)), normal_maps.max((1, 2))])
        figures[f"{name} image AUROC"] = 100 * auroc(peaks, np.arange(len(peaks)) < len(maps))
    return figures


_data: dict[str, Slices] = {}
"""What the processes of the pool measure on."""


def _set_up(data: dict[str, Slices], threads: int) -> None:
    torch.set_num_threads(threads)
    _data.update(data)


def measure_group(
    what: str, choices: list[str], seed: int, split_seed: int | None
) -> dict[str, dict[str, float]]:
    """Fit once, and return the figures of each choice that differs in how it scores."""
    fitted = fit(what, seed, _data["normal"].embeddings, split_seed)
    return {choice: measure(fitted, choice, _data) for choice in choices}


def save_data(path: Path, data: dict[str, Slices]) -> None:
    """Write embedded slices as a cache file."""
    arrays = {}
    for name, slices in data.items():
        arrays[f"{name}/embeddings"] = slices.embeddings.half().numpy()
        arrays |= {f"{name}/truth": slices.truth, f"{name}/body": slices.body}
    np.savez(path, **arrays)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `cached_data` takes."""
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/brain_mr_2d")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--weights", type=Path)
    parser.add_argument(
        "--resolution", type=int, help="side of the input in pixels (default: the backbone's own)"
    )
    parser.add_argument("--cache", type=Path, help="an .npz file of the embeddings, made if it is not there")


def cached_data(arguments: argparse.Namespace) -> dict[str, Slices]:
    """Return the embedded slices, from the cache file where there is one."""
    if arguments.cache is not None and arguments.cache.exists():
        stored = np.load(arguments.cache)
        sets = {key.split("/")[0] for key in stored.files}
        return {
            name: Slices(
                torch.from_numpy(stored[f"{name}/embeddings"]).float(),
                stored[f"{name}/truth"],
                stored[f"{name}/body"],
            )
            for name in sets
        }
    backbone = load_backbone(arguments.backbone, arguments.weights)
    data = read_data(arguments.data, backbone, arguments.resolution or backbone.default_resolution_px)
    if arguments.cache is not None:
        save_data(arguments.cache, data)
    return data


def main() -> None:
    """Measure, print a line a fit and a table of means and spreads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_arguments(parser)
    parser.add_argument("--choices", nargs="+", default=CHOICES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--split-seed", type=int, help="hold out the same slices for all seeds (default: each seed its own)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="fits side by side")
    parser.add_argument("--threads", type=int, default=1, help="of each fit")
    parser.add_argument(
        "--json", type=Path, help="write all numbers here; those that it holds are not measured again"
    )
    arguments = parser.parse_args()
    rows: dict[str, dict[str, dict[str, float]]] = {}
    if arguments.json and arguments.json.exists():
        rows = json.loads(arguments.json.read_text(encoding="utf-8"))
    data = cached_data(arguments)
    for name, slices in data.items():
        print(f"{name}: {len(slices.truth)} slices, abnormal {100 * slices.truth.mean():.2f} %")
    measure_missing(arguments, data, rows)
    print_table({choice: list(rows[choice].values()) for choice in arguments.choices})


def measure_missing(
    arguments: argparse.Namespace, data: dict[str, Slices], rows: dict[str, dict[str, dict[str, float]]]
) -> None:
    """Fill in the figures (by choice and seed) that are not there yet, several fits side by side."""
    groups: dict[tuple[str, int], list[str]] = {}
    for seed in arguments.seeds:
        for choice in arguments.choices:
            if str(seed) not in rows.setdefault(choice, {}):
                alike = " ".join(part for part in choice.split() if part.split("=")[0] not in ONLY_SCORING)
                groups.setdefault((alike, seed), []).append(choice)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, _set_up, (data, arguments.threads)) as pool:
        jobs = {
            pool.submit(measure_group, what, choices, seed, arguments.split_seed): seed
            for (what, seed), choices in groups.items()
        }
        for job in as_completed(jobs):
            for choice, figures in job.result().items():
                rows[choice][str(jobs[job])] = figures
                text = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
                print(f"{choice}, seed {jobs[job]}: {text}", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def print_table(rows: dict[str, list[dict[str, float]]]) -> None:
    """Print means and standard deviations over the seeds."""
    columns = list(next(iter(rows.values()))[0])
    print("\n| choice | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 1))
    for choice, results in rows.items():
        cells = []
        for name in columns:
            values = np.array([result[name] for result in results])
            spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.2f}{spread}")
        print(f"| {choice} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

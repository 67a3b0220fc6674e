"""Wall and processor time of a whole ``fit_folder`` in units of one backbone pass over the same slices.

    python benchmarks/fit_wall_time.py --normals FOLDER [--slices 100] [--scorers dpmm ar-cnn] [--paper]

The backbone is ``dinov2_vits14`` with random weights at 448 px: its speed is that of the published weights. Each
scorer is fitted as ``dinoad fit`` does it by default: with 100 scans a fifth is held out, with fewer there are five
folds (``--slices 99``). A machine under load changes its pace, so the pass is taken before and after each fit, and
the fit is compared with the mean of the two. With ``--paper`` the AR-CNN is also trained on the same embeddings for
the paper's 40 epochs (batches of 64 maps, no early stop), and both held-out losses are shown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from napari_dinoad.backbones import find_backbone, load_backbone
from napari_dinoad.backbones.timm_vit import make_model
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.scoring import make_scorer
from napari_dinoad.settings import ArCnnSettings, CacheSettings, FitSettings, preset

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKBONE = "dinov2_vits14"
RESOLUTION_PX = 448
BATCH = 8


@contextmanager
def timed(figures: dict[str, float], name: str) -> Iterator[None]:
    """Add wall and processor seconds of the block."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures[f"{name}_seconds"] = time.perf_counter() - wall
    figures[f"{name}_cpu_seconds"] = time.process_time() - cpu


def random_weights(target: Path) -> None:
    """Save untrained weights of the backbone."""
    torch.manual_seed(0)
    model = make_model(find_backbone(BACKBONE))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, target)


def copy_slices(source: Path, target: Path, n_slices: int) -> None:
    """Copy the first images of a folder; of several with one content the first, since a fit uses no other."""
    target.mkdir()
    distinct: dict[str, Path] = {}
    for path in sorted(source.iterdir()):
        distinct.setdefault(sha256_of_file(path), path)
    for path in list(distinct.values())[:n_slices]:
        shutil.copy(path, target / path.name)


class BackbonePass:
    """One pass of the backbone over all slices of a folder, in batches, as often as asked for."""

    def __init__(self, folder: Path, weights: Path, device: str) -> None:
        self._backbone = load_backbone(BACKBONE, str(weights), device)
        self._batch = max(BATCH, self._backbone.batch_slices)
        settings = replace(preset("image-2d"), resolution_px=RESOLUTION_PX)
        images = []
        for scan in discover_scans(folder).scans:
            prepared = prepare_scan(scan.read(), settings, RESOLUTION_PX)
            images.append(prepared.images(prepared.indices))
        self._stack = torch.from_numpy(np.concatenate(images))
        self._backbone(self._stack[: self._batch])

    def __call__(self, figures: dict[str, float], name: str) -> np.ndarray:
        """Time it under a name and return the embeddings (n, gh, gw, d) float16."""
        maps = []
        with timed(figures, name):
            for start in range(0, len(self._stack), self._batch):
                batch = self._stack[start : start + self._batch]
                maps.append(self._backbone(batch).values.to(torch.float16).cpu().numpy())
        return np.concatenate(maps)


def losses(maps: np.ndarray, figures: dict[str, float]) -> None:
    """Train the AR-CNN on four fifths by both schedules; keep the lowest loss on the other fifth."""
    batches = [torch.from_numpy(part).float() for part in np.array_split(maps, 12)]
    held_out = batches[::5]
    train = [batch for i, batch in enumerate(batches) if i % 5]
    schedules = {
        "default": ArCnnSettings(),
        "paper": ArCnnSettings(epochs=40, patience=40, batch_maps=64, learning_rate=1e-3),
    }
    for name, settings in schedules.items():
        with timed(figures, f"schedule_{name}"):
            scorer = make_scorer(settings).fit(train, validation=held_out)
        curve = scorer.state().history["validation_loss"]
        figures[f"schedule_{name}_loss"] = min(curve)
        figures[f"schedule_{name}_epochs"] = len(curve)


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--normals", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scorers", nargs="*", default=["dpmm", "ar-cnn"])
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--maps", type=Path, help="keep the embeddings in this .npy file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder, weights = Path(temporary) / "slices", Path(temporary) / "weights.safetensors"
        copy_slices(options.normals, folder, options.slices)
        random_weights(weights)
        one_pass = BackbonePass(folder, weights, options.device)
        before = "backbone_pass_first"
        maps = one_pass(figures, before)
        if options.maps:
            np.save(options.maps, maps)
        for scorer in options.scorers:
            settings = FitSettings(
                scorer=scorer,
                backbone=BACKBONE,
                weights=str(weights),
                preprocessing=replace(preset("image-2d"), resolution_px=RESOLUTION_PX),
                device=options.device,
            )
            with timed(figures, scorer):
                fit_folder(folder, settings, cache=CacheSettings(str(Path(temporary) / "cache")))
            after = f"backbone_pass_after_{scorer}"
            one_pass(figures, after)
            for kind in ("seconds", "cpu_seconds"):
                mean = (figures[f"{before}_{kind}"] + figures[f"{after}_{kind}"]) / 2
                figures[f"{scorer}_in_passes_{kind}"] = figures[f"{scorer}_{kind}"] / mean
            before = after
    if options.paper:
        losses(maps, figures)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()

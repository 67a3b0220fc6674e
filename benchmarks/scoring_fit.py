"""Seconds and peak memory of a whole fit of each scorer on cached embeddings.

    python benchmarks/scoring_fit.py [--normals FOLDER] [--maps 395] [--channels 384] [--epochs 40]

With a folder, its images are embedded once; without, smooth random maps of ``--maps`` × 32 × 32 × ``--channels`` take
their place. Either way the embeddings lie in a float16 file that is mapped, not loaded, as in a fit of the pipeline,
and a fifth of the maps is held out. Each scorer runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detection_brain_mr import embedded, model_input
from napari_dinoad.backbones import load_backbone
from napari_dinoad.scoring import make_scorer
from napari_dinoad.settings import ArCnnSettings, DpmmSettings, MemoryBankSettings

BATCH_MAPS = 8


class MappedBatches:
    """Batches of maps in a file, read when they are asked for."""

    def __init__(self, path: str, first: int, last: int) -> None:
        self._maps = np.load(path, mmap_mode="r")[first:last]

    def __len__(self) -> int:
        return -(-len(self._maps) // BATCH_MAPS)

    def __getitem__(self, index: int) -> torch.Tensor:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return torch.from_numpy(self._maps[index * BATCH_MAPS : (index + 1) * BATCH_MAPS].copy())


def embed_folder(folder: Path, backbone_name: str, target: Path) -> None:
    """Embed every image of ``folder`` as the backbone wants it, and save the maps."""
    backbone = load_backbone(backbone_name)
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    inputs = [model_input(path, backbone.default_resolution_px) for path in paths]
    np.save(target, embedded(inputs, backbone).embeddings.to(torch.float16).numpy())


def smooth_maps(n_maps: int, n_channels: int, target: Path) -> None:
    """Save random maps whose neighbouring patches are alike."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(16, n_channels, generator=generator)
    maps = np.lib.format.open_memmap(target, "w+", np.float16, (n_maps, 32, 32, n_channels))
    for index in range(n_maps):
        coarse = torch.randn(1, 16, 9, 9, generator=generator)
        fields = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic", align_corners=True)[0]
        noise = 0.1 * torch.randn(32, 32, n_channels, generator=generator)
        maps[index] = (torch.tanh(torch.einsum("fhw,fd->hwd", fields, mixing)) + noise).half().numpy()
    maps.flush()


def fit(path: str, n_train: int, n_maps: int, settings: Any, threads: int, results: Any) -> None:
    """Fit one scorer and put its figures into ``results`` (runs in a process of its own)."""
    torch.set_num_threads(threads)
    train, held_out = MappedBatches(path, 0, n_train), MappedBatches(path, n_train, n_maps)
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    scorer = make_scorer(settings).fit(train, validation=held_out)
    after = resource.getrusage(resource.RUSAGE_SELF)
    history = scorer.state().history
    results.put(
        {
            "seconds": time.perf_counter() - begin,
            "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "peak_mib": after.ru_maxrss / 1024,
            "peak_rise_mib": (after.ru_maxrss - before.ru_maxrss) / 1024,
            "epochs": max(map(len, history.values()), default=0),
            "validation_loss": min(history.get("validation_loss", [float("nan")])),
        }
    )


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--normals", type=Path)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--maps", type=int, default=395)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scorers", nargs="*", default=["dpmm", "ar-cnn", "memory-bank"])
    parser.add_argument("--all-epochs", action="store_true", help="no early stop")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    never = {"patience": arguments.epochs} if arguments.all_epochs else {}
    chosen = {
        "dpmm": DpmmSettings(
            epochs=arguments.epochs, **never, **({"tolerance": 0} if arguments.all_epochs else {})
        ),
        "ar-cnn": ArCnnSettings(epochs=arguments.epochs, **never),
        "memory-bank": MemoryBankSettings(),
    }
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.npy"
        if arguments.normals is None:
            smooth_maps(arguments.maps, arguments.channels, path)
        else:
            embed_folder(arguments.normals, arguments.backbone, path)
        n_maps = len(np.load(path, mmap_mode="r"))
        n_train = n_maps - n_maps // 5
        context = multiprocessing.get_context("spawn")
        for name in arguments.scorers:
            results = context.Queue()
            work = (str(path), n_train, n_maps, chosen[name], arguments.threads, results)
            process = context.Process(target=fit, args=work)
            process.start()
            figures[name] = results.get()
            process.join()
            if not arguments.json:
                print(name, {key: round(value, 2) for key, value in figures[name].items()}, flush=True)
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()

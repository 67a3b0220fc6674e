"""What scoring a volume asks of a GPU and of the CPU around it, told without a GPU.

    python benchmarks/gpu_work.py [--scorers dpmm ar-cnn memory-bank] [--slices 155] [--bare-ms 0.345] [--json]

The tests' pretended GPU (`tests/pretended_gpu.py`) takes every operation: it counts what is begun there, what is
waited for, and what is sent and comes back. A network that costs nothing stands in for a ViT-S/14 at 448 px in
bfloat16, whose own operations are counted with one slice. What an operation takes on a GPU is guessed from its
products and from the bytes that it reads and writes; what the CPU does in stages that begin nothing there is measured
on this one (the least of several volumes), and 7 µs are counted for each operation that is begun. The shares that
come of it are guesses for an H200: `dinoad bench` measures where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

from napari_dinoad import Detector, NormativeModel, fit_folder
from napari_dinoad.backbones import timm_vit, untrained_backbone
from napari_dinoad.backbones.embeddings import PatchEmbeddings, as_images, grid_of
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.slices import PreparedScan
from napari_dinoad.machine.sending import on_device
from napari_dinoad.pipeline.detection import detector as detector_module
from napari_dinoad.pipeline.detection import speed
from napari_dinoad.pipeline.detection.scan_run import ScanRun, _PlaneRun
from napari_dinoad.pipeline.slices.device_slices import DeviceVolume
from napari_dinoad.pipeline.slices.slice_embedding import SliceEmbedder
from napari_dinoad.settings import (
    BENCH_SLICES,
    SCORER_NAMES,
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    preset,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import pretended_gpu

SIDE, PATCH, CHANNELS = 448, 14, 384

FLOPS = {"float32": 50e12, "convolution": 150e12}
"""A second, of an H200; convolutions in TF32, as PyTorch does by default."""

BYTES_A_SECOND, LEAST_SECONDS = 3e12, 3e-6
"""Of the GPU's own memory, and what the smallest operation takes."""

BEGUN_SECONDS, WAITED_SECONDS = 7e-6, 30e-6
"""Of the CPU, for an operation that is begun and for a wait."""

PINNED_BYTES_A_SECOND, PAGEABLE_BYTES_A_SECOND = 40e9, 6e9

BODY, VOXELS, UNLIKE, ARRIVES = "body, range", "voxels there", "unlike", "map arrives"
PLAN, ALIKE = "plan", "alike slices"
ASIDE = (VOXELS, UNLIKE)
"""Stages that have a thread of their own."""

AFTER, OTHER = "mask, regions", "other"
"""What comes after the map; and what is not counted: the loop, and this CPU's memory for what lies on the GPU."""

ROUNDS = 3
MODEL_SLICES, MODEL_SCANS = 4, 5


class StandIn:
    """Means of patches times random numbers: the shapes of a ViT-S/14's tokens, at no cost."""

    name, embedding_dim, default_resolution_px, patch_size_px = "embedded", CHANNELS, SIDE, PATCH
    is_dino, weights_file, runtime, weights_sha256 = False, None, "stand-in", "0" * 64
    batch_slices = 32

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(0)
        self._weights = torch.randn(PATCH, CHANNELS, generator=generator)

    def patch_grid(self, height: int, width: int) -> tuple[int, int]:
        """See `Backbone`."""
        return grid_of(self.name, height, width, self.patch_size_px)

    def __call__(self, images) -> PatchEmbeddings:
        """See `Backbone`."""
        tensor = as_images(images)
        rows, columns = self.patch_grid(*tensor.shape[1:])
        self._weights = self._weights.to(self.device)
        tensor = on_device(tensor, self.device)
        patches = tensor.reshape(-1, rows, PATCH, columns, PATCH).mean(2)  # (n, gh, gw, 14)
        return PatchEmbeddings(patches @ self._weights + 0.1, PATCH)


@dataclass
class Stage:
    """What a stage of a volume's way to its map asks for; bytes sent there and coming back, pinned or not."""

    launches: int = 0
    waits: int = 0
    pinned_bytes: int = 0
    pageable_bytes: int = 0
    gpu_seconds: float = 0.0
    host_seconds: float = 0.0


class Ledger:
    """Books what is done to the stage that each thread is in."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = defaultdict(Stage)
        self._own = threading.local()
        self.host_clock = time.thread_time

    def _stack(self) -> list[list]:
        if not hasattr(self._own, "stack"):
            self._own.stack = []
        return self._own.stack

    @property
    def here(self) -> Stage:
        """The stage that this thread is in."""
        stack = self._stack()
        return self.stages[stack[-1][0] if stack else OTHER]

    @contextmanager
    def stage(self, name: str):
        """Book to this stage within the block; what is within the pretence, or a stage inside it, is not its own."""
        stack, started = self._stack(), self.host_clock()
        stack.append([name, 0.0])
        try:
            yield
        finally:
            spent = self.host_clock() - started
            _, others = stack.pop()
            self.stages[name].host_seconds += spent - others
            if stack:
                stack[-1][1] += spent

    @contextmanager
    def not_of_the_host(self):
        """Book to no stage what the CPU does within the block, in the GPU's place."""
        stack, started = self._stack(), self.host_clock()
        try:
            yield
        finally:
            if stack:
                stack[-1][1] += self.host_clock() - started

    def wrapped(self, function, name: str):
        """Return a function whose calls are booked to a stage."""

        def call(*args, **kwargs):
            with self.stage(name):
                return function(*args, **kwargs)

        return call


def seconds_on_gpu(operation, args, kwargs, made) -> float:
    """Return a guess of what an operation takes there."""
    tensors = [t for t in tree_flatten((args, kwargs, made))[0] if isinstance(t, torch.Tensor)]
    n_bytes = sum(t.numel() * t.element_size() for t in tensors)
    seconds = n_bytes / BYTES_A_SECOND
    count = flop_registry.get(operation._overloadpacket)
    if count is not None:
        kind = "convolution" if "conv" in str(operation) else "float32"
        slower = 2.0 if any(t.dtype is torch.float64 for t in tensors) else 1.0
        seconds = max(seconds, slower * count(*args, **kwargs, out_val=made) / FLOPS[kind])
    return max(seconds, LEAST_SECONDS)


@contextmanager
def booked(ledger: Ledger, waits):
    """Book all that the pretended GPU is asked for."""
    mode = pretended_gpu._Pretence
    own, own_begun, own_waited = mode.__torch_dispatch__, waits.is_begun, waits.is_waited_for

    def dispatch(self, operation, types, args=(), kwargs=None):
        stage, begun, waited = ledger.here, waits.launches.total(), waits.total()
        with ledger.not_of_the_host():
            made = own(self, operation, types, args, kwargs)
            tensors = [t for t in tree_flatten((args, kwargs, made))[0] if isinstance(t, torch.Tensor)]
            of_host = [t for t in tensors if not isinstance(t, pretended_gpu.GpuTensor) and t.ndim]
            if begun == waits.launches.total() or len(of_host) == len(tensors):
                return made
            if of_host and operation._overloadpacket in pretended_gpu.BOTH_DEVICES:
                kind = "pageable_bytes" if waited != waits.total() else "pinned_bytes"
                setattr(stage, kind, getattr(stage, kind) + of_host[0].numel() * of_host[0].element_size())
            else:
                stage.gpu_seconds += seconds_on_gpu(operation, args, kwargs or {}, made)
            return made

    def is_begun(name):
        ledger.here.launches += 1
        own_begun(name)

    def is_waited_for(name):
        ledger.here.waits += 1
        own_waited(name)

    with (
        patch.object(mode, "__torch_dispatch__", dispatch),
        patch.object(waits, "is_begun", is_begun),
        patch.object(waits, "is_waited_for", is_waited_for),
    ):
        yield


def launches_of_network() -> int:
    """Return what a ViT-S/14 begins on a GPU for a batch, in bfloat16."""
    with (
        pretended_gpu.pretended_gpu() as waits,
        patch.object(timm_vit, "choose_precision", lambda device: torch.bfloat16),
        patch.object(torch.cuda, "is_bf16_supported", lambda *_: True),
        patch.object(timm_vit.MemoryBatches, "run", lambda self, embed, images, device: embed(images)),
    ):
        network = untrained_backbone("dinov2_vits14", "cuda")
        image = torch.zeros(1, SIDE, SIDE, device="cuda")
        network(image)
        waits.launches.clear()
        network(image)
        return waits.launches.total()


def fitted(scorer: str, folder: Path) -> Path:
    """Return the file of a model of default size, fitted with the stand-in."""
    settings = FitSettings(
        scorer=scorer,
        preprocessing=replace(preset("mr-brain"), resolution_px=SIDE),
        calibration=CalibrationSettings(method="split"),
        dpmm=DpmmSettings(merge=False),
        epochs=1,
    )
    model = fit_folder(folder / "normals", settings, backbone=StandIn("cpu"))
    return model.save(folder / f"{scorer}.dinoad")


def stages_of(model_path: Path, patient: Path) -> dict[str, Stage]:
    """Score a volume; return what its stages ask for, of the second of two volumes, and of its mask and regions."""
    rounds = []
    with pretended_gpu.pretended_gpu() as waits:
        detector = Detector(NormativeModel.load(model_path), backbone=StandIn("cuda"))
        detector.detect(read_volume(patient), slices=[3])
        for _ in range(ROUNDS):
            ledger, volume = Ledger(), read_volume(patient)
            with booked(ledger, waits), ExitStack() as stack:
                for owner, name, stage in (
                    (Detector, "prepare", BODY),
                    (Detector, "unlike", UNLIKE),
                    (detector_module, "sent_voxels", VOXELS),
                    (ScanRun, "__init__", PLAN),
                    (ScanRun, "_inputs", "inputs"),
                    (PreparedScan, "contents", ALIKE),
                    (_PlaneRun, "compare", "averaging"),
                    (SliceEmbedder, "__call__", "embed"),
                    (StandIn, "__call__", "network"),
                    (ScanRun, "_place", "map"),
                    (ScanRun, "_put", ARRIVES),
                    (ScanRun, "scan_score", "scan's score"),
                ):
                    wrapped = ledger.wrapped(getattr(owner, name), stage)
                    stack.enter_context(patch.object(owner, name, wrapped))
                sent = ledger.wrapped(DeviceVolume.of.__func__, "body there")
                stack.enter_context(patch.object(DeviceVolume, "of", classmethod(sent)))
                scorers = {type(m.scorer) for p in detector.model.planes for m in p.members}
                for scorer in scorers:
                    stack.enter_context(patch.object(scorer, "score", ledger.wrapped(scorer.score, "score")))
                with ledger.stage(OTHER):
                    detection = detector.detect(volume)
            with ledger.stage(AFTER):
                detection.mask().regions()
            rounds.append(ledger.stages)
    for name, stage in rounds[-1].items():
        # Beside what is begun, this CPU's memory for what lies on the GPU is taken and given back.
        own = min(one[name].host_seconds for one in rounds)
        stage.host_seconds = BEGUN_SECONDS * stage.launches if stage.launches else own
    return rounds[-1]


def shares_of(stages: dict[str, Stage], n_batches: int) -> tuple[float, float]:
    """Return the guessed rate from volume to map as a share of the network's, with and without finding the body."""
    scored = {name: stage for name, stage in stages.items() if name not in (AFTER, OTHER, BODY, *ASIDE)}
    waits = WAITED_SECONDS * sum(stage.waits for stage in scored.values())
    sent = sum(stage.pageable_bytes for stage in scored.values()) / PAGEABLE_BYTES_A_SECOND
    gpu = sum(stage.gpu_seconds for stage in scored.values())
    cpu = sum(stage.host_seconds for stage in scored.values())
    back = sum(stage.pinned_bytes for stage in scored.values()) / PINNED_BYTES_A_SECOND
    last = (back + stages[ARRIVES].host_seconds) / n_batches
    # Nearly all of what tells alike slices is told before the first batch.
    first = stages[PLAN].host_seconds + stages[ALIKE].host_seconds
    alone = sent + waits + first + max(gpu, cpu - first) + last
    network = stages["network"].gpu_seconds
    return network / (stages[BODY].host_seconds + alone), network / alone


def main() -> None:
    """Read the arguments, score, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scorers", nargs="+", default=list(SCORER_NAMES))
    parser.add_argument("--slices", type=int, default=BENCH_SLICES)
    parser.add_argument(
        "--bare-ms", type=float, default=0.345, help="of the network alone, a slice (measured on an H200)"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    n_begun, n_calls = launches_of_network(), -(-arguments.slices // StandIn.batch_slices)
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "normals").mkdir()
        for seed in range(MODEL_SCANS):
            speed._save_volume(folder / "normals" / f"{seed}.nii", MODEL_SLICES, seed)
        patient = speed._save_volume(folder / "patient.nii", arguments.slices, MODEL_SCANS)
        for scorer in arguments.scorers:
            stages = stages_of(fitted(scorer, folder), patient)
            bare = arguments.bare_ms * arguments.slices / 1000
            begun = n_calls * n_begun
            stages["network"] = Stage(begun, gpu_seconds=bare, host_seconds=BEGUN_SECONDS * begun)
            results[scorer] = {name: asdict(stage) for name, stage in stages.items()}
            results[scorer]["shares"] = shares = shares_of(stages, n_calls)
            if not arguments.json:
                _print(scorer, stages, shares)
    if arguments.json:
        print(json.dumps(results))


def _print(scorer: str, stages: dict[str, Stage], shares: tuple[float, float]) -> None:
    print(f"\n{scorer}")
    header = ("stage", "begun", "waits", "pinned MB", "pageable MB", "GPU ms", "CPU ms")
    print("{:16s}{:>7s}{:>7s}{:>11s}{:>13s}{:>9s}{:>9s}".format(*header))
    for name, stage in stages.items():
        print(
            f"{name:16s}{stage.launches:7d}{stage.waits:7d}{stage.pinned_bytes / 1e6:11.1f}"
            f"{stage.pageable_bytes / 1e6:13.1f}{1000 * stage.gpu_seconds:9.2f}{1000 * stage.host_seconds:9.2f}"
        )
    print("guessed share of the network's rate: {:.2f}, without finding the body {:.2f}".format(*shares))


if __name__ == "__main__":
    main()

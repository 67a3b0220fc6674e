"""Milliseconds a slice of a network on the CPU by PyTorch, OpenVINO, ONNX Runtime and torch.compile.

    python benchmarks/backbone_runtimes.py --backbones dinov2_vits14 dinov2_vitb14

Random weights. All take turns, slice by slice, and the best of several rounds counts, so that a busy machine slows
all of them alike; how far their tokens differ is told too. ONNX Runtime needs ``onnx`` and ``onnxruntime``,
torch.compile a C++ compiler and a minute (--compile).
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from napari_dinoad.backbones import find_backbone
from napari_dinoad.backbones.openvino_forward import openvino_forward
from napari_dinoad.backbones.timm_vit import TimmBackbone, make_model

CPU = torch.device("cpu")


class Tokens(nn.Module):
    """A backbone's network as a module of its own."""

    def __init__(self, backbone: TimmBackbone) -> None:
        super().__init__()
        self.network = backbone._model
        self._forward = backbone._forward

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Return tokens of inputs (n, 3, H, W)."""
        return self._forward(channels)


def by_onnxruntime(tokens: Tokens, channels: torch.Tensor, folder: Path):
    """Return the network in ONNX Runtime, or None where it is not installed."""
    try:
        import onnx  # noqa: F401 - torch.onnx writes with it
        import onnxruntime
    except ImportError:
        return None
    file = folder / "network.onnx"
    torch.onnx.export(
        tokens, (channels,), file, dynamo=False, input_names=["x"], opset_version=17, external_data=False
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def runtimes_of(name: str, side: int, folder: Path, with_compile: bool) -> tuple[dict, torch.Tensor]:
    """Return the runtimes by name, and the inputs that they are timed on."""
    spec = find_backbone(name)
    model = make_model(spec)
    for key, parameter in model.named_parameters():
        if key.endswith(("gamma", "gamma_1", "gamma_2")):
            parameter.data.fill_(0.3)  # Random networks begin with blocks that hardly count.
    backbone = TimmBackbone(spec, model, CPU, use_openvino=False)
    images = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0))
    backbone(images)  # Puts the positions of this grid into place.
    channels = (images[:, None] - backbone._mean) / backbone._std
    tokens = Tokens(backbone).eval()
    made = {"PyTorch": tokens}
    started = time.perf_counter()
    made["OpenVINO"] = openvino_forward(backbone._forward, backbone._model, channels, None)
    print(f"{name}: OpenVINO converted in {time.perf_counter() - started:.0f} s", flush=True)
    made["ONNX Runtime"] = by_onnxruntime(tokens, channels, folder)
    if with_compile:
        made["torch.compile"] = torch.compile(Tokens(copy.copy(backbone)))
    return {key: runtime for key, runtime in made.items() if runtime is not None}, channels


def measure(name: str, side: int, rounds: int, folder: Path, with_compile: bool) -> list[dict]:
    """Return one row a runtime."""
    runtimes, channels = runtimes_of(name, side, folder, with_compile)
    expected = runtimes["PyTorch"](channels)
    rows = {
        key: {"backbone": name, "runtime": key, "ms": float("inf"), "cpu_ms": float("inf")}
        for key in runtimes
    }
    for key, runtime in runtimes.items():
        rows[key]["difference"] = float((runtime(channels) - expected).abs().max() / expected.abs().max())
    for _ in range(rounds):
        for key, runtime in runtimes.items():
            wall, cpu = time.perf_counter(), time.process_time()
            runtime(channels)
            rows[key]["ms"] = min(rows[key]["ms"], 1000 * (time.perf_counter() - wall))
            rows[key]["cpu_ms"] = min(rows[key]["cpu_ms"], 1000 * (time.process_time() - cpu))
    for row in rows.values():
        row["times_as_fast"] = rows["PyTorch"]["ms"] / row["ms"]
        row["times_as_fast_by_cpu_time"] = rows["PyTorch"]["cpu_ms"] / row["cpu_ms"]
    return list(rows.values())


def main() -> None:
    """Read the arguments, measure, print one JSON line a runtime."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["dinov2_vits14", "dinov2_vitb14"])
    parser.add_argument("--resolution", type=int, default=448)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        for name in arguments.backbones:
            for row in measure(
                name, arguments.resolution, arguments.rounds, Path(temporary), arguments.compile
            ):
                rounded = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()}
                print(json.dumps({**rounded, "threads": torch.get_num_threads()}), flush=True)


if __name__ == "__main__":
    main()

"""Intel's OpenVINO in place of PyTorch for a network on the CPU: the same tokens, sooner.

Used where the extra ``openvino`` is installed, unless the environment variable ``DINOAD_OPENVINO`` is ``0``. The
converted network is kept on disk, since converting takes a while. OpenVINO's own ``convert_model`` reports its use
over the internet unless that was switched off; its frontend, which is used here, does not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_dinoad.errors import DinoadError
from napari_dinoad.machine.atomic_files import require_folder
from napari_dinoad.machine.shared_block import unwarned
from napari_dinoad.machine.temporaries import remove_abandoned, temporary_folder
from napari_dinoad.machine.user_folders import cache_folder_if_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OPENVINO_VARIABLE", "TOLERANCE", "OpenVinoForward", "has_openvino", "openvino_forward"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Its tokens may differ from PyTorch's by this share of their largest value; the first batch is compared."""

_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
"""Float32 as everywhere on the CPU: left to itself it takes bfloat16 where the processor has it."""

_FAULTS = (ImportError, RuntimeError, OSError, TypeError, ValueError, DinoadError)
"""What converting, reading or running raises."""

OPENVINO_VARIABLE = "DINOAD_OPENVINO"
"""Environment variable that switches it off when it is ``0``."""


def has_openvino() -> bool:
    """Return whether OpenVINO is installed and not switched off; does not load it."""
    return os.environ.get(OPENVINO_VARIABLE) != "0" and importlib.util.find_spec("openvino") is not None


class OpenVinoForward:
    """A network in OpenVINO, for inputs of one height and width, one at a time: more at once are no quicker.

    Parameters
    ----------
    file : Path
        The converted network (``.xml``; its weights lie beside it).
    """

    def __init__(self, file: Path) -> None:
        import openvino

        core = openvino.Core()
        options = {**_OPTIONS, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._network = core.compile_model(core.read_model(file), "CPU", options)

    def __call__(self, channels: torch.Tensor) -> torch.Tensor:
        """Return the tokens of inputs (n, 3, H, W) float32."""
        inputs = channels.contiguous().numpy()
        # Copied, since the network writes the next result over this one.
        return torch.stack(
            [torch.from_numpy(self._network(inputs[i : i + 1])[0][0].copy()) for i in range(len(inputs))]
        )


def openvino_forward(
    forward: Callable[[torch.Tensor], torch.Tensor],
    network: nn.Module,
    example: torch.Tensor,
    key: str | None,
) -> OpenVinoForward | None:
    """Return a network in OpenVINO that gives the same tokens, or None where that cannot be done.

    Parameters
    ----------
    forward : callable
        (n, 3, H, W) → tokens (n, …), by PyTorch.
    network : torch.nn.Module
        What ``forward`` computes with.
    example : torch.Tensor
        Inputs (n, 3, H, W) that both are compared on.
    key : str, optional
        Names the network, its weights and the input's size; its conversion is kept under this name. None: it is not
        kept.
    """
    cache = None if key is None else cache_folder_if_any("The conversion is")
    folder = None if cache is None else cache / "openvino"
    name = f"{key or 'network'}.xml"
    if folder is not None and (folder / name).is_file():
        kept = _compared(folder / name, forward, example)
        if isinstance(kept, OpenVinoForward):
            return kept
        logger.info("The conversion in %s is of no use (%s); it is made anew", folder / name, kept)
    try:
        with _temporary() if folder is None else _writable(folder) as place:
            logger.info("Converting the network for OpenVINO, in %s", place)
            _convert(forward, network, example, place, place / name)
            made = _compared(place / name, forward, example)
    except _FAULTS as fault:
        made = _told(fault)
    if isinstance(made, OpenVinoForward):
        return made
    logger.warning("OpenVINO cannot be used for this network, PyTorch is: %s", made)
    return None


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    """Give the folder, or one that goes again where the folder cannot be written."""
    try:
        require_folder(folder)
    except DinoadError as error:
        logger.info("The conversion is not kept: %s", error)
        with _temporary() as temporary:
            yield temporary
    else:
        remove_abandoned(folder)
        yield folder


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dinoad-openvino-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _compared(
    file: Path, forward: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor
) -> OpenVinoForward | str:
    """Return a converted network that gives the tokens of PyTorch, or why this one does not."""
    try:
        converted = OpenVinoForward(file)
        error = _relative_error(converted(example), forward(example))
    except _FAULTS as fault:
        return _told(fault)
    if not error <= TOLERANCE:
        return f"its tokens differ by {error:.1g} of their largest value"
    return converted


def _told(fault: Exception) -> str:
    """Return what a fault says, in one line: OpenVINO's own begin with the place in its source."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return " ".join(lines[:3]) or type(fault).__name__


class _Traced(nn.Module):
    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor], network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._forward = forward

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        return self._forward(channels)


def _convert(
    forward: Callable[[torch.Tensor], torch.Tensor],
    network: nn.Module,
    example: torch.Tensor,
    folder: Path,
    file: Path,
) -> None:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    inputs = example[:1].contiguous()
    # Tracing warns of every size that is taken as fixed; they are.
    with unwarned, torch.no_grad():
        decoder = TorchScriptPythonDecoder(_Traced(forward, network).eval(), example_input=inputs)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model: Any = frontend.convert(frontend.load(decoder))
    model.reshape(list(inputs.shape))
    # Not Python's `tempfile`: where Windows refuses a folder, it tries two thousand million other names.
    with temporary_folder(folder) as temporary:
        new = temporary / file.name
        openvino.save_model(model, new, compress_to_fp16=False)
        # The weights first: the .xml is what is looked for.
        new.with_suffix(".bin").replace(file.with_suffix(".bin"))
        new.replace(file)


def _relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    if got.shape != expected.shape:
        return float("inf")
    return float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-12))

"""Which device a backbone runs on, and in which precision: the quicker one, measured once a machine."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_dinoad.backbones.memory import PREFERRED_SLICES
from napari_dinoad.errors import BackboneError, DinoadError, first_line
from napari_dinoad.machine.atomic_files import require_folder, write_json
from napari_dinoad.machine.faults import is_of_memory
from napari_dinoad.machine.user_folders import cache_folder_if_any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dinoad.settings import Device

__all__ = ["choose_device", "choose_precision", "in_precision", "measured_seconds", "trial_seconds"]

logger = logging.getLogger(__name__)

_PRECISIONS = {"cuda": ("bfloat16", "float32"), "mps": ("float32",), "cpu": ("float32",)}
"""What is tried on a device. On the CPU only float32, so that every machine gives the same embeddings there."""

_TOKENS, _DIM, _HEADS = 1025, 384, 6
"""One block of a ViT-S/14 at 448 px."""

_TRIALS = 3

_LASTING = re.compile(
    r"no kernel image|not supported|unsupported|not implemented|not compiled", re.IGNORECASE
)
"""What is said of a device that will not do it another time either; it may be busy or full just now otherwise."""

Trial = tuple[str, str]
"""Device and precision."""


def choose_device(device: Device = "auto") -> torch.device:
    """Return the device of that name; ``"auto"``: the quickest that works, by a measurement whose result is kept.

    Raises
    ------
    BackboneError
        If the device is not there or cannot compute, or the name is unknown.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(_quickest_that_works([name for name, is_there in available.items() if is_there]))
    if device not in available:
        raise BackboneError(f"Device: expected one of auto, {', '.join(available)}, got {device!r}.")
    if not available[device]:
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES") if device == "cuda" else None
        hidden = "" if chosen is None else f" (CUDA_VISIBLE_DEVICES is {chosen!r})"
        raise BackboneError(
            f"Device: {device!r} was asked for, but this PyTorch ({torch.__version__}) sees none{hidden}. Use "
            "--device auto or cpu, or install a PyTorch build for that device."
        )
    fault = fault_of_device(device)
    if fault is not None:
        raise BackboneError(
            f"Device: {device!r} was asked for and is there, but it does not compute ({first_line(fault)}). Use "
            "--device cpu; for this device close other programs that use it, or install the driver and the PyTorch "
            f"build (this is {torch.__version__}) that suit it."
        )
    return torch.device(device)


def fault_of_device(name: str) -> Exception | None:
    """Return what a device raises at its first computation; None where it works.

    PyTorch says that a GPU is there although it has no kernels for it, the driver does not start, or another program
    has it for itself.
    """
    if name == "cpu":
        return None
    try:
        float(torch.ones(2, device=name).sum())
    except (RuntimeError, AssertionError) as error:
        return error
    return None


def _quickest_that_works(names: list[str]) -> str:
    """Return one of these devices, the last of which is the CPU."""
    while len(names) > 1:
        name = _quickest([(name, kind) for name in names for kind in _PRECISIONS[name]])[0]
        fault = fault_of_device(name)
        if fault is None:
            return name
        logger.warning("%s is there, but does not compute: %s", name, first_line(fault))
        names = [other for other in names if other != name]
    return names[0]


def choose_precision(device: torch.device) -> torch.dtype:
    """Return what a network computes in on this device: bfloat16 on CUDA if that is quicker there, else float32."""
    kinds = _PRECISIONS.get(device.type, ("float32",))
    kind = kinds[0] if len(kinds) == 1 else _quickest([(device.type, kind) for kind in kinds])[1]
    chosen: torch.dtype = getattr(torch, kind)
    return chosen


def measured_seconds(
    trials: list[Trial], measure: Callable[[Trial], float], cache: Path | None, machine: str
) -> dict[Trial, float]:
    """Return the seconds of each trial: those kept in ``cache`` for this machine, the others measured and kept.

    A trial that fails is infinitely slow; that is kept only where it would fail another time, too. A cache that
    cannot be read or written, or is None, is done without.
    """
    kept = {} if cache is None else _read(cache)
    known = kept.get(machine, {})
    seconds = {}
    for trial in trials:
        name = ":".join(trial)
        if name not in known:
            try:
                known[name] = measure(trial)
            except (RuntimeError, TypeError) as error:
                logger.info("%s cannot be used: %s", name, first_line(error))
                if not isinstance(error, NotImplementedError | TypeError) and not _LASTING.search(str(error)):
                    seconds[trial] = float("inf")
                    continue
                known[name] = -1.0  # JSON has no infinity.
        seconds[trial] = known[name] if known[name] >= 0 else float("inf")
    if cache is not None and known and (kept.get(machine) != known or machine not in kept):
        try:
            require_folder(cache.parent)
            write_json(cache, {**kept, machine: known})
        except DinoadError as error:
            logger.info("The measurement is not kept: %s", error)
    return seconds


def trial_seconds(trial: Trial) -> float:
    """Return the seconds a slice that one transformer block takes on a device in a precision.

    As many slices go through it as a backbone embeds at a time there: one alone does not fill a GPU, whose time is
    then that of starting kernels, of which bfloat16 needs more. The device is waited for.
    """
    name, _ = trial
    n_slices = PREFERRED_SLICES.get(name, 1)
    while True:
        try:
            return _seconds_a_slice(trial, n_slices)
        except RuntimeError as error:
            if n_slices == 1 or not is_of_memory(error):
                raise
        # Fewer, as a backbone does where memory is short.
        n_slices //= 2


def _seconds_a_slice(trial: Trial, n_slices: int) -> float:
    name, kind = trial
    device = torch.device(name)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(n_slices, _TOKENS, _DIM, generator=generator).to(device)
    block = torch.nn.TransformerEncoderLayer(_DIM, _HEADS, 4 * _DIM, 0.0, batch_first=True).eval().to(device)
    best = float("inf")
    with torch.inference_mode(), in_precision(device, getattr(torch, kind)):
        for _ in range(_TRIALS + 1):  # the first one also loads kernels
            started = time.perf_counter()
            float(block(tokens).sum())  # Reading a value waits for the device.
            best = min(best, time.perf_counter() - started)
    return best / n_slices


def in_precision(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Compute in a precision: by autocast, or in float32 with autocast off."""
    is_lower = precision != torch.float32
    # Even off, PyTorch 2.6 warns of float32 on MPS.
    return torch.autocast(device.type, precision if is_lower else None, enabled=is_lower)


def _quickest(trials: list[Trial]) -> Trial:
    folder = cache_folder_if_any("Measurements are")
    cache = None if folder is None else folder / "devices.json"
    seconds = measured_seconds(trials, trial_seconds, cache, _machine())
    return min(trials, key=lambda trial: seconds[trial])


def _machine() -> str:
    """Return what a measurement holds for: PyTorch, the devices, the CPU's threads."""
    gpu = "no CUDA"
    if torch.cuda.is_available():
        try:
            gpu = torch.cuda.get_device_name()
        except RuntimeError as error:
            # Its driver does not start; the measurement will fail, too.
            gpu = f"CUDA that does not start ({first_line(error)})"
    return f"PyTorch {torch.__version__}, {gpu}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, batches"


def _read(cache: Path) -> dict[str, dict[str, float]]:
    try:
        kept = json.loads(Path(cache).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    machines = kept if isinstance(kept, dict) else {}
    return {
        machine: {name: seconds for name, seconds in trials.items() if isinstance(seconds, int | float)}
        for machine, trials in machines.items()
        if isinstance(trials, dict)
    }

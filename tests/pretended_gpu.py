"""A CUDA device where there is none: PyTorch computes on the CPU, but says and forbids what it would on a GPU.

Tensors say that they are on ``cuda:0``; they cannot become NumPy arrays, nor meet tensors of the CPU in an operation;
and each time that a GPU would have to be waited for is counted. Speed and a GPU's rounding are not pretended, nor are
gradients (autograd's engine asks the driver).
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
BOTH_DEVICES = {aten._to_copy, aten.copy_, aten.index, aten.index_put_}
"""Operations that take tensors of both devices."""

SHAPE_DEPENDS_ON_VALUES = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.equal}


class GpuTensor(torch.Tensor):
    """A tensor that says it is on a GPU; its values are in ``inner``, on the CPU."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device("cuda", 0),
        )
        made.inner = inner
        return made

    def __getitem__(self, index):
        return super().__getitem__(_sent(index))

    def __setitem__(self, index, value):
        super().__setitem__(_sent(index), value)

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        raise RuntimeError(f"{operation} of a GPU's tensor where none is pretended")


def _sent(index):
    """Return an index whose arrays are tensors of the GPU, as PyTorch would make them."""
    parts = index if isinstance(index, tuple) else (index,)
    sent = [
        GpuTensor(torch.from_numpy(np.asarray(p))) if isinstance(p, np.ndarray | list) else p for p in parts
    ]
    return tuple(sent)


class _Pretence(TorchDispatchMode):
    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        name = operation._overloadpacket
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        on_gpu = [t for t in tensors if isinstance(t, GpuTensor)]
        target = kwargs.get("device")
        goes_there = target is not None and torch.device(target).type == "cuda"
        if not on_gpu and not goes_there:
            return operation(*args, **kwargs)
        if (
            on_gpu
            and name not in BOTH_DEVICES
            and any(t.ndim and not isinstance(t, GpuTensor) for t in tensors)
        ):
            raise RuntimeError(f"{operation}: expected all tensors to be on the same device")
        if on_gpu and _is_waited_for(name, args, target is not None and not goes_there):
            self.waits[str(name).removeprefix("aten.")] += 1
        if target is not None:
            kwargs["device"] = "cpu"
        result = operation(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if name is aten._to_copy and goes_there and any(result is t for t in tensors):
            result = result.clone()
        if name is aten.copy_:
            return args[0]
        stays = goes_there or (bool(on_gpu) and target is None)
        known = {id(t.inner): t for t in on_gpu}
        return tree_map(lambda value: _outer(value, known, stays), result)


def _is_waited_for(name, args, comes_back):
    if name is aten.index:
        return any(part is not None and part.dtype is torch.bool for part in args[1])
    if name is aten.copy_:
        return not isinstance(args[0], GpuTensor) and not (len(args) > 2 and args[2])
    return name is aten._local_scalar_dense or name in SHAPE_DEPENDS_ON_VALUES or comes_back


def _inner(value):
    return value.inner if isinstance(value, GpuTensor) else value


def _outer(value, known, stays):
    if not isinstance(value, torch.Tensor):
        return value
    if id(value) in known:
        return known[id(value)]
    return GpuTensor(value) if stays else value


def _made(own):
    def make(data, *, dtype=None, device=None, **others):
        if isinstance(data, torch.Tensor):
            return data.to(device or data.device, dtype or data.dtype)
        made = own(data, dtype=dtype, **others)
        return made if device is None else made.to(device)

    return make


@contextmanager
def pretended_gpu(free_bytes=10**10):
    """Pretend, within the block, that there is a GPU; yields a Counter of what it was waited for.

    ``"event"`` counts the waits for what was copied meanwhile.
    """
    waits = Counter()

    class Event:
        def record(self, *_):
            pass

        def synchronize(self):
            waits["event"] += 1

    def submit(executor, function, /, *args, **kwargs):
        def there(*args, **kwargs):
            with _Pretence(waits):
                return function(*args, **kwargs)

        return own_submit(executor, there, *args, **kwargs)

    own_submit = ThreadPoolExecutor.submit
    stand_ins = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "Event": Event,
        "current_stream": lambda *_: None,
        "empty_cache": lambda: None,
        "mem_get_info": lambda *_: (free_bytes, free_bytes),
        "reset_peak_memory_stats": lambda *_: None,
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: 10**7,
        "memory_reserved": lambda *_: 0,
        "get_device_name": lambda *_: "a pretended GPU",
    }
    if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
        pytest.skip(f"PyTorch {torch.__version__} asks the driver; a GPU cannot be pretended with it")
    torch._C._ensureCUDADeviceGuardSet()
    keeps_parameters = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(patch.object(torch.cuda, name, stand_in))
        for name in ("tensor", "as_tensor"):
            stack.enter_context(patch.object(torch, name, _made(getattr(torch, name))))
        stack.enter_context(patch.object(torch.Tensor, "pin_memory", lambda tensor, *_: tensor))
        # Tensors of other classes cannot be made in inference mode.
        stack.enter_context(patch.object(torch, "inference_mode", torch.no_grad))
        stack.enter_context(patch.object(ThreadPoolExecutor, "submit", submit))
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, keeps_parameters)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_Pretence(waits))
        yield waits

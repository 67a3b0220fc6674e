"""A CUDA device where there is none: PyTorch computes on the CPU, but says and forbids what it would on a GPU.

Tensors say that they are on ``cuda:0``; they cannot become NumPy arrays, nor meet tensors of the CPU in an operation;
and each time that a GPU would have to be waited for is counted: values that come back, and what is sent to it from
memory that is not pinned, for which PyTorch waits until all that was begun before is done. What comes back without
waiting is not there until somebody has waited (`POISON` is, in its place), and what is being sent must stay as it is
until then. What is begun there is counted, too. Speed and a GPU's rounding are not pretended, nor are gradients
(autograd's engine asks the driver).
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import RLock
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from pretended_tensor import BOTH_DEVICES, PretendedTensor, inner_of

aten = torch.ops.aten
MAKES_NOTHING = {aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty, aten.new_empty_strided}
"""Operations that take memory and begin nothing."""

POISON = 0x5A
"""Each byte of memory that something is still on its way to."""

SHAPE_DEPENDS_ON_VALUES = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.equal}


class GpuTensor(PretendedTensor):
    """A tensor that says it is on a GPU."""

    where = torch.device("cuda", 0)

    def __getitem__(self, index):
        return super().__getitem__(_as_tensors(index))

    def __setitem__(self, index, value):
        super().__setitem__(_as_tensors(index), value)

    def tolist(self):
        return self.cpu().tolist()


def _as_tensors(index):
    """Return an index whose lists and arrays are tensors (of the CPU: PyTorch sends them, and waits)."""
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(torch.from_numpy(np.asarray(p)) if isinstance(p, np.ndarray | list) else p for p in parts)


class Waits(Counter):
    """What a pretended GPU was waited for, by operation.

    Attributes
    ----------
    launches : Counter
        Operations begun there, by name; those that only look at memory in another way are left out.
    """

    def __init__(self):
        super().__init__()
        self.launches = Counter()
        self._lock = RLock()
        self._n_begun = 0
        self._on_their_way = {}
        self._pinned = {}

    def pin(self, tensor):
        """Take a tensor's memory for pinned from now on, and return it."""
        storage = tensor.untyped_storage()
        # Kept: other memory would have the address of one that is gone.
        self._pinned[storage.data_ptr()] = storage
        return tensor

    def is_pinned(self, tensor):
        return tensor.untyped_storage().data_ptr() in self._pinned

    def is_begun(self, name):
        # Threads begin something at the same time.
        with self._lock:
            self.launches[str(name).removeprefix("aten.")] += 1

    def is_waited_for(self, name):
        with self._lock:
            self[str(name).removeprefix("aten.")] += 1
            self.arrive()

    def comes_back(self, target, values):
        """Copy later, once somebody waits; until then the target holds `POISON`."""
        values = values.to(target.dtype).expand(target.shape).clone()
        (target.view(torch.uint8) if target.ndim else target).fill_(POISON)
        self._begin(lambda: target.copy_(values))

    def is_sent(self, source):
        """Remember what is read without being waited for; a change before somebody waits is an error."""
        as_it_was = source.numpy().tobytes()

        def arrive():
            if source.numpy().tobytes() != as_it_was:
                raise RuntimeError("Memory was written to while it was on its way to the GPU.")

        self._begin(arrive)

    def _begin(self, arrive):
        with self._lock:
            self._on_their_way[self._n_begun] = arrive
            self._n_begun += 1

    @property
    def n_begun(self):
        """Copies begun so far."""
        return self._n_begun

    def arrive(self, n_begun=None):
        """Wait for the first so many copies that were begun, or all."""
        with self._lock:
            for number in [n for n in self._on_their_way if n_begun is None or n < n_begun]:
                self._on_their_way.pop(number)()


class _Pretence(TorchDispatchMode):
    def __init__(self, waits, has_room):
        super().__init__()
        self.waits = waits
        self.has_room = has_room

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        is_pinned = bool(kwargs.pop("pin_memory", False))
        name = operation._overloadpacket
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        on_gpu = [t for t in tensors if isinstance(t, GpuTensor)]
        target = kwargs.get("device")
        goes_there = target is not None and torch.device(target).type == "cuda"
        if not on_gpu and not goes_there:
            made = operation(*args, **kwargs)
            if is_pinned:
                self.waits.pin(made)
            return made
        others = [t for t in tensors if not isinstance(t, GpuTensor)]
        if on_gpu and name not in BOTH_DEVICES and any(t.ndim for t in others):
            raise RuntimeError(f"{operation}: expected all tensors to be on the same device")
        if not _is_view(operation) and name not in MAKES_NOTHING:
            self.waits.is_begun(name)
        at_leisure = _is_at_leisure(name, args, kwargs)
        if self._is_waited_for(name, args, kwargs, goes_there, at_leisure, bool(on_gpu)):
            self.waits.is_waited_for(name)
        if target is not None:
            kwargs["device"] = "cpu"
        if at_leisure and on_gpu and not goes_there and not isinstance(args[0], GpuTensor):
            self.waits.comes_back(args[0], args[1].inner)
            return args[0]
        result = operation(*tree_map(inner_of, args), **tree_map(inner_of, kwargs))
        made = [t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)]
        if not all(self.has_room(str(name).removeprefix("aten."), t) for t in made):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total")
        if at_leisure and others:
            self.waits.is_sent(others[0])
        if name is aten._to_copy and any(result is t for t in tensors):
            result = result.clone()
        if name is aten.copy_:
            return args[0]
        if at_leisure and on_gpu and target is not None and not goes_there:
            arriving = torch.empty_like(result)
            self.waits.comes_back(arriving, result)
            return arriving
        stays = goes_there or (bool(on_gpu) and target is None)
        known = {id(t.inner): t for t in on_gpu}
        return tree_map(lambda value: _outer(value, known, stays), result)

    def _is_waited_for(self, name, args, kwargs, goes_there, at_leisure, from_there):
        if name is aten.index or name is aten.index_put_:
            # Places that lie on the CPU are sent, and waited for.
            parts = [part for part in args[1] if part is not None]
            return any(part.dtype is torch.bool or not isinstance(part, GpuTensor) for part in parts) or (
                name is aten.index_put_ and not isinstance(args[2], GpuTensor) and args[2].ndim > 0
            )
        if name is aten.copy_ or name is aten._to_copy:
            source = args[-1 if name is aten._to_copy else 1]
            arrives_there = goes_there or (name is aten.copy_ and isinstance(args[0], GpuTensor))
            if isinstance(source, GpuTensor):
                comes_back = not isinstance(args[0], GpuTensor) if name is aten.copy_ else not goes_there
                comes_back = comes_back and (name is aten.copy_ or kwargs.get("device") is not None)
                return comes_back and not at_leisure
            is_quick = source.ndim == 0 and name is aten.copy_
            return arrives_there and not is_quick and not (at_leisure and self.waits.is_pinned(source))
        comes_back = from_there and kwargs.get("device") is not None and not goes_there
        return name is aten._local_scalar_dense or name in SHAPE_DEPENDS_ON_VALUES or comes_back


def _is_view(operation):
    aliases = [argument.alias_info for argument in operation._schema.arguments if argument.alias_info]
    return bool(aliases) and not any(alias.is_write for alias in aliases)


def _is_at_leisure(name, args, kwargs):
    """Whether a copy is asked for that is not waited for."""
    if name is aten.copy_:
        return bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    return name is aten._to_copy and bool(kwargs.get("non_blocking"))


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
def pretended_gpu(free_bytes=10**10, has_room=lambda name, made: True):
    """Pretend, within the block, that there is a GPU; yields the `Waits` for it.

    ``"event"`` counts the waits for what was copied meanwhile. ``has_room`` is asked with an operation's name whether
    memory holds a tensor that it made.
    """
    waits = Waits()

    class Event:
        def record(self, *_):
            self.n_begun = waits.n_begun

        def synchronize(self):
            waits["event"] += 1
            waits.arrive(self.n_begun)

    def synchronize(*_):
        waits["synchronize"] += 1
        waits.arrive()

    def submit(executor, function, /, *args, **kwargs):
        def there(*args, **kwargs):
            with _Pretence(waits, has_room):
                return function(*args, **kwargs)

        return own_submit(executor, there, *args, **kwargs)

    own_submit = ThreadPoolExecutor.submit
    stand_ins = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "Event": Event,
        "synchronize": synchronize,
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
        stack.enter_context(
            patch.object(
                torch.Tensor,
                "pin_memory",
                lambda tensor, *_: tensor if waits.is_pinned(tensor) else waits.pin(tensor.clone()),
            )
        )
        # Tensors of other classes cannot be made in inference mode.
        stack.enter_context(patch.object(torch, "inference_mode", torch.no_grad))
        stack.enter_context(patch.object(ThreadPoolExecutor, "submit", submit))
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, keeps_parameters)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_Pretence(waits, has_room))
        yield waits

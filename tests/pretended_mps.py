"""Apple's MPS where there is none: PyTorch computes on the CPU, but says and forbids what it would there.

Tensors say that they are on ``mps:0``; they cannot become NumPy arrays, nor meet tensors of the CPU in an operation.
There is no float64, no operation that PyTorch's own list has no MPS kernel of, and no adaptive pooling to a grid that
does not divide the input's. Speed and rounding are not pretended, nor are gradients.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from pathlib import Path
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from pretended_tensor import BOTH_DEVICES, PretendedTensor, inner_of

aten = torch.ops.aten
ON_VALUES = {"item", "__float__", "__bool__", "__int__", "__index__", "tolist", "cpu"}
"""What PyTorch would ask the device for, before any operation is begun."""


class MpsTensor(PretendedTensor):
    """A tensor that says it is on MPS."""

    where = torch.device("mps", 0)

    @staticmethod
    def __new__(cls, inner):
        if inner.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"Cannot convert a MPS Tensor to {inner.dtype}: MPS does not support it.")
        return PretendedTensor.__new__(cls, inner)


@cache
def kernels():
    """Return whether MPS has each of PyTorch's operations, by name with overload, as PyTorch itself lists them."""
    import torchgen
    from torchgen.gen import parse_native_yaml
    from torchgen.model import DispatchKey

    folder = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native"
    parsed = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
    of_mps = parsed.backend_indices[DispatchKey.MPS]
    functions = {str(function.func.name): function for function in parsed.native_functions}

    def is_there(function):
        if function.has_composite_kernel or of_mps.has_kernel(function):
            return True
        return function.structured_delegate is not None and is_there(
            functions[str(function.structured_delegate)]
        )

    return {name: is_there(function) for name, function in functions.items()}


class _Operations(TorchDispatchMode):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if isinstance(t, MpsTensor)]
        if not there:
            return operation(*args, **kwargs)
        packet = operation._overloadpacket
        if packet not in BOTH_DEVICES and any(t.ndim for t in tensors if not isinstance(t, MpsTensor)):
            raise RuntimeError(f"{operation}: expected all tensors to be on the same device")
        self._require_kernel(operation, packet, args)
        if is_mps(kwargs.get("device")):
            kwargs["device"] = "cpu"
        result = operation(*tree_map(inner_of, args), **tree_map(inner_of, kwargs))
        if packet is aten.copy_:
            return args[0]
        known = {id(t.inner): t for t in there}
        return tree_map(
            lambda v: known.get(id(v), MpsTensor(v)) if isinstance(v, torch.Tensor) else v, result
        )

    def _require_kernel(self, operation, packet, args):
        name = str(operation).removeprefix("aten.").removesuffix(".default")
        if not kernels()[name]:
            raise NotImplementedError(f"The operator {name!r} is not implemented for the MPS device.")
        if packet is aten._adaptive_avg_pool2d:
            sizes = zip(args[0].shape[-2:], args[1], strict=True)
            if any(size % wanted and wanted % size for size, wanted in sizes):
                raise RuntimeError("Adaptive pool MPS: input sizes must be divisible by output sizes.")
        self.seen.add(name)


class _Functions(TorchFunctionMode):
    """Calls that would reach for the device before they become operations."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        is_there = bool(args) and isinstance(args[0], MpsTensor)
        if function is torch.Tensor.to:
            return _moved(function, args, kwargs)
        if name == "numpy" and is_there:
            raise TypeError("can't convert mps:0 device type tensor to numpy")
        if name in ON_VALUES and is_there:
            values = function(args[0].inner, *args[1:], **kwargs)
            return values.clone() if isinstance(values, torch.Tensor) else values
        if name == "__setitem__" and is_there:
            return function(args[0].inner, *tree_map(inner_of, args[1:]))
        if name == "copy_" and any(isinstance(t, MpsTensor) for t in args[:2]):
            inner_of(args[0]).copy_(inner_of(args[1]))
            return args[0]
        if name in ("__getitem__", "scaled_dot_product_attention") and is_there:
            return MpsTensor(function(*tree_map(inner_of, args), **tree_map(inner_of, kwargs)))
        if is_mps(kwargs.get("device")):
            return MpsTensor(function(*args, **{**kwargs, "device": "cpu"}))
        return function(*args, **kwargs)


def is_mps(device):
    return isinstance(device, str | torch.device) and torch.device(device).type == "mps"


def _moved(function, args, kwargs):
    """Do what `torch.Tensor.to` does with a device, a dtype or a tensor, in any order and by name."""
    tensor, *wanted = args
    wanted += [kwargs.get(name) for name in ("device", "dtype", "other")]
    like = next((t for t in wanted if isinstance(t, torch.Tensor)), None)
    devices = [t for t in wanted if isinstance(t, str | torch.device)]
    device = devices[0] if devices else tensor.device if like is None else like.device
    kinds = [t for t in wanted if isinstance(t, torch.dtype)]
    kind = kinds[0] if kinds else tensor.dtype if like is None else like.dtype
    if not is_mps(device) and not isinstance(tensor, MpsTensor):
        return function(*args, **kwargs)
    if not is_mps(device):
        return function(tensor.inner, kind).clone()
    if isinstance(tensor, MpsTensor) and tensor.dtype is kind:
        return tensor
    return MpsTensor(function(inner_of(tensor), kind).clone())


@contextmanager
def pretended_mps():
    """Pretend, within the block, that there is Apple's MPS; yields a set, in which are the operations used there."""
    import torch._dynamo

    seen = set()
    own_submit = ThreadPoolExecutor.submit

    def submit(executor, function, /, *args, **kwargs):
        def there(*args, **kwargs):
            with _Functions(), _Operations(seen):
                return function(*args, **kwargs)

        return own_submit(executor, there, *args, **kwargs)

    keeps_parameters = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        is_available = wraps(torch.backends.mps.is_available)(lambda: True)
        stack.enter_context(patch.object(torch.backends.mps, "is_available", is_available))
        stack.enter_context(patch.object(torch.mps, "synchronize", lambda: None))
        # Tensors of other classes cannot be made in inference mode.
        stack.enter_context(patch.object(torch, "inference_mode", torch.no_grad))
        stack.enter_context(patch.object(ThreadPoolExecutor, "submit", submit))
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, keeps_parameters)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_Functions())
        stack.enter_context(_Operations(seen))
        yield seen

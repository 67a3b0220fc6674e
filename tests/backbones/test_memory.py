"""Batches by memory, with a network that runs out of it."""

from __future__ import annotations

import pytest
import torch

from napari_dinoad.backbones import load_backbone, memory
from napari_dinoad.backbones.memory import MemoryBatches, slices_that_fit
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.timm_vit import TimmBackbone, make_model
from napari_dinoad.errors import BackboneError

CPU = torch.device("cpu")
IMAGES = torch.rand(13, 4, 6, generator=torch.Generator().manual_seed(0))


class SmallMemory:
    """Embeds at most ``capacity`` slices at a time; notes what it was given."""

    def __init__(self, capacity, error="CUDA out of memory. Tried to allocate 2.00 GiB"):
        self.capacity, self.error = capacity, error
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(len(images))
        if len(images) > self.capacity:
            raise RuntimeError(self.error)
        return images.unflatten(1, (2, 2))


def expected():
    return SmallMemory(99)(IMAGES)


@pytest.mark.parametrize(
    "error",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate",
        "MPS backend out of memory (MPS allocated: 9.06 GB)",
        "could not create a primitive",
        "std::bad_alloc",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
    ],
)
@pytest.mark.parametrize("capacity", [1, 3, 5, 13])
def test_batches_are_halved_until_they_fit_and_nothing_is_lost(capacity, error):
    network, batches = SmallMemory(capacity, error), MemoryBatches()
    values = batches.run(network, IMAGES, CPU)
    torch.testing.assert_close(values, expected())
    assert values.is_contiguous()
    assert batches.limit is None or batches.limit <= capacity
    fitting = [size for size in network.sizes if size <= capacity]
    assert sum(fitting) == len(IMAGES)


def test_what_fits_is_remembered():
    network, batches = SmallMemory(3), MemoryBatches()
    batches.run(network, IMAGES, CPU)
    network.sizes.clear()
    batches.run(network, IMAGES, CPU)
    assert max(network.sizes) <= 3


def test_memory_that_runs_out_later_is_dealt_with():
    """Another program takes memory between two batches."""
    network, batches = SmallMemory(8), MemoryBatches()
    batches.limit = 8
    batches.run(network, IMAGES[:8], CPU)
    network.capacity = 2
    torch.testing.assert_close(batches.run(network, IMAGES, CPU), expected())


def test_not_even_one_slice_says_what_to_do():
    with pytest.raises(
        BackboneError, match=r"not even one slice of 4×6 pixels fits.*--resolution.*--device cpu"
    ):
        MemoryBatches().run(SmallMemory(0), IMAGES, CPU)


def test_memory_for_the_result_may_run_out_too(monkeypatch):
    """The first batch took what the result of all needs; a smaller one leaves it."""
    network, batches = SmallMemory(99), MemoryBatches()
    real = memory._room_for

    def short_of_memory(n_slices, part):
        if len(part) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return real(n_slices, part)

    monkeypatch.setattr(memory, "_room_for", short_of_memory)
    torch.testing.assert_close(batches.run(network, IMAGES, CPU), expected())
    assert network.sizes == [13, 6, 3, 3, 3, 3, 1]


def test_memory_that_comes_back_is_used_again(monkeypatch):
    """Another worker process had most of the GPU's memory while the first scan was scored, and has ended since."""
    cuda, free = torch.device("cuda"), [100]
    monkeypatch.setattr(memory, "free_bytes", lambda device: free[0])
    monkeypatch.setattr(memory, "_slices_that_fit_on_cuda", lambda *_: slices_that_fit(free[0], 40))
    network, batches = SmallMemory(99), MemoryBatches()
    batches.run(network, IMAGES, cuda)
    assert max(network.sizes) == batches.at_once(32, cuda) == 2
    free[0] = 140  # hardly more: not measured each time
    assert batches.at_once(32, cuda) == 2
    free[0] = 4000
    assert batches.at_once(32, cuda) == 32
    torch.testing.assert_close(batches.run(network, IMAGES, cuda), expected())
    assert max(network.sizes) == 13
    network.capacity = 3
    batches.run(network, IMAGES, cuda)
    assert batches.at_once(32, cuda) == 3
    free[0] = 8000
    assert batches.at_once(32, cuda) == 32


def test_other_faults_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        MemoryBatches().run(SmallMemory(0, "mat1 and mat2 shapes cannot be multiplied"), IMAGES, CPU)


def test_no_slices_give_no_embeddings():
    assert MemoryBatches().run(SmallMemory(1), IMAGES[:0], CPU).shape == (0, 2, 2, 6)


def test_slices_that_fit():
    assert slices_that_fit(1000, 100) == 8
    assert slices_that_fit(10, 100) == 1
    assert slices_that_fit(10, 0) == 8


def test_a_network_that_runs_out_gives_the_same_embeddings(tiny_timm, monkeypatch):
    spec = find_backbone("dinov2_vits14")
    backbone = TimmBackbone(spec, make_model(spec), CPU)
    images = torch.rand(5, 56, 84)
    whole = backbone(images).values
    forward, sizes = backbone._model.forward_features, []

    def short_of_memory(channels):
        sizes.append(len(channels))
        if len(channels) > 2:
            raise RuntimeError("CUDA out of memory.")
        return forward(channels)

    monkeypatch.setattr(backbone._model, "forward_features", short_of_memory)
    torch.testing.assert_close(backbone(images).values, whole, atol=1e-5, rtol=1e-5)
    assert sizes == [5, 2, 2, 1]
    assert backbone.batch_slices == 2


def test_devices_have_a_batch_of_their_own():
    assert load_backbone("embedded", device="cpu").batch_slices >= 1

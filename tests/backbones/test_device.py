"""The device and precision: measured once a machine, the quickest taken."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
import torch

from napari_dinoad.backbones import device as device_module
from napari_dinoad.backbones.device import choose_device, choose_precision, measured_seconds, trial_seconds
from napari_dinoad.errors import BackboneError

TRIALS = [("cuda", "bfloat16"), ("cuda", "float32"), ("cpu", "float32")]
SECONDS = {("cuda", "bfloat16"): 0.1, ("cuda", "float32"): 0.2, ("cpu", "float32"): 0.3}


def test_a_measurement_is_made_once_a_machine_and_kept(tmp_path):
    cache, measured = tmp_path / "deep" / "devices.json", []

    def measure(trial):
        measured.append(trial)
        return SECONDS[trial]

    for machine, calls in (("a", TRIALS), ("a", []), ("b", TRIALS)):
        measured.clear()
        assert measured_seconds(TRIALS, measure, cache, machine) == SECONDS
        assert measured == calls


def test_a_trial_that_fails_is_infinitely_slow_and_not_tried_again(tmp_path):
    def measure(trial):
        raise RuntimeError("no kernel image is available for execution on the device")

    for _ in range(2):
        assert measured_seconds(TRIALS[:1], measure, tmp_path / "d.json", "a") == {TRIALS[0]: float("inf")}
    assert measured_seconds(TRIALS[:1], lambda trial: 1.0, tmp_path / "d.json", "a")[TRIALS[0]] == float(
        "inf"
    )


@pytest.mark.parametrize(
    "fault",
    [
        "CUDA out of memory. Tried to allocate 800.00 MiB",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
    ],
)
def test_a_device_that_is_busy_is_tried_again_the_next_time(tmp_path, fault):
    def measure(trial):
        if trial[0] == "cuda":
            raise RuntimeError(fault)
        return SECONDS[trial]

    cache = tmp_path / "d.json"
    assert measured_seconds(TRIALS, measure, cache, "a")[TRIALS[0]] == float("inf")
    assert measured_seconds(TRIALS, SECONDS.__getitem__, cache, "a") == SECONDS


def test_a_trial_takes_fewer_slices_where_memory_is_short(monkeypatch):
    sizes = []

    class Block(torch.nn.TransformerEncoderLayer):
        def forward(self, tokens):
            sizes.append(len(tokens))
            if len(tokens) > 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 800.00 MiB")
            return super().forward(tokens)

    monkeypatch.setattr(torch.nn, "TransformerEncoderLayer", Block)
    assert 0 < trial_seconds(("cpu", "float32")) < float("inf")
    assert sizes[:3] == [4, 2, 1]


def test_a_damaged_or_unwritable_cache_is_done_without(tmp_path):
    cache = tmp_path / "devices.json"
    for damage in (
        '{"a": 5}',
        '{"a": null}',
        '{"a": ["cpu:float32"]}',
        '{"a": {"cpu:float32": "quick"}}',
        "{",
        "[1]",
        "",
    ):
        cache.write_text(damage)
        assert measured_seconds(TRIALS, SECONDS.__getitem__, cache, "a") == SECONDS
    (tmp_path / "file").write_text("")
    assert measured_seconds(TRIALS, SECONDS.__getitem__, tmp_path / "file" / "devices.json", "a") == SECONDS


@pytest.fixture
def machine_with_gpu(monkeypatch, tmp_path):
    """A CUDA device that answers no question but the measurement's."""
    seconds = dict(SECONDS)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "test")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device_module, "trial_seconds", seconds.__getitem__)
    monkeypatch.setattr(device_module, "fault_of_device", lambda name: None)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *a, **k: tmp_path)
    return seconds


@pytest.mark.parametrize(
    ("quickest", "device", "precision"),
    [
        (("cuda", "bfloat16"), "cuda", torch.bfloat16),
        (("cuda", "float32"), "cuda", torch.float32),
        (("cpu", "float32"), "cpu", torch.float32),
    ],
)
def test_the_quickest_is_taken(machine_with_gpu, quickest, device, precision):
    machine_with_gpu[quickest] = 0.01
    chosen = choose_device("auto")
    assert chosen.type == device
    assert choose_precision(chosen) == precision
    assert choose_device("cuda").type == "cuda"


NO_KERNELS = (
    "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be"
)


def test_a_device_that_does_not_compute_is_not_taken(machine_with_gpu, monkeypatch, caplog):
    """It did when it was measured: its driver or PyTorch has changed since, or another program has it for itself."""
    monkeypatch.setattr(
        device_module, "fault_of_device", lambda name: None if name == "cpu" else RuntimeError(NO_KERNELS)
    )
    assert choose_device("auto").type == "cpu"
    assert "no kernel image" in caplog.text
    with pytest.raises(BackboneError, match=r"does not compute \(.*no kernel image.*--device cpu"):
        choose_device("cuda")


def test_a_device_whose_driver_does_not_start_is_not_taken(machine_with_gpu, monkeypatch):
    def broken(*_):
        raise RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu.")

    monkeypatch.setattr(torch.cuda, "get_device_name", broken)
    monkeypatch.setattr(
        device_module, "trial_seconds", lambda trial: broken() if trial[0] == "cuda" else SECONDS[trial]
    )
    assert choose_device("auto").type == "cpu"


def test_the_first_computation_tells_whether_a_device_works(monkeypatch):
    assert device_module.fault_of_device("cpu") is None

    def broken(*_, **__):
        raise RuntimeError(NO_KERNELS)

    monkeypatch.setattr(torch, "ones", broken)
    assert "no kernel image" in str(device_module.fault_of_device("cuda"))


def test_the_cpu_computes_in_float32_unmeasured(monkeypatch):
    monkeypatch.setattr(device_module, "trial_seconds", None)
    assert choose_precision(choose_device("cpu")) == torch.float32


def test_a_trial_takes_time():
    assert 0 < trial_seconds(("cpu", "float32")) < float("inf")


def test_devices_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(BackboneError, match=r"sees none\. Use"):
        choose_device("cuda")
    # As batch systems set it for jobs that asked for no GPU.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(BackboneError, match=r"sees none \(CUDA_VISIBLE_DEVICES is ''\)"):
        choose_device("cuda")
    with pytest.raises(BackboneError, match="expected one of auto"):
        choose_device("tpu")


def test_without_a_place_to_keep_them_measurements_are_made_each_time(monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *a, **k: Path("~/.cache"))
    measured = []
    monkeypatch.setattr(
        device_module, "trial_seconds", lambda trial: measured.append(trial) or SECONDS[trial]
    )
    for _ in range(2):
        assert device_module._quickest(TRIALS) == TRIALS[0]
    assert measured == [*TRIALS, *TRIALS]

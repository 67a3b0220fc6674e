"""OpenVINO in place of PyTorch: the same tokens, kept on disk, and PyTorch wherever it will not do."""

from __future__ import annotations

import tempfile
import threading
import warnings
from pathlib import Path

import platformdirs
import pytest
import torch
from torch import nn

from napari_dinoad.backbones import openvino_forward as module
from napari_dinoad.backbones.openvino_forward import TOLERANCE, has_openvino
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.timm_vit import TimmBackbone, make_model
from napari_dinoad.machine.shared_block import unwarned
from patience import PATIENCE_S
from tiny_networks import randomise

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of OpenVINO's own, while it is imported

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def kept_here(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *a, **k: tmp_path)
    return tmp_path / "openvino"


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="OpenVINO is not installed (extra openvino)")


def by_openvino_of(name):
    """Return a network of this name by OpenVINO, with weights that are the same each time."""
    spec = find_backbone(name)
    model = make_model(spec)
    randomise(model)
    return TimmBackbone(spec, model, CPU, use_openvino=True)


def both(name):
    """Return one network by PyTorch and by OpenVINO."""
    backbone = by_openvino_of(name)
    return TimmBackbone(backbone._spec, backbone._model, CPU, use_openvino=False), backbone


def largest_difference(one, other):
    return float((one - other).abs().max() / one.abs().max())


@pytest.mark.parametrize("name", ["dinov2_vits14_reg", "dinov3_vits16plus", "dinov3_convnext_tiny"])
def test_the_tokens_are_the_same_on_any_grid(openvino, tiny_timm, kept_here, name):
    by_torch, by_openvino = both(name)
    patch = by_torch.patch_size_px
    for rows, columns in ((4, 6), (5, 5), (4, 6)):
        images = torch.rand(3, rows * patch, columns * patch, generator=torch.Generator().manual_seed(0))
        expected, got = by_torch(images).values, by_openvino(images).values
        assert got.shape == expected.shape
        assert largest_difference(expected, got) < TOLERANCE / 10
    assert all(by_openvino._by_openvino.values()), "PyTorch stepped in"
    assert len(list(kept_here.glob("*.xml"))) == len(list(kept_here.glob("*.bin"))) == 2


def test_a_conversion_is_kept_and_belongs_to_its_weights_and_layers(
    openvino, tiny_timm, monkeypatch, kept_here
):
    images = torch.rand(1, 56, 56)
    expected = by_openvino_of("dinov2_vits14")(images).values
    monkeypatch.setattr(module, "_convert", lambda *args: pytest.fail("converted again"))
    torch.testing.assert_close(by_openvino_of("dinov2_vits14")(images).values, expected)
    converted = []
    monkeypatch.setattr(module, "_convert", lambda *args: converted.append(args[-1].name))
    by_openvino_of("dinov2_vits14:last2")(images)
    assert converted and not (kept_here / converted[0]).exists()


def test_nothing_is_reported_over_the_internet(openvino, tiny_timm, monkeypatch):
    telemetry = pytest.importorskip("openvino_telemetry")
    monkeypatch.setattr(telemetry.Telemetry, "init", lambda *a, **k: pytest.fail("telemetry was started"))
    backbone = by_openvino_of("dinov2_vits14")
    backbone(torch.rand(1, 56, 56))
    assert all(backbone._by_openvino.values())


@pytest.mark.parametrize("fault", ["fails", "differs", "is damaged"])
def test_pytorch_steps_in_and_says_why(openvino, tiny_timm, monkeypatch, caplog, kept_here, fault):
    by_torch, by_openvino = both("dinov2_vits14")
    if fault == "fails":
        monkeypatch.setattr(module, "_convert", _raise)
    elif fault == "differs":
        monkeypatch.setattr(module.OpenVinoForward, "__call__", lambda self, x: torch.zeros(len(x), 16, 48))
    else:
        monkeypatch.setattr(module, "_convert", lambda *args: args[-1].write_text("not a network"))
    images = torch.rand(2, 56, 56)
    for _ in range(2):
        assert torch.equal(by_openvino(images).values, by_torch(images).values)
    assert caplog.text.count("PyTorch") == 1


@pytest.mark.parametrize("fault", ["xml cut", "xml empty", "bin cut", "bin missing", "bin of zeros"])
def test_a_damaged_conversion_is_made_anew(openvino, tiny_timm, kept_here, fault):
    images = torch.rand(2, 56, 56)
    expected = by_openvino_of("dinov2_vits14")(images).values
    (file,) = kept_here.glob("*.xml")
    damaged = file if fault.startswith("xml") else file.with_suffix(".bin")
    content = damaged.read_bytes()
    damaged.unlink()
    if fault != "bin missing":
        left = {"cut": content[: len(content) // 2], "empty": b"", "zeros": bytes(len(content))}
        damaged.write_bytes(left[fault.split()[-1]])
    backbone = by_openvino_of("dinov2_vits14")
    torch.testing.assert_close(backbone(images).values, expected, atol=1e-4, rtol=1e-4)
    assert all(backbone._by_openvino.values()), "PyTorch stepped in"
    made = damaged.read_bytes()
    # Nodes in the .xml have numbers, which go on within a process and may get longer.
    assert len(made) >= len(content) if damaged is file else made == content


def test_where_the_cache_cannot_be_written_the_conversion_is_not_kept(openvino, tiny_timm, kept_here):
    kept_here.write_text("a file in the way")
    by_torch, by_openvino = both("dinov2_vits14")
    images = torch.rand(2, 56, 56)
    assert largest_difference(by_torch(images).values, by_openvino(images).values) < TOLERANCE
    assert all(by_openvino._by_openvino.values()), "PyTorch stepped in"


def test_a_folder_that_takes_no_folders_is_not_asked_again_and_again(
    openvino, tiny_timm, monkeypatch, caplog, kept_here
):
    made = Path.mkdir

    def mkdir(path, *args, **kwargs):
        if path.parent == kept_here:
            raise PermissionError(13, "Access is denied", str(path))
        made(path, *args, **kwargs)

    # Python's own: where Windows refuses a folder, it tries two thousand million other names.
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *args, **kwargs: pytest.fail("asked again and again"))
    monkeypatch.setattr(Path, "mkdir", mkdir)
    by_torch, by_openvino = both("dinov2_vits14")
    images = torch.rand(2, 56, 56)
    assert torch.equal(by_openvino(images).values, by_torch(images).values)
    assert "Access is denied" in caplog.text and not list(kept_here.iterdir())


def test_what_a_killed_process_was_converting_is_removed(openvino, tiny_timm, kept_here):
    left = kept_here / ".dinoad-0123456789abcdef"
    left.mkdir(parents=True)
    (left / "network.bin").write_bytes(bytes(64))
    by_openvino_of("dinov2_vits14")(torch.rand(1, 56, 56))
    assert sorted(path.suffix for path in kept_here.iterdir()) == [".bin", ".xml"]


def test_warnings_are_on_again_where_another_thread_has_them_off_too(openvino):
    is_inside, may_leave = threading.Event(), threading.Event()

    def other():
        with unwarned:
            is_inside.set()
            may_leave.wait(PATIENCE_S)

    thread = threading.Thread(target=other)
    network = nn.Conv2d(3, 4, 1).requires_grad_(False)

    def forward(channels):
        # First of all while it is converted.
        may_leave.set()
        thread.join(PATIENCE_S)
        return network(channels)

    before = list(warnings.filters)
    thread.start()
    assert is_inside.wait(PATIENCE_S)
    assert module.openvino_forward(forward, network, torch.rand(1, 3, 8, 8), key=None) is not None
    assert warnings.filters == before


def test_a_user_without_folders_has_no_conversion_kept(openvino, tiny_timm, monkeypatch, tmp_path):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *a, **k: Path("~/.cache"))
    monkeypatch.chdir(tmp_path)
    backbone = by_openvino_of("dinov2_vits14")
    backbone(torch.rand(1, 56, 56))
    assert all(backbone._by_openvino.values()), "PyTorch stepped in"
    assert not list(tmp_path.iterdir())


def test_the_same_weights_under_timm_s_name_have_a_conversion_of_their_own(openvino, tiny_timm, kept_here):
    for name in ("dinov2_vits14", "timm:vit_small_patch14_dinov2.lvd142m"):
        backbone = by_openvino_of(name)
        backbone(torch.rand(1, 56, 56, generator=torch.Generator().manual_seed(0)))
        assert all(backbone._by_openvino.values()), "PyTorch stepped in"
    assert len(list(kept_here.glob("*.xml"))) == 2


def _raise(*args):
    raise RuntimeError("an operation is not supported")


def test_where_it_is_not_installed_or_switched_off_it_is_not_used(monkeypatch):
    assert not has_openvino(), "the tests switch it off"
    monkeypatch.delenv("DINOAD_OPENVINO")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert not has_openvino()

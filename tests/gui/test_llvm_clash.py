"""timm can be imported beside a real viewer, whichever library draws its canvas."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_dinoad.gui import llvm_clash


def test_timm_beside_a_viewer(qtbot):
    code = """
import warnings; warnings.simplefilter("ignore")
import napari
viewer = napari.Viewer(show=True)
from napari_dinoad.gui.llvm_clash import keep_triton_out
keep_triton_out()
import timm
viewer.close()
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "alive" in done.stdout


@pytest.mark.parametrize(
    ("maps", "loaded", "expected"),
    [
        ("7f00 /usr/lib/libLLVM-15.so.1", False, True),
        ("7f00 /usr/lib/libLLVM-15.so.1", True, False),
        ("7f00 /usr/lib/libGL.so", False, False),
        (None, False, False),
    ],
)
def test_triton_is_kept_out_only_where_it_would_crash(monkeypatch, tmp_path, maps, loaded, expected):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(llvm_clash, "_PROCESS_MAPS", tmp_path / "maps")
    if maps is not None:
        (tmp_path / "maps").write_text(maps)
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "triton", sys)
    assert llvm_clash.keep_triton_out() is expected
    assert ("triton" in sys.modules) == (loaded or expected)
    monkeypatch.delitem(sys.modules, "triton", raising=False)

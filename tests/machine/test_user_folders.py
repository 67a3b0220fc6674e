"""Folders of users: those who have none are told what to do, and need none where nothing must be kept."""

from __future__ import annotations

import sys
from pathlib import Path

import platformdirs
import pytest

from napari_dinoad.cli.main import main
from napari_dinoad.errors import DinoadError, SettingError
from napari_dinoad.machine.user_folders import cache_folder, data_folder, expanded


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """Be the user of a container whose number no list of users has, with no HOME."""
    pwd = pytest.importorskip("pwd", reason="Windows knows a home by other ways")

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DINOAD_CACHE", "DINOAD_WEIGHTS", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("find", [cache_folder, data_folder])
def test_a_user_without_a_home_is_told(homeless, find):
    with pytest.raises(DinoadError, match=r"no home folder.*HOME\. Name another with X\.$"):
        find("Name another with X.")


@pytest.mark.parametrize(
    ("name", "find"), [("user_cache_path", cache_folder), ("user_data_path", data_folder)]
)
def test_a_folder_named_like_the_sign_for_home_is_none(monkeypatch, name, find):
    """Versions of platformdirs differ: earlier ones give that."""
    monkeypatch.setattr(platformdirs, name, lambda *args, **kwargs: Path("~/.somewhere"))
    with pytest.raises(DinoadError, match="no home folder"):
        find()


def test_the_command_line_says_what_a_user_without_a_home_can_do(homeless, normal_folder, capsys):
    fit = ["fit", str(normal_folder), "--scorer", "memory-bank", "--resolution", "64", "--out", "m.dinoad"]
    for arguments, variable in (
        (fit, "--cache or the environment variable DINOAD_CACHE"),
        (["weights", "path"], "DINOAD_WEIGHTS"),
    ):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert "no home folder" in told and variable in told, told
    assert main([*fit, "--cache", "kept"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["kept", "m.dinoad", "m.report.html"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows takes any name for that of a neighbour's home")
def test_the_home_of_a_user_who_is_not_known_is_told(normal_folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(
        SettingError, match=r"Weights: expected a path, got '~noone-here/w.pth'.*for ~noone-here\."
    ):
        expanded("~noone-here/w.pth", "Weights")
    fit = ["fit", str(normal_folder), "--out", str(tmp_path / "m.dinoad")]
    assert main([*fit, "--cache", "~noone-here/cache"]) == 2
    assert "--cache: expected a path" in capsys.readouterr().err
    assert main([*fit, "--backbone", "dinov2_vits14", "--weights", "~noone-here/w.pth"]) == 2
    assert "Weights: expected a path" in capsys.readouterr().err
    monkeypatch.setenv("DINOAD_CACHE", "~noone-here/cache")
    assert main(fit) == 2
    assert "DINOAD_CACHE: expected a path" in capsys.readouterr().err
    monkeypatch.setenv("DINOAD_WEIGHTS", "~noone-here/weights")
    assert main(["weights", "path"]) == 2
    assert "DINOAD_WEIGHTS: expected a path" in capsys.readouterr().err


def test_ones_own_home_is_written_out(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert expanded("~/w.pth", "Weights") == tmp_path / "w.pth"
    assert expanded(tmp_path / "w.pth", "Weights") == tmp_path / "w.pth"

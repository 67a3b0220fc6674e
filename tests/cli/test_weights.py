"""`dinoad weights`, and fitting with weights that are on no machine, or in a file."""

from __future__ import annotations

import json
import shutil

import huggingface_hub.constants
import pytest
import torch

from napari_dinoad.backbones.registry import find_backbone, list_backbones
from napari_dinoad.backbones.timm_vit import make_model
from napari_dinoad.cli.main import main


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Random weights of a whole ViT-S/14, under a name that tells nothing."""
    path = tmp_path_factory.mktemp("weights") / "file.pth"
    torch.save(make_model(find_backbone("dinov2_vits14")).state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("DINOAD_WEIGHTS", str(tmp_path / "settings"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def printed(capsys, *arguments):
    assert main(["weights", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_path_and_list_of_a_machine_without_weights(capsys, tmp_path):
    assert printed(capsys, "path") == {"path": str(tmp_path / "settings"), "exists": False}
    rows = {row["backbone"]: row for row in printed(capsys, "list")["backbones"]}
    assert list(rows) == [spec.name for spec in list_backbones()]
    assert rows["embedded"]["source"] == "built in"
    assert {row["source"] for name, row in rows.items() if name != "embedded"} == {None}
    assert "DINOv3 License" in rows["dinov3_vits16"]["licence"]
    assert main(["weights", "list"]) == 0
    assert "dinov2_vits14 " in capsys.readouterr().out


def test_a_file_is_recognised_added_listed_and_verified(capsys, weights_file):
    added = printed(capsys, "add", weights_file)
    assert added["backbone"] == "dinov2_vits14"
    assert added["layout"] == "timm"
    assert added["path"].endswith("dinov2_vits14.pth")
    rows = {row["backbone"]: row for row in printed(capsys, "list")["backbones"]}
    assert rows["dinov2_vits14"]["path"] == added["path"]
    assert rows["dinov2_vits14"]["source"] == "settings folder"
    verified = printed(capsys, "verify")
    assert [item["weights_sha256"] for item in verified["verified"]] == [added["weights_sha256"]]
    assert verified["refused"] == []
    assert printed(capsys, "get", "dinov2_vits14")["source"] == "settings folder"


@pytest.mark.parametrize(
    ("added_as", "asked_for"),
    [
        ("dinov2_vits14", "dinov2_vits14:last4"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "timm:vit_small_patch14_dinov2.lvd142m"),
    ],
)
def test_one_backbone_is_verified_by_any_of_its_names(capsys, weights_file, added_as, asked_for):
    added = printed(capsys, "add", weights_file, "--backbone", added_as)
    for arguments in (("verify", "--backbone", asked_for), ("verify",)):
        (verified,) = printed(capsys, *arguments)["verified"]
        assert verified["path"] == added["path"]
        assert verified["backbone"] == added_as
    rows = {row["backbone"]: row for row in printed(capsys, "list")["backbones"]}
    assert rows[added_as]["path"] == added["path"]


def test_two_files_of_one_backbone_do_not_hide_the_others(capsys, tmp_path, weights_file):
    good = printed(capsys, "add", weights_file)
    for name in ("dinov3_vits16.pth", "dinov3_vits16.safetensors"):
        (tmp_path / "settings" / name).write_bytes(b"x")
    rows = {row["backbone"]: row for row in printed(capsys, "list")["backbones"]}
    assert rows["dinov2_vits14"]["path"] == good["path"]
    assert "expected one file" in rows["dinov3_vits16"]["fault"]
    assert main(["weights", "list"]) == 0
    assert "refused: Weights of dinov3_vits16" in capsys.readouterr().out
    assert main(["weights", "verify", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert [item["path"] for item in told["verified"]] == [good["path"]]
    assert [item["backbone"] for item in told["refused"]] == ["dinov3_vits16"]


@pytest.mark.parametrize(
    ("kept_as", "arguments"),
    [("pytorch_model.bin", []), ("dinov2_vits14.pth", ["--backbone", "dinov2_vits14"])],
)
def test_a_folder_stands_for_the_weights_in_it(capsys, tmp_path, weights_file, kept_as, arguments):
    folder = tmp_path / "downloaded"
    folder.mkdir()
    assert main(["weights", "add", str(folder), *arguments]) == 2
    assert "has no model.safetensors" in capsys.readouterr().err
    shutil.copyfile(weights_file, folder / kept_as)
    assert printed(capsys, "verify", folder, *arguments)["verified"][0]["path"] == str(folder / kept_as)
    assert printed(capsys, "add", folder, *arguments)["backbone"] == "dinov2_vits14"
    assert printed(capsys, "verify")["verified"][0]["backbone"] == "dinov2_vits14"


def test_a_damaged_file_is_not_added_and_not_verified(capsys, tmp_path, weights_file):
    cut = tmp_path / "cut.pth"
    cut.write_bytes(weights_file.read_bytes()[:100_000])
    assert main(["weights", "add", str(cut), "--backbone", "dinov2_vits14"]) == 2
    told = capsys.readouterr().err
    assert "is cut short or damaged. Download it again." in told
    assert "miniz" not in told
    assert not (tmp_path / "settings").exists()
    assert main(["weights", "verify", str(cut), "--backbone", "dinov2_vits14", "--json"]) == 2
    assert "damaged" in json.loads(capsys.readouterr().out)["refused"][0]["reason"]


def test_weights_of_another_backbone_are_named(capsys, weights_file):
    assert main(["weights", "verify", str(weights_file), "--backbone", "dinov2_vits14_reg"]) == 2
    told = capsys.readouterr().out
    assert "does not hold DINOv2 ViT-S/14 with four register tokens" in told
    assert "It holds dinov2_vits14. Give the file of this backbone, or choose" in told


def test_a_flipped_bit_is_refused(capsys, tmp_path, weights_file):
    content = bytearray(weights_file.read_bytes())
    content[len(content) // 2] ^= 4
    flipped = tmp_path / "flipped.pth"
    flipped.write_bytes(content)
    for action in ("verify", "add"):
        assert main(["weights", action, str(flipped)]) == 2
        captured = capsys.readouterr()
        assert "is damaged: the checksum of file/data/" in captured.out + captured.err
    assert not (tmp_path / "settings").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "nowhere.pth"], "found none at nowhere.pth"),
        (["get", "embedded"], "nothing to get"),
        (["get", "dinov2_vits14"], "3 ways to get them"),
        (["get", "dinov9"], "is not known"),
        (["verify", "--backbone", "dinov2_vits41"], "is not known"),
        (["verify", "--backbone", "embedded"], "nothing to verify"),
        (["verify", "--backbone", "dinov2_vits14"], "none to verify"),
        (["verify", "--backbone", "timm:vit_tiny_patch16_224"], "none to verify"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(capsys, arguments, message):
    assert main(["weights", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov3_vits16"])
def test_a_proxy_that_is_gone_ends_with_the_three_ways(capsys, monkeypatch, name):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable.upper(), raising=False)
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    utils = huggingface_hub.utils
    forget = getattr(utils, "close_session", getattr(utils, "reset_sessions", None))
    forget()
    assert main(["weights", "get", name]) == 2
    forget()
    told = capsys.readouterr().err
    assert "3 ways to get them" in told
    assert "refused" in told
    assert "Traceback" not in told


def fit_arguments(folder, out):
    options = "--backbone dinov2_vits14 --scorer memory-bank --preset mr-brain --resolution 56"
    return ["fit", str(folder), "--out", str(out), *options.split()]


def test_fit_without_weights_ends_with_the_three_ways(capsys, normal_folder, tmp_path):
    assert main(fit_arguments(normal_folder, tmp_path / "m.dinoad")) == 2
    told = capsys.readouterr().err
    for part in (
        "Looked in",
        "(1)",
        "(2)",
        "(3)",
        "dinov2_vits14_pretrain.pth",
        "--weights FILE",
        "weights add",
    ):
        assert part in told
    assert not (tmp_path / "m.dinoad").exists()


def test_fit_with_a_file_runs(capsys, normal_folder, tmp_path, weights_file):
    arguments = fit_arguments(normal_folder, tmp_path / "m.dinoad")
    assert main([*arguments, "--weights", str(weights_file), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["card"]
    assert card["backbone"]["name"] == "dinov2_vits14"
    assert (tmp_path / "m.dinoad").is_file()

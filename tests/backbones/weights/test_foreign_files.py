"""Files of other kinds under a name of weights are told as what they are."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from napari_dinoad.backbones.weights.checkpoint import read_checkpoint
from napari_dinoad.errors import WeightsError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 88283115\n"
PAGE = b"\xef\xbb\xbf\n <!DOCTYPE html>\n<html><title>Sign in</title></html>"

CONTENTS = {
    "page": (PAGE, r"a web page, probably the login page of a proxy.*Download it again"),
    "small letters": (b"<html><body>Access denied</body></html>", r"a web page"),
    "pointer": (POINTER, r"a Git LFS pointer.*'git lfs pull'"),
    "gzip": (gzip.compress(bytes(100)), r"compressed by gzip\. Unpack"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(100), r"a GGUF file.*as safetensors"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + bytes(100), r"an ONNX network.*as safetensors"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100), r"a picture\. Expected a file of weights"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100), r"a picture\."),
    "tiff": (b"II*\0\x08\0\0\0" + bytes(100), r"a picture\."),
    "dicom": (bytes(128) + b"DICM\x02\0" + bytes(100), r"a DICOM file\. Expected a file of weights"),
    "nifti": (b"\x5c\x01\0\0" + bytes(344), r"a NIfTI scan\."),
    "unknown": (b"\x13\x07\xf3\x99" * 40, r"no weights file, or damaged: it begins neither as safetensors"),
    "json": (b'{"model_type": "dinov2"}', r"is a text\. Get the weights as safetensors"),
    "umlauts": (("Zugriff verweigert: für Sie gesperrt. " * 20).encode(), r"is a text\."),
}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "dinov3_vits16_pretrain_lvd1689m-08c60483.pth"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_of_another_kind_is_told(tmp_path, kind, name):
    content, told = CONTENTS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=told) as caught:
        read_checkpoint(tmp_path / name)
    assert "weights_only" not in str(caught.value)


def test_archives_are_told_with_what_is_in_them(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(10))
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.write(tmp_path / "model.safetensors", "dinov2/model.safetensors")
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        archive.add(tmp_path / "model.safetensors", "model.safetensors")
    for name, told in (
        ("zip.pth", r"a zip archive \(dinov2/model\.safetensors\)"),
        ("tar.pth", "a tar archive"),
    ):
        with pytest.raises(WeightsError, match=rf"{told}\. Unpack it"):
            read_checkpoint(tmp_path / name)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_told_and_not_run(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(WeightsError, match=r"a TorchScript program.*nothing of it was run") as caught:
        read_checkpoint(tmp_path / "script.pt")
    assert "weights_only" not in str(caught.value)


def test_a_part_that_is_a_pointer_is_told(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(POINTER)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors"}}))
    with pytest.raises(WeightsError, match=r"a\.safetensors is a Git LFS pointer"):
        read_checkpoint(index)


@pytest.mark.parametrize("zipped", [False, True])
def test_both_kinds_of_pytorch_s_files_are_read(tmp_path, zipped):
    tensors = {"x": torch.arange(3.0)}
    torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(tmp_path / "w.pth")["x"].tolist() == [0, 1, 2]


def test_safetensors_of_any_length_of_header_are_read(tmp_path):
    """The first bytes are a number, which may be any other format's mark."""
    for n in range(1, 40):
        save_file({"x" * n: torch.ones(1)}, tmp_path / "w.safetensors")
        assert list(read_checkpoint(tmp_path / "w.safetensors")) == ["x" * n]

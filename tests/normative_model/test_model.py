"""Files that are no models are refused with a clear word."""

from __future__ import annotations

import errno
import json
import logging
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from napari_dinoad import NormativeModel
from napari_dinoad.errors import ModelFileError, SettingError
from napari_dinoad.normative_model import file as model_file
from napari_dinoad.normative_model.card import stored_card
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.scoring import make_scorer
from napari_dinoad.settings import DpmmSettings, FitSettings, MemoryBankSettings, PreprocessingSettings
from refused_files import forbid_removing_open_files, refuse_opening

NO_MODEL = (
    "not a model of napari-dinoad, or one that is damaged or cut short. Choose a .dinoad file, copy this one "
    "again, or fit it again."
)

FIGURE = ("voxel_mm_side to side",)


@pytest.fixture(scope="module")
def model_path(normal_folder, tmp_path_factory):
    preprocessing = PreprocessingSettings("mr-brain", "robust-percentiles", plane="axial", resolution_px=64)
    settings = FitSettings(preprocessing=preprocessing, dpmm=DpmmSettings(n_components=5, epochs=2))
    path = tmp_path_factory.mktemp("model") / "m.dinoad"
    return fit_folder(normal_folder, settings).save(path)


def parts(path):
    with safe_open(path, framework="pt") as stored:
        return load_file(path), json.loads(stored.metadata()["napari_dinoad"])


def rewritten(path, tensors, document):
    save_file(tensors, path, {"napari_dinoad": json.dumps(document)})
    return path


def test_there_is_no_pickle_in_it(model_path):
    tensors, document = parts(model_path)
    assert document["format_version"] == 6
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    assert document["provenance"]["n_scans"] == 6
    assert document["backbone"]["name"] == "embedded"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01.", b"\xff" * 200])
def test_other_files_are_refused_in_plain_words(tmp_path, caplog, content):
    path = tmp_path / "m.dinoad"
    path.write_bytes(content)
    with caplog.at_level(logging.INFO), pytest.raises(ModelFileError) as caught:
        NormativeModel.load(path)
    assert str(caught.value) == f"{path}: {NO_MODEL}"
    assert "SafetensorError" in caplog.text


def test_truncated_and_missing(tmp_path, model_path):
    (tmp_path / "cut.dinoad").write_bytes(model_path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="damaged or cut short"):
        NormativeModel.load(tmp_path / "cut.dinoad")
    with pytest.raises(ModelFileError, match="no such file"):
        NormativeModel.load(tmp_path / "none.dinoad")


def test_a_file_that_may_not_be_opened_is_not_told_as_missing(model_path, monkeypatch):
    refuse_opening(model_path, monkeypatch)
    with pytest.raises(ModelFileError, match=r"m\.dinoad: cannot be opened \(Permission denied\)"):
        NormativeModel.load(model_path)


def test_a_loaded_model_can_be_replaced_where_open_files_stay(model_path, tmp_path, monkeypatch):
    path = tmp_path / "m.dinoad"
    path.write_bytes(model_path.read_bytes())
    forbid_removing_open_files(monkeypatch)
    model = NormativeModel.load(path)
    model.save(path)
    assert model.card() == NormativeModel.load(path).card()


def test_a_safetensors_file_of_another_kind(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="not a model of napari-dinoad"):
        NormativeModel.load(tmp_path / "other.safetensors")


def test_a_disk_that_fails_is_told_as_what_it_is(model_path, monkeypatch):
    def failing(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(model_file, "safe_open", failing)
    with pytest.raises(ModelFileError, match=rf"cannot be read \({os.strerror(errno.EIO)}\)"):
        NormativeModel.load(model_path)


def test_a_disk_that_fails_while_tensors_are_read_is_told(model_path, monkeypatch):
    """PyTorch opens the file a second time, and makes a RuntimeError of what the system says."""

    def failing(path, framework):
        raise RuntimeError(f"unable to open file <{path}> in read-only mode: Input/output error (5)")

    monkeypatch.setattr(model_file, "safe_open", failing)
    with pytest.raises(ModelFileError, match="damaged or cut short"):
        NormativeModel.load(model_path)


def test_a_file_for_which_memory_is_too_small_is_not_told_as_damaged(model_path, monkeypatch):
    def mapping(*args, **kwargs):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(model_file, "safe_open", mapping)
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        NormativeModel.load(model_path)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (99, r"got 99: it was written by a newer version of napari-dinoad \(9\.1\.0; this is .*\)\. Upgrade"),
        (4, r"got 4: it was written by an earlier version of napari-dinoad\. Fit the model again"),
        ("x", r"got 'x'\. Copy the file again"),
        (None, r"got None\. Copy the file again"),
    ],
)
def test_another_format_is_refused(tmp_path, model_path, version, words):
    tensors, document = parts(model_path)
    document["format_version"] = version
    document["provenance"]["versions"]["napari-dinoad"] = "9.1.0"
    with pytest.raises(ModelFileError, match=f"expected version 6, {words}"):
        NormativeModel.load(rewritten(tmp_path / "m.dinoad", tensors, document))


def resealed(path, tensors, document):
    """Write a model as another version would: with its own checksum."""
    del document["sha256"]
    document["sha256"] = model_file.content_sha256(document, tensors)
    return rewritten(path, tensors, document)


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("planes", 0),
        ("planes", 0, "members", 0),
        ("planes", 0, "members", 0, "settings"),
        ("planes", 0, "members", 0, "settings", "settings"),
        ("backbone",),
        ("preprocessing",),
        ("calibration",),
        ("provenance",),
        ("cohorts", 0, "contrast_median"),
    ],
)
def test_what_another_version_has_added_is_told_as_that_and_never_passed_over(tmp_path, model_path, place):
    tensors, document = parts(model_path)
    part = document
    for name in place:
        part = part[name]
    part["colour"] = "red"
    with pytest.raises(ModelFileError, match=r"another version of napari-dinoad\. It is whole, .* Upgrade"):
        NormativeModel.load(resealed(tmp_path / "m.dinoad", tensors, document))
    document["provenance"]["versions"]["napari-dinoad"] = "9.1.0"
    with pytest.raises(
        ModelFileError, match=r"a newer version of napari-dinoad \(9\.1\.0; this is .* Upgrade"
    ):
        NormativeModel.load(resealed(tmp_path / "m.dinoad", tensors, document))


@pytest.mark.parametrize("name", ["axial.dpmm.colour", "calibration.colour", "coronal.dpmm.mean", "colour"])
def test_tensors_that_another_version_has_added_are_not_passed_over(tmp_path, model_path, name):
    tensors, document = parts(model_path)
    tensors[name] = torch.zeros(3)
    with pytest.raises(ModelFileError, match="another version"):
        NormativeModel.load(resealed(tmp_path / "m.dinoad", tensors, document))


def test_a_plane_without_scorers_is_no_model(tmp_path, model_path):
    """What is asked of it was a StopIteration, with a traceback."""
    tensors, document = parts(model_path)
    document["planes"][0]["members"] = []
    path = resealed(tmp_path / "m.dinoad", tensors, document)
    assert stored_card(path) is None
    with pytest.raises(ModelFileError, match="another version"):
        NormativeModel.load(path)


def test_a_choice_that_another_version_knows_is_told_as_that(tmp_path, model_path):
    tensors, document = parts(model_path)
    document["preprocessing"]["plane"] = "radial"
    with pytest.raises(ModelFileError, match="another version"):
        NormativeModel.load(resealed(tmp_path / "m.dinoad", tensors, document))


def test_every_missing_tensor_is_noticed(tmp_path, model_path):
    tensors, document = parts(model_path)
    for name in tensors:
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        with pytest.raises(ModelFileError):
            NormativeModel.load(rewritten(tmp_path / "m.dinoad", rest, document))


@pytest.mark.parametrize(
    "section", ["scorer", "planes", "backbone", "preprocessing", "calibration", "provenance"]
)
def test_every_missing_section_is_noticed(tmp_path, model_path, section):
    tensors, document = parts(model_path)
    del document[section]
    with pytest.raises(ModelFileError, match="incomplete"):
        NormativeModel.load(rewritten(tmp_path / "m.dinoad", tensors, document))


def test_a_wrong_shape_is_noticed(tmp_path, model_path):
    tensors, document = parts(model_path)
    for name, tensor in tensors.items():
        if not name.startswith("axial.dpmm.") or tensor.ndim == 0:
            continue
        wrong = {**tensors, name: torch.zeros((tensor.shape[0] + 1, *tensor.shape[1:]), dtype=tensor.dtype)}
        with pytest.raises(ModelFileError):
            NormativeModel.load(rewritten(tmp_path / "m.dinoad", wrong, document))
    assert np.isfinite(tensors["calibration.table_scores"].numpy()).all()


def test_held_out_patches_of_another_backbone_are_noticed(tmp_path, model_path):
    """They would be found out when the model is merged."""
    tensors, document = parts(model_path)
    tensors["axial.patches.embeddings"] = tensors["axial.patches.embeddings"][:, :-1].contiguous()
    with pytest.raises(ModelFileError):
        NormativeModel.load(resealed(tmp_path / "m.dinoad", tensors, document))


def test_damage_that_no_shape_tells_is_noticed(tmp_path, model_path):
    content = bytearray(model_path.read_bytes())
    content[-1000] ^= 0x80
    damaged = tmp_path / "m.dinoad"
    damaged.write_bytes(bytes(content))
    with pytest.raises(ModelFileError, match="damaged or changed"):
        NormativeModel.load(damaged)


def test_whatever_is_changed_in_the_description_is_refused(tmp_path, model_path):
    with safe_open(model_path, framework="pt") as stored:
        text = stored.metadata()["napari_dinoad"]
    tensors = load_file(model_path)

    def places(value, path=()):
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, part in items:
            yield (*path, key)
            yield from places(part, (*path, key))

    rng = np.random.default_rng(0)
    all_places = list(places(json.loads(text)))
    for number in rng.choice(len(all_places), 60, replace=False):
        *path, last = all_places[number]
        for wrong in (None, -1, "x", [], {}):
            document = json.loads(text)
            within = document
            for key in path:
                within = within[key]
            if within[last] == wrong or (*path, last) == ("provenance", "created"):
                continue
            within[last] = wrong
            save_file(tensors, tmp_path / "m.dinoad", {"napari_dinoad": json.dumps(document)})
            with pytest.raises(ModelFileError):
                NormativeModel.load(tmp_path / "m.dinoad")


def test_a_model_that_lacks_a_tensor_is_refused_in_words_that_fit(tmp_path, model_path):
    """With a right checksum: as another version would write it."""
    tensors, document = parts(model_path)
    del document["sha256"], tensors["calibration.table_scores"]
    model_file.write_model_file(tmp_path / "m.dinoad", document, tensors)
    with pytest.raises(ModelFileError, match="or lacks what it needs"):
        NormativeModel.load(tmp_path / "m.dinoad")


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("backbone", "name"), 7),
        (("backbone", "weights_sha256"), 1e9),
        (("provenance", "n_scans"), "x"),
        (("provenance", "n_slices"), None),
        (("provenance", "reading"), {}),
        (("calibration", "scan_top_fraction"), 1e9),
        (("calibration", "scan_top_fraction"), -1),
        (("calibration", "smoothing_mm"), -1),
        (("cohorts", 0, *FIGURE, "spread"), None),
        (("cohorts", 0, *FIGURE, "median"), "x"),
    ],
)
def test_a_file_with_a_right_checksum_that_says_what_no_model_says(tmp_path, model_path, place, wrong):
    """Made by somebody else: it would end scoring, not loading, as a fault of ours."""
    tensors, document = parts(model_path)
    del document["sha256"]
    within = document
    for key in place[:-1]:
        within = within[key]
    assert place[-1] in within
    within[place[-1]] = wrong
    model_file.write_model_file(tmp_path / "m.dinoad", document, tensors)
    with pytest.raises(ModelFileError, match="holds what this version does not know"):
        NormativeModel.load(tmp_path / "m.dinoad")


def test_a_scorer_is_replaced_by_one_of_its_kind_alone(model_path):
    model = NormativeModel.load(model_path)
    with pytest.raises(SettingError, match="expected another 'dpmm', got 'memory-bank'"):
        model.with_scorer(make_scorer(MemoryBankSettings()), model.calibration)

"""Where weights are looked for, and which files are refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from napari_dinoad.backbones import load_backbone
from napari_dinoad.backbones.registry import find_backbone, list_backbones
from napari_dinoad.backbones.timm_vit import make_model
from napari_dinoad.backbones.weights import checkpoint
from napari_dinoad.backbones.weights.matching import check_weights, model_with_weights, recognise_weights
from napari_dinoad.backbones.weights.official import official_file
from napari_dinoad.backbones.weights.store import (
    add_weights,
    find_weights,
    known_backbones,
    local_weights,
    names_for_file,
    weights_folder,
)
from napari_dinoad.errors import BackboneError, DinoadError, WeightsError, WeightsNotFoundError
from patience import PATIENCE_S
from tiny_networks import to_meta

SPEC = find_backbone("dinov2_vits14")
OFFICIAL = "dinov2_vits14_pretrain.pth"


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def put_in_hub_cache(repository, name="model.safetensors"):
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE, "models--" + repository.replace("/", "--"))
    touch(folder / "refs" / "main").write_text("0" * 40)
    return touch(folder / "snapshots" / ("0" * 40) / name)


def test_search_goes_from_the_given_file_to_the_settings_folder_to_the_caches(tmp_path):
    in_torch_hub = touch(tmp_path / "torch" / "hub" / "checkpoints" / OFFICIAL)
    assert find_weights(SPEC).path == in_torch_hub
    in_hub = put_in_hub_cache("timm/vit_small_patch14_dinov2.lvd142m")
    assert find_weights(SPEC).path == in_hub
    assert find_weights(SPEC).source == "cache"
    installed = touch(weights_folder() / OFFICIAL)
    assert find_weights(SPEC).path == installed
    given = touch(tmp_path / "mine.pth")
    assert find_weights(SPEC, given).path == given
    assert find_weights(SPEC, str(given)).source == "given"


def test_a_repository_in_the_layout_of_transformers_counts_too():
    path = put_in_hub_cache("facebook/dinov2-small")
    assert find_weights(SPEC).path == path


def test_weights_of_another_size_are_not_taken(tmp_path):
    touch(weights_folder() / "dinov2_vits14_reg4_pretrain.pth")
    touch(weights_folder() / "dinov2_vitb14_pretrain.pth")
    with pytest.raises(WeightsError, match="not found"):
        find_weights(SPEC)
    assert {spec.name for spec in list_backbones() if spec.needs_weights and local_weights(spec)} == {
        "dinov2_vits14_reg",
        "dinov2_vitb14",
    }


def test_when_nothing_is_found_places_and_three_ways_are_told():
    with pytest.raises(WeightsNotFoundError) as caught:
        load_backbone("dinov2_vits14", device="cpu")
    error = caught.value
    assert error.backbone == "dinov2_vits14"
    assert error.licence == "Apache-2.0"
    assert "HF_HUB_OFFLINE" in error.download_error
    for place, part in zip(error.looked_in, (str(weights_folder()), "hub", "torch"), strict=True):
        assert part in place
    assert len(error.ways) == 3
    assert official_file(SPEC).url in error.ways[1], "who has internet elsewhere needs the address"
    message = str(error)
    for part in (*error.looked_in, *error.ways, "(1)", "(2)", "(3)", "--weights", "embedded", OFFICIAL):
        assert part in message
    assert "\n" not in message
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.ways, again.looked_in) == (message, error.ways, error.looked_in)


def test_licence_of_dinov3_is_named():
    with pytest.raises(WeightsError, match="DINOv3 License"):
        load_backbone("dinov3_vits16", device="cpu")


def test_two_files_for_one_backbone_are_refused():
    touch(weights_folder() / OFFICIAL)
    touch(weights_folder() / "dinov2_vits14.safetensors")
    with pytest.raises(WeightsError, match="expected one file"):
        find_weights(SPEC)


def test_official_names_tell_their_backbone():
    assert names_for_file(OFFICIAL) == ("dinov2_vits14",)
    assert names_for_file("dinov2_vits14_reg4_pretrain.pth") == ("dinov2_vits14_reg",)
    assert names_for_file("dinov3_vits16_pretrain_lvd1689m-08c60483.pth") == ("dinov3_vits16",)
    assert names_for_file("dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth") == ("dinov3_vitl16_sat",)
    assert names_for_file("vit_small_plus_patch16_dinov3.lvd1689m.safetensors") == ("dinov3_vits16plus",)
    assert names_for_file("model.safetensors") == ()


@pytest.mark.parametrize(
    "kept_as", ["dinov2_vits14.safetensors", OFFICIAL, "facebook/dinov2-small/model.safetensors"]
)
def test_no_second_file_is_added_beside_or_over_one(tmp_path, kept_as):
    kept = touch(weights_folder() / kept_as)
    assert add_weights(kept, "dinov2_vits14") == kept
    assert add_weights(touch(tmp_path / "copy.pth"), "dinov2_vits14") == kept
    for other in ("other.safetensors", "other.pth"):
        (tmp_path / other).write_bytes(b"y")
        with pytest.raises(WeightsError, match="there already"):
            add_weights(tmp_path / other, "dinov2_vits14")
    assert find_weights(SPEC).path == kept


@pytest.mark.parametrize("content", ["x", "y"])
def test_two_that_add_at_once_leave_one_file(tmp_path, monkeypatch, content):
    """Each found none there, and after both the backbone had two files, which every later search refused."""
    first, second = touch(tmp_path / "a.pth"), touch(tmp_path / "b.safetensors")
    second.write_text(content)
    found = []

    def add_second():
        try:
            found.append(add_weights(second, SPEC.name))
        except WeightsError as error:
            found.append(str(error))

    other = threading.Thread(target=add_second)
    copy = shutil.copyfile

    def copyfile(source, target):
        if source == first:
            other.start()
            other.join(0.3)
        return copy(source, target)

    monkeypatch.setattr("shutil.copyfile", copyfile)
    kept = add_weights(first, SPEC.name)
    other.join(PATIENCE_S)
    assert find_weights(SPEC).path == kept
    assert [path.name for path in weights_folder().iterdir()] == ["dinov2_vits14.pth"]
    if content == "x":
        assert found == [kept]
    else:
        assert len(found) == 1 and "is there already. Remove it first." in found[0]


@pytest.mark.parametrize(
    "name", ["dinov2_vits14", "dinov2_vits14:last4", "timm:vit_tiny_patch16_224.augreg_in21k"]
)
def test_added_weights_are_found(tmp_path, name):
    folder = touch(tmp_path / "from_the_hub" / "model.safetensors").parent
    path = add_weights(folder, name)
    assert find_weights(find_backbone(name)).path == path
    assert add_weights(folder, name) == path
    for suffix in (".pth", ".safetensors"):
        (weights_folder() / f"dinov3_vits16{suffix}").symlink_to(
            path
        )  # Two of another backbone do not matter.
    assert add_weights(folder, name) == path


def test_backbones_of_timm_are_known_once_their_weights_were_added(tmp_path):
    name = "timm:vit_tiny_patch16_224.augreg_in21k"
    assert known_backbones() == list_backbones()
    add_weights(touch(tmp_path / "file.pth"), name)
    assert known_backbones() == (*list_backbones(), find_backbone(name))
    touch(weights_folder() / "timm_vit_tiny_patch16_224.augreg_in1k.txt")
    assert known_backbones() == (*list_backbones(), find_backbone(name)), "a note holds no weights"


def test_a_checkpoint_of_several_files_is_added_as_one(state, tmp_path):
    index = save_in_parts(state, tmp_path)
    path = add_weights(index, "dinov2_vits14")
    assert path.name == "dinov2_vits14.safetensors"
    assert (
        check_weights("dinov2_vits14", path).weights_sha256
        == check_weights("dinov2_vits14", index).weights_sha256
    )


@pytest.mark.parametrize("fault", ["a folder", "a link to nothing"])
def test_what_only_bears_an_official_name_hides_no_file_behind_it(tmp_path, fault):
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    for folder in (cache, weights_folder()):
        folder.mkdir(parents=True)
        if fault == "a folder":
            (folder / OFFICIAL).mkdir()
        else:
            (folder / OFFICIAL).symlink_to(tmp_path / "nowhere")
    assert local_weights(SPEC) is None
    behind = touch(cache / "dinov2_vits14_pretrain_copy.pth")
    assert local_weights(SPEC).path == behind


def test_a_cached_index_without_its_parts_hides_no_file_behind_it(tmp_path):
    index = put_in_hub_cache("facebook/dinov2-small", "model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    assert local_weights(SPEC) is None
    touch(index.with_name("part.safetensors"))
    assert local_weights(SPEC).path == index


def test_eupe_s_own_file_is_found_in_torch_hub_s_cache(tmp_path):
    path = touch(tmp_path / "torch" / "hub" / "checkpoints" / "EUPE-ViT-T.pt")
    assert local_weights(find_backbone("eupe_vitt16")).path == path
    with pytest.raises(WeightsNotFoundError, match=r"EUPE-ViT-S\.pt of Meta's release"):
        find_weights(find_backbone("eupe_vits16"))


def test_a_settings_folder_that_cannot_be_looked_into_is_named(tmp_path, monkeypatch):
    # Of a name that is too long Windows says that there is none.
    closed = [touch(tmp_path / "w.pth"), *([tmp_path / ("x" * 300)] if sys.platform != "win32" else [])]
    for folder in closed:
        monkeypatch.setenv("DINOAD_WEIGHTS", str(folder))
        for search in (known_backbones, lambda: local_weights(SPEC)):
            with pytest.raises(WeightsError, match=r"cannot be looked into.*DINOAD_WEIGHTS"):
                search()


def test_a_file_that_may_not_be_opened_is_not_told_as_damaged(tmp_path, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    path = touch(tmp_path / "w.pth")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightsError, match=r"cannot be opened.*Ask for access"):
        checkpoint.read_checkpoint(path)


def test_a_full_disk_is_told_where_parts_are_put_together(state, tmp_path, monkeypatch):
    def fill(*arguments):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    index = save_in_parts(state, tmp_path)
    monkeypatch.setattr("safetensors.torch.save_file", fill)
    with pytest.raises(DinoadError, match=r"No space left.*Free disk space"):
        add_weights(index, SPEC.name)
    assert list(weights_folder().iterdir()) == []


def test_a_settings_folder_that_takes_no_file_is_told_with_how_to_name_another(state, tmp_path, monkeypatch):
    def fill(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "model.safetensors"
    save_file(state, file)
    monkeypatch.setattr("shutil.copyfile", fill)
    with pytest.raises(
        WeightsError, match=r"No space left on device.*the environment variable DINOAD_WEIGHTS"
    ):
        add_weights(file, SPEC.name)
    assert list(weights_folder().iterdir()) == []


def test_missing_path_and_empty_folder_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pth is not there"):
        find_weights(SPEC, tmp_path / "nowhere.pth")
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        find_weights(SPEC, tmp_path)


def test_embedded_takes_no_weights(tmp_path):
    with pytest.raises(BackboneError, match="takes none"):
        load_backbone("embedded", tmp_path / "x.pth")


@pytest.fixture
def state(tiny_timm):
    return to_meta(make_model(SPEC).state_dict())


def save_in_parts(state, folder):
    """Save weights in two files and return their index."""
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, keys in parts.items():
        save_file({key: state[key].contiguous() for key in keys}, folder / part)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: part for part, keys in parts.items() for key in keys}}))
    return index


def test_a_good_file_is_verified(state, tmp_path):
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "wrapped.pth")
    save_file(state, tmp_path / "plain.safetensors")
    hashes = {
        check_weights("dinov2_vits14", path).weights_sha256 for path in tmp_path.iterdir() if path.is_file()
    }
    assert len(hashes) == 1


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_code_in_a_pickle_is_refused_and_not_run(tiny_timm, tmp_path):
    target = tmp_path / "made_by_the_pickle"
    torch.save({"weights": Malicious(str(target))}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="nothing of it was run"):
        load_backbone("dinov2_vits14", tmp_path / "evil.pth", "cpu")
    assert not target.exists()


def test_truncated_files_are_refused(state, tmp_path):
    torch.save(state, tmp_path / "whole.pth")
    save_file(state, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        content = (tmp_path / name).read_bytes()
        for share in (0.0, 0.1, 0.9):
            cut = tmp_path / f"cut_{share}_{name}"
            cut.write_bytes(content[: int(len(content) * share)])
            with pytest.raises(WeightsError, match=r"cut short|damaged"):
                load_backbone("dinov2_vits14", cut, "cpu")


def test_a_file_for_which_memory_is_too_small_is_not_told_as_damaged(state, tmp_path, monkeypatch):
    def mapping(path, framework):
        raise RuntimeError(f"unable to mmap 88 bytes from file <{path}>: Cannot allocate memory (12)")

    save_file(state, tmp_path / "w.safetensors")
    monkeypatch.setattr(checkpoint, "safe_open", mapping)
    with pytest.raises(RuntimeError, match="Cannot allocate memory"):
        checkpoint.read_checkpoint(tmp_path / "w.safetensors")


def test_the_network_takes_the_tensors_that_were_read(state, tmp_path):
    """Made with values of its own and filled from them, the largest took 9.6 GB for a file of 4.5."""
    tensors = {key: value.clone() for key, value in state.items()}
    model = model_with_weights(SPEC, tensors, tmp_path / "w.pth")
    assert {value.data_ptr() for value in model.state_dict().values()} <= {
        value.data_ptr() for value in tensors.values()
    }


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov3_vits16", "eupe_vitt16", "dinov3_convnext_tiny"])
def test_what_no_file_holds_is_computed(tiny_timm, tmp_path, name):
    spec = find_backbone(name)
    whole = make_model(spec)
    filled = model_with_weights(spec, whole.state_dict(), tmp_path / "w.pth")
    expected = dict(whole.named_buffers())
    for key, value in filled.named_buffers():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=0)
    assert not any(value.is_meta for value in filled.parameters())


def test_a_file_may_change_once_it_was_read(state, tmp_path):
    """Mapped files did what happened to them to the weights in use, and cut short they ended the process."""
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    tensors = checkpoint.read_checkpoint(path)
    with path.open("r+b") as stream:
        stream.seek(-4 * 48, os.SEEK_END)
        stream.write(b"x" * (4 * 48))
    assert all(torch.equal(value, state[key]) for key, value in tensors.items())


def test_a_file_that_is_changed_while_it_is_read_is_refused(state, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    copied = checkpoint._copied

    def copied_meanwhile(file, name):
        os.utime(file, (0, 0))
        return copied(file, name)

    monkeypatch.setattr(checkpoint, "_copied", copied_meanwhile)
    with pytest.raises(WeightsError, match="changed while it was read"):
        checkpoint.read_checkpoint(path)


def test_missing_surplus_and_misshapen_tensors_are_named(state, tmp_path):
    faulty = {
        "missing": {key: value for key, value in state.items() if key != "norm.bias"},
        "surplus": {**state, "extra.weight": torch.zeros(2)},
        "another shape": {**state, "norm.bias": torch.zeros(7)},
    }
    for fault, tensors in faulty.items():
        torch.save(tensors, tmp_path / "faulty.pth")
        with pytest.raises(WeightsError, match=fault):
            load_backbone("dinov2_vits14", tmp_path / "faulty.pth", "cpu")


@pytest.mark.parametrize("fault", [float("nan"), float("inf"), "int8"])
def test_values_that_no_network_computes_with_are_refused(state, tmp_path, fault):
    key = "blocks.1.mlp.fc1.weight"
    state[key] = (state[key] * 100).to(torch.int8) if fault == "int8" else state[key].clone()
    if fault != "int8":
        state[key][0, 0] = fault
    save_file(state, tmp_path / "faulty.safetensors")
    with pytest.raises(WeightsError, match=rf"cannot be used: of 1 tensors .* \({key}\)"):
        check_weights("dinov2_vits14", tmp_path / "faulty.safetensors")


def test_weights_of_another_network_are_described(state, tmp_path):
    torch.save(state, tmp_path / OFFICIAL)
    for name in ("dinov2_vits14_reg", "dinov3_vits16", "dinov3_convnext_tiny"):
        with pytest.raises(WeightsError, match=r"embeddings of length 48, 2 blocks, patches of 14 px"):
            load_backbone(name, tmp_path / OFFICIAL, "cpu")


def test_a_file_of_something_else_is_refused(tiny_timm, tmp_path):
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"no vision transformer or ConvNeXt of DINO's"):
        load_backbone("dinov2_vits14", tmp_path / "other.pth", "cpu")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds a list"):
        load_backbone("dinov2_vits14", tmp_path / "list.pth", "cpu")
    (tmp_path / "text.pth").write_text("not weights at all, but long enough to look into")
    with pytest.raises(WeightsError):
        load_backbone("dinov2_vits14", tmp_path / "text.pth", "cpu")


def test_the_hash_in_an_official_name_is_checked(state, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    stem = "dinov3_vits16_pretrain_lvd1689m"
    good, bad = tmp_path / f"{stem}-{digest[:8]}.pth", tmp_path / f"{stem}-{'0' * 8}.pth"
    dated = tmp_path / "dinov2_vits14-20240115.pth"
    for path in (good, bad, dated):
        path.write_bytes((tmp_path / "weights.pth").read_bytes())
    for path in (good, dated):
        assert load_backbone("dinov2_vits14", path, "cpu").weights_file == path
    with pytest.raises(WeightsError, match="SHA-256 beginning with 00000000"):
        load_backbone("dinov2_vits14", bad, "cpu")


def test_a_checkpoint_of_several_files_is_read_and_stays_in_its_folder(state, tmp_path):
    index = save_in_parts(state, tmp_path)
    save_file(state, tmp_path / "one.safetensors")
    assert (
        check_weights("dinov2_vits14", index).weights_sha256
        == check_weights("dinov2_vits14", tmp_path / "one.safetensors").weights_sha256
    )
    index.write_text(json.dumps({"weight_map": {"x": "../one.safetensors"}}))
    with pytest.raises(WeightsError, match="outside its folder"):
        check_weights("dinov2_vits14", index)


@pytest.mark.parametrize(
    ("stem", "suffix", "told"),
    [
        ("model", "safetensors", r"Give their index \(model\.safetensors\.index\.json\), or the folder"),
        ("pytorch_model", "bin", "get the safetensors"),
    ],
)
def test_one_part_alone_is_told_as_that(state, tmp_path, stem, suffix, told):
    part, only = (tmp_path / f"{stem}-00001-of-0000{n}.{suffix}" for n in (2, 1))
    (save_file if suffix == "safetensors" else torch.save)(state, part)
    with pytest.raises(WeightsError, match=rf"is one part of 2\. .*{told}"):
        recognise_weights(part)
    part.rename(only)
    check_weights("dinov2_vits14", only)


def test_a_renamed_part_has_no_patches_of_0_px(state, tmp_path):
    save_file(
        {key: state[key] for key in state if not key.startswith("patch_embed")}, tmp_path / "w.safetensors"
    )
    with pytest.raises(WeightsError, match=r"no patch embedding \(one part of several\?\)"):
        check_weights("dinov2_vits14", tmp_path / "w.safetensors")


def test_a_flipped_bit_is_found_by_the_checksums_of_a_pth(state, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    place = content.index(state["blocks.1.mlp.fc1.weight"].numpy().tobytes()) + 100
    content[place] ^= 1
    path.write_bytes(content)
    for using in (check_weights, partial(load_backbone, device="cpu")):
        with pytest.raises(
            WeightsError, match=r"w\.pth is damaged: the checksum of w/data/\d+ .*Download it again"
        ):
            using("dinov2_vits14", path)


def test_a_pth_that_was_saved_without_checksums_is_taken(state, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    check_weights("dinov2_vits14", tmp_path / "w.pth")


def test_names_of_official_files_carry_their_hash_or_it_is_known():
    for spec in list_backbones():
        official = official_file(spec)
        if spec.family in ("embedded", "EUPE"):
            assert official is None
            continue
        assert names_for_file(official.name) == (spec.name,)
        assert bytes.fromhex(official.sha256)
        if spec.family == "DINOv2":
            assert len(official.sha256) == 64
            assert official.url.endswith(f"/{spec.name.removesuffix('_reg')}/{official.name}")
        else:
            assert official.name.endswith(f"-{official.sha256}.pth")
            assert official.url is None
    hashes = [official_file(spec).sha256 for spec in list_backbones() if official_file(spec)]
    assert len(set(hashes)) == len(hashes)


def test_a_file_is_recognised_by_its_tensors_and_described(tmp_path):
    torch.save(to_meta(make_model(SPEC).state_dict()), tmp_path / "renamed.pth")
    assert recognise_weights(tmp_path / "renamed.pth") == ("dinov2_vits14",)
    checked = check_weights("dinov2_vits14", tmp_path / "renamed.pth")
    assert checked.layout == "meta"
    assert checked.is_official is False
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no vision transformer"):
        recognise_weights(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("fault", "told"),
    [("missing", r"1 tensors are missing \(norm\.bias\)"), ("surplus", r"1 tensors are surplus \(x\)")],
)
def test_what_is_wrong_with_a_renamed_file_is_told(tmp_path, fault, told):
    state = make_model(SPEC).state_dict()
    if fault == "missing":
        del state["norm.bias"]
    else:
        state["x"] = torch.zeros(2)
    torch.save(state, tmp_path / "renamed.pth")
    with pytest.raises(WeightsError, match=rf"\(dinov2_vits14\).*{told}"):
        recognise_weights(tmp_path / "renamed.pth")


def test_the_classifier_of_a_supervised_transformer_is_left_out(tiny_timm, tmp_path):
    name = "timm:vit_tiny_patch16_224.augreg_in21k"
    state = make_model(find_backbone(name)).state_dict()
    torch.save(
        {**state, "head.weight": torch.zeros(5, 48), "head.bias": torch.zeros(5)}, tmp_path / "vit.pth"
    )
    assert load_backbone(name, tmp_path / "vit.pth", "cpu").embedding_dim == 48

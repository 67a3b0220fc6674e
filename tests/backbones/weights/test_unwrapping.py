"""The network in what a training script saved."""

from __future__ import annotations

import argparse
import os

import pytest
import torch
from safetensors.torch import save_file

from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.timm_vit import make_model
from napari_dinoad.backbones.weights.matching import check_weights
from napari_dinoad.errors import WeightsError
from tiny_networks import to_meta

NAME = "dinov2_vits14"
HEADS = {"dino_head.last_layer.weight": torch.ones(4, 4), "ibot_head.mlp.0.bias": torch.ones(4)}


@pytest.fixture
def state(tiny_timm):
    return to_meta(make_model(find_backbone(NAME)).state_dict())


def before(prefix, tensors):
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def trained(state):
    """Return a backbone under its heads, and what a student of it may be."""
    teacher = {**before("backbone.", state), **HEADS}
    return teacher, {key: value + 1 for key, value in teacher.items()}


def in_chunks(state):
    """Two blocks in two chunks: the second one's first is an identity, without tensors."""
    return {
        key.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): state[key]
        for key in state
    }


CHECKPOINTS = {
    "teacher": lambda teacher, student: {"teacher": teacher},
    "both": lambda teacher, student: {"student": before("module.", student), "teacher": teacher, "epoch": 3},
    "flat": lambda teacher, student: {
        **before("student.", student),
        **before("teacher.", teacher),
        "dino_loss.center": torch.zeros(1, 4),
    },
    "flat under model": lambda teacher, student: {
        "model": {**before("student.", student), **before("teacher.", teacher)},
        "iteration": 7,
    },
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_the_teacher_s_backbone_is_taken_from_a_training_checkpoint(state, tmp_path, kind, chunked):
    save_file(state, tmp_path / "alone.safetensors")
    torch.save(CHECKPOINTS[kind](*trained(in_chunks(state) if chunked else state)), tmp_path / "trained.pth")
    got, expected = (check_weights(NAME, tmp_path / name) for name in ("trained.pth", "alone.safetensors"))
    assert got.weights_sha256 == expected.weights_sha256


@pytest.mark.parametrize("flat", [False, True])
def test_a_student_without_its_teacher_is_refused(state, tmp_path, flat):
    student = trained(state)[1]
    torch.save(before("student.", student) if flat else {"student": student}, tmp_path / "trained.pth")
    with pytest.raises(
        WeightsError, match=r"holds the student without its teacher.*backbone alone as safetensors"
    ):
        check_weights(NAME, tmp_path / "trained.pth")


def test_a_backbone_beside_other_things_than_heads_is_not_taken(state, tmp_path):
    torch.save({**before("backbone.", state), "decode_head.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not hold"):
        check_weights(NAME, tmp_path / "other.pth")


def test_settings_named_as_weights_hide_none(state, tmp_path):
    torch.save({"model": {"depth": 2}, "state_dict": state}, tmp_path / "w.pth")
    check_weights(NAME, tmp_path / "w.pth")


@pytest.mark.parametrize(
    "others", [("model", "model_ema"), ("state_dict", "state_dict_ema"), ("model", "ema")]
)
def test_of_several_networks_none_is_taken_silently(state, tmp_path, others):
    averaged = {key: value + 1 for key, value in state.items()}
    torch.save({others[0]: state, others[1]: averaged, "epoch": 1}, tmp_path / "w.pth")
    with pytest.raises(
        WeightsError, match=rf"several networks \('{others[0]}' and '{others[1]}'\).*Save the one"
    ):
        check_weights(NAME, tmp_path / "w.pth")


def test_an_averaged_network_that_was_not_kept_hides_none(state, tmp_path):
    torch.save({"model": state, "model_ema": None, "ema": {}}, tmp_path / "w.pth")
    check_weights(NAME, tmp_path / "w.pth")


def test_arguments_that_a_training_script_saved_beside_are_passed_over(state, tmp_path):
    """DINO, iBOT and MAE save the namespace of their command line."""
    teacher, student = trained(state)
    arguments = argparse.Namespace(lr=1e-3, arch="vit_small", nested=argparse.Namespace(x=[1, (2, None)]))
    torch.save({"teacher": teacher, "student": student, "args": arguments}, tmp_path / "w.pth")
    torch.save(state, tmp_path / "plain.pth")
    taken, plain = (check_weights(NAME, tmp_path / name) for name in ("w.pth", "plain.pth"))
    assert taken.weights_sha256 == plain.weights_sha256


def test_what_else_lies_in_a_namespace_is_refused_and_not_run(state, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "run"),))

    torch.save({"teacher": state, "args": argparse.Namespace(x=Harmful())}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="code or objects"):
        check_weights(NAME, tmp_path / "w.pth")
    assert not (tmp_path / "run").exists()

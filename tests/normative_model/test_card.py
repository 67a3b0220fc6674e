"""A model's card from its file alone: the same as that of the loaded model, without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file, safe_open

from napari_dinoad import NormativeModel
from napari_dinoad.cli.main import main
from napari_dinoad.errors import ModelFileError
from napari_dinoad.normative_model import card as model_card
from napari_dinoad.normative_model import file as model_file
from napari_dinoad.normative_model.card import stored_card
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.settings import ArCnnSettings, DpmmSettings, FitSettings, PreprocessingSettings


@pytest.fixture(scope="module", params=["dpmm", "memory-bank", "dpmm+ar-cnn"])
def model_path(request, normal_folder, tmp_path_factory):
    plane = "all" if request.param == "memory-bank" else "axial"
    settings = FitSettings(
        scorer=request.param,
        preprocessing=PreprocessingSettings("mr-brain", "robust-percentiles", plane=plane, resolution_px=64),
        dpmm=DpmmSettings(n_components=5, epochs=2),
        ar_cnn=ArCnnSettings(epochs=1),
    )
    return fit_folder(normal_folder, settings).save(tmp_path_factory.mktemp("model") / "m.dinoad")


def test_it_is_that_of_the_loaded_model(model_path):
    assert json.dumps(stored_card(model_path)) == json.dumps(NormativeModel.load(model_path).card())


def test_info_needs_no_torch(model_path):
    """To import it took seconds and half a gigabyte, for a page of text."""
    code = (
        "import sys; from napari_dinoad.cli.main import main; "
        f"assert main(['info', {str(model_path)!r}]) == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "smallest_scan_p_value: " in done.stdout


def test_a_damaged_file_is_told_as_loading_tells_it(model_path, tmp_path, capsys):
    content = bytearray(model_path.read_bytes())
    content[-1000] ^= 0x80
    damaged = tmp_path / "m.dinoad"
    damaged.write_bytes(bytes(content))
    assert stored_card(damaged) is None
    assert main(["info", str(damaged)]) == 2
    assert "damaged or changed since it was written" in capsys.readouterr().err


def test_what_is_no_model_is_refused_in_the_same_words(model_path, tmp_path):
    cut = tmp_path / "cut.dinoad"
    cut.write_bytes(model_path.read_bytes()[:5000])
    for path in (tmp_path / "none.dinoad", cut):
        words = []
        for read in (stored_card, NormativeModel.load):
            with pytest.raises(ModelFileError) as caught:
                read(path)
            words.append(str(caught.value))
        assert words[0] == words[1]


def test_a_file_of_another_version_is_left_to_loading(model_path, tmp_path, monkeypatch, capsys):
    with safe_open(model_path, framework="pt") as stored:
        document = json.loads(stored.metadata()["napari_dinoad"])
    del document["sha256"]
    document["provenance"]["versions"]["napari-dinoad"] = "9.1.0"
    document["colour"] = "red"
    newer = tmp_path / "m.dinoad"
    model_file.write_model_file(newer, document, load_file(model_path))
    assert main(["info", str(newer)]) == 2
    assert "written by a newer version" in capsys.readouterr().err
    monkeypatch.setattr(model_card, "__version__", "8.0")
    assert stored_card(model_path) is None


def test_a_file_that_says_what_no_model_says_is_left_to_loading(model_path, tmp_path):
    with safe_open(model_path, framework="pt") as stored:
        document = json.loads(stored.metadata()["napari_dinoad"])
    del document["sha256"]
    document["preprocessing"]["plane"] = "radial"
    model_file.write_model_file(tmp_path / "m.dinoad", document, load_file(model_path))
    assert stored_card(tmp_path / "m.dinoad") is None

"""The window that helps to get missing weights."""

from __future__ import annotations

from types import SimpleNamespace

import huggingface_hub.constants
import pytest
from qtpy.QtWidgets import QFileDialog, QLabel

from napari_dinoad.errors import WeightsError, WeightsNotFoundError
from napari_dinoad.gui.models.weights_dialog import GetWeightsJob, WeightsDialog

WAYS = ("run 'dinoad weights get'", "download F, bring it here and name it with --weights FILE.", "add it")


@pytest.fixture
def dialog(qtbot):
    shown = WeightsDialog(WeightsNotFoundError("dinov2_vits14", "Apache-2.0", ("here",), "no network", WAYS))
    qtbot.addWidget(shown)
    return shown


def test_a_download_that_fails_does_not_repeat_the_window(monkeypatch, tmp_path):
    monkeypatch.setenv("DINOAD_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as caught:
        GetWeightsJob("dinov2_vits14").work(SimpleNamespace(progress=lambda event: None))
    assert str(caught.value).startswith("Downloading failed: downloads are switched off")
    assert "--weights" not in str(caught.value)
    assert "Looked in" not in str(caught.value)


def test_the_file_is_chosen_not_named_by_an_option(dialog):
    text = " ".join(label.text() for label in dialog.findChildren(QLabel))
    assert "download F, bring it here and choose it." in text
    assert "--" not in text


def test_an_index_of_parts_can_be_chosen(dialog, monkeypatch):
    asked = []
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *given: (asked.append(given), ("", ""))[1])
    dialog.file_button.click()
    assert "*.safetensors.index.json" in asked[0][-1]

"""The models at hand: what their files say, and in which order they are offered."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors.torch import load_file, safe_open, save_file

from napari_dinoad.errors import ModelFileError, SettingError
from napari_dinoad.gui.models.model_library import ModelLibrary, path_of_new_model, read_model_summary
from refused_files import refuse_opening


def test_summary_says_what_the_card_says(model_path):
    from napari_dinoad.normative_model.model import NormativeModel

    summary = read_model_summary(model_path)
    card = NormativeModel.load(model_path).card()
    assert summary.scorer == card["scorer"]
    assert summary.backbone == card["backbone"]["name"]
    assert summary.preset == card["preprocessing"]["preset"]
    assert (summary.n_scans, summary.n_slices) == (card["n_scans"], card["n_slices"])
    assert summary.created.isoformat() == card["created"]
    assert "4 normal scans" in summary.describe()
    assert (summary.backbone == "embedded") == ("hardly finds dark or smooth lesions" in summary.describe())
    assert "no DINO: hardly finds" in replace(summary, backbone="embedded").describe()
    assert "DINO" not in replace(summary, backbone="dinov2_vits14").describe()


def test_summary_says_how_wide_the_normal_scans_are(model_path, tmp_path):
    from napari_dinoad.normative_model.cohort_norms import CohortNorms, FigureNorm
    from napari_dinoad.normative_model.model import NormativeModel

    assert len(read_model_summary(model_path).widths_mm) == 1
    wide = CohortNorms({"body_mm_side to side": FigureNorm(9, 387.0, 1.0, 380.0, 390.0)})
    model = replace(NormativeModel.load(model_path), cohorts=(CohortNorms(), wide))
    model.save(tmp_path / "wide.dinoad")
    assert read_model_summary(tmp_path / "wide.dinoad").widths_mm == (387.0,)


def test_summary_needs_no_torch(model_path):
    code = (
        "import sys; from napari_dinoad.gui.models.model_library import read_model_summary; "
        f"read_model_summary({str(model_path)!r}); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_refused_in_plain_words(tmp_path, caplog, content):
    path = tmp_path / "x.dinoad"
    path.write_bytes(content)
    with caplog.at_level(logging.INFO), pytest.raises(ModelFileError) as caught:
        read_model_summary(path)
    assert str(caught.value) == (
        f"{path}: not a model of napari-dinoad, or one that is damaged or cut short. Choose a .dinoad file, "
        "copy this one again, or fit it again."
    )
    assert "Error" in caplog.text
    with pytest.raises(ModelFileError, match="no such file"):
        read_model_summary(tmp_path / "y.dinoad")


def test_a_model_of_another_version_and_one_that_may_not_be_opened(tmp_path, model_path, monkeypatch):
    with safe_open(model_path, framework="pt") as stored:
        document = {**json.loads(stored.metadata()["napari_dinoad"]), "format_version": 4}
    tensors = load_file(model_path)
    save_file(tensors, tmp_path / "old.dinoad", {"napari_dinoad": json.dumps(document)})
    with pytest.raises(ModelFileError, match=r"expected version 6, got 4: .* earlier .* Fit the model again"):
        read_model_summary(tmp_path / "old.dinoad")
    document["format_version"] = 7
    others = {f"of_version_7.{name}": tensor for name, tensor in tensors.items()}
    save_file(others, tmp_path / "new.dinoad", {"napari_dinoad": json.dumps(document)})
    with pytest.raises(ModelFileError, match=r"got 7: .* newer version of napari-dinoad\. Upgrade"):
        read_model_summary(tmp_path / "new.dinoad")
    refuse_opening(model_path, monkeypatch)
    with pytest.raises(ModelFileError, match="cannot be opened"):
        read_model_summary(model_path)


def test_models_used_last_come_first_and_what_cannot_be_read_is_left_out(tmp_path, model_path):
    library = ModelLibrary(tmp_path / "models")
    assert library.models() == []
    elsewhere = tmp_path / "elsewhere.dinoad"
    shutil.copy(model_path, elsewhere)
    library.remember(elsewhere)
    for name in "ab":
        shutil.copy(model_path, library.folder / f"{name}.dinoad")
    (library.folder / "broken.dinoad").write_text("no")
    assert {summary.name for summary in library.models()} == {"elsewhere", "a", "b"}
    assert library.models()[0].name == "elsewhere"
    library.remember(library.folder / "b.dinoad")
    assert [summary.name for summary in library.models()] == ["b", "elsewhere", "a"]
    elsewhere.unlink()
    assert [summary.name for summary in library.models()] == ["b", "a"]


def test_free_path_is_free(tmp_path):
    library = ModelLibrary(tmp_path)
    assert library.free_path("x").name == "x.dinoad"
    (tmp_path / "x.dinoad").touch()
    assert library.free_path("x").name == "x-2.dinoad"


def test_free_path_is_one_in_the_folder_whatever_the_name(tmp_path):
    library = ModelLibrary(tmp_path)
    for stem in ("../up", "x" * 300, "a/b"):
        path = library.free_path(stem)
        path.touch()
        assert path.parent == tmp_path
    assert len(list(tmp_path.iterdir())) == 3


def test_typed_name_of_a_model_gets_its_ending(tmp_path):
    for text in (tmp_path / "m", tmp_path / "m.dinoad"):
        assert path_of_new_model(f" {text} ") == tmp_path / "m.dinoad"
    assert path_of_new_model(str(tmp_path / "v1.2")) == tmp_path / "v1.2.dinoad"
    assert path_of_new_model(str(tmp_path / "none" / "m")) == tmp_path / "none" / "m.dinoad"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got none"),
        (" ", "got none"),
        ("/", "the folder"),
        (".", "the folder"),
        ("..", "the folder"),
        ("{tmp_path}", "the folder"),
        ("{tmp_path}/none/", "the folder"),
        ("x" * 201, "at most"),
        ("{tmp_path}/" + "x" * 300 + "/m", "no file can have"),
        ("a\0b", "control characters"),
        ("~no-such-user-here/m", "no file can have"),
    ],
)
def test_names_that_no_model_can_have_are_told_in_one_line(tmp_path, text, words):
    with pytest.raises(SettingError, match=f"Save as: .*{words}"):
        path_of_new_model(text.replace("{tmp_path}", str(tmp_path)))


def test_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path, model_path, caplog):
    (tmp_path / "file").touch()
    ModelLibrary(tmp_path / "file").remember(model_path)
    assert "not saved" in caplog.text


def of_version(version, model_path, path):
    with safe_open(model_path, framework="pt") as stored:
        document = {**json.loads(stored.metadata()["napari_dinoad"]), "format_version": version}
    save_file(load_file(model_path), path, {"napari_dinoad": json.dumps(document)})


def test_models_that_cannot_be_read_are_named(tmp_path, model_path):
    library = ModelLibrary(tmp_path)
    of_version(4, model_path, tmp_path / "old.dinoad")
    shutil.copy(model_path, tmp_path / "m.dinoad")
    library.remember(tmp_path / "gone.dinoad")
    models, faults = library.look()
    assert [model.name for model in models] == ["m"]
    assert [str(fault).split(": ")[0] for fault in faults] == [str(tmp_path / "old.dinoad")]
    assert models == library.models()


def test_what_macos_keeps_beside_a_model_is_none(tmp_path, model_path):
    """On disks of other systems; nor is a model that is being written, which has such a name too."""
    shutil.copy(model_path, tmp_path / "m.dinoad")
    (tmp_path / "._m.dinoad").write_bytes(b"\x00\x05\x16\x07" + bytes(200))
    models, faults = ModelLibrary(tmp_path).look()
    assert [model.name for model in models] == ["m"] and faults == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "5",
        "null",
        '{"a": 1}',
        "[1, 2]",
        "[null]",
        '["a\\u0000b.dinoad"]',
        json.dumps(["x" * 5000]),
        '"text"',
    ],
)
def test_a_damaged_list_of_recent_models_is_done_without(tmp_path, model_path, content):
    shutil.copy(model_path, tmp_path / "m.dinoad")
    (tmp_path / "recent.json").write_text(content)
    library = ModelLibrary(tmp_path)
    assert [model.name for model in library.models()] == ["m"]
    library.remember(tmp_path / "m.dinoad")
    assert [model.name for model in library.models()] == ["m"]
    assert library.look()[1] == []


def test_the_dock_names_models_of_an_earlier_version(dock, model_path):
    folder = dock.session.library.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("old", "older"):
        of_version(4, model_path, folder / f"{name}.dinoad")
    dock.normal.reload()
    assert "No model yet" in dock.normal.about.text()
    told = dock.normal.not_listed.text()
    assert told.startswith("Not listed: old.dinoad: model format: expected version 6, got 4")
    assert "And 1 more" in dock.normal.not_listed.text()
    assert "older.dinoad" in dock.normal.not_listed.toolTip()
    assert not dock.normal.not_listed.isHidden()
    for path in folder.glob("old*"):
        path.unlink()
    dock.normal.reload()
    assert dock.normal.not_listed.isHidden()

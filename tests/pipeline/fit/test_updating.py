"""Scans added to a model without those that it was fitted on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_dinoad import NormativeModel, update_model
from napari_dinoad.cli.main import main
from napari_dinoad.errors import Cancelled, ModelFileError, ScanReadError, SettingError
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.pipeline.cohort.work_folder import WorkFolder
from napari_dinoad.pipeline.fit import fitting, held_out_scans, updating
from napari_dinoad.pipeline.fit.merging import with_earlier_counts
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.settings import (
    CacheSettings,
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)

SETTINGS = FitSettings(
    preprocessing=replace(preset("mr-brain"), resolution_px=96),
    calibration=CalibrationSettings(folds=2),
    dpmm=DpmmSettings(n_components=30, epochs=3, tolerance=0, start_patches_per_component=10),
    memory_bank=MemoryBankSettings(n_patches=50),
)
UPDATE = FitSettings(calibration=SETTINGS.calibration)


@pytest.fixture(scope="module")
def folders(normal_folder, tmp_path_factory):
    """Six heads: the first three, and the others."""
    scans = sorted(normal_folder.iterdir())
    made = []
    for name, own in (("before", scans[:3]), ("after", scans[3:])):
        folder = tmp_path_factory.mktemp(name)
        for scan in own:
            (folder / scan.name).symlink_to(scan)
        made.append(folder)
    return made


@pytest.fixture(scope="module")
def earlier_path(folders):
    return fit_folder(folders[0], SETTINGS).save(folders[0].with_suffix(".dinoad"))


@pytest.fixture(scope="module")
def updated(folders, earlier_path):
    return update_model(NormativeModel.load(earlier_path), folders[1], UPDATE)


def test_the_updated_model_rests_on_all_scans(updated, earlier_path, normal_folder):
    earlier = NormativeModel.load(earlier_path)
    assert updated.provenance.n_scans == 6
    assert updated.calibration.n_scans == 6
    assert updated.calibration.n_voxels > earlier.calibration.n_voxels
    assert updated.preprocessing == earlier.preprocessing
    assert len(updated.fit_report.scans) == 3
    whole = fit_folder(normal_folder, SETTINGS)
    assert updated.scorer.n_patches == whole.scorer.n_patches
    assert updated.provenance.n_slices == whole.provenance.n_slices
    ours, theirs = (np.median(model.calibration.scan_scores) for model in (updated, whole))
    assert ours == pytest.approx(theirs, rel=0.25)


@pytest.mark.parametrize("asked", [True, False])
def test_whether_slices_are_compared_with_alike_ones_is_the_models_own(folders, monkeypatch, asked):
    """The command line takes no other choice; a model of too few persons for it has made none."""
    monkeypatch.setattr(held_out_scans, "MIN_PERSONS", 3)
    monkeypatch.setattr(updating, "MIN_PERSONS", 3)
    chosen = replace(SETTINGS.calibration, slice_levels=asked)
    earlier = fit_folder(folders[0], replace(SETTINGS, calibration=chosen))
    assert bool(earlier.planes[0].levels) == asked
    other = replace(UPDATE, calibration=replace(chosen, slice_levels=not asked))
    assert bool(update_model(earlier, folders[1], other).planes[0].levels) == asked
    with monkeypatch.context() as context:
        context.setattr(updating, "MIN_PERSONS", 4)
        assert update_model(earlier, folders[1], other).planes[0].levels


def test_an_updated_model_tells_how_old_and_new_scans_were_read(updated, earlier_path):
    earlier = NormativeModel.load(earlier_path)
    old, new = (
        replace(earlier.provenance, reading=("one", "both")),
        replace(updated.provenance, reading=("both", "new")),
    )
    joined = with_earlier_counts(replace(updated, provenance=new), replace(earlier, provenance=old), None)
    assert joined.provenance.reading == ("one", "both", "new")


def test_an_interrupted_update_goes_on_to_the_same_model(updated, folders, earlier_path, tmp_path):
    cache = CacheSettings(folder=str(tmp_path / "cache"))
    seen = []

    def stop(event):
        seen.append(event.stage)
        if "Fitting DPMM" in event.stage and seen.count(event.stage) == 2:
            raise Cancelled("stop")

    earlier = NormativeModel.load(earlier_path)
    with pytest.raises(Cancelled):
        update_model(earlier, folders[1], UPDATE, stop, cache)
    resumed = update_model(earlier, folders[1], UPDATE, cache=cache)
    assert updated.path is None  # It is another model than the earlier one's file.
    for name, tensor in updated.scorer.state().tensors.items():
        assert np.array_equal(resumed.scorer.state().tensors[name].numpy(), tensor.numpy()), name
    np.testing.assert_array_equal(resumed.calibration.table_scores, updated.calibration.table_scores)


def test_an_update_that_was_stopped_late_clusters_the_new_patches_no_more(
    updated, folders, earlier_path, tmp_path, monkeypatch
):
    cache = CacheSettings(folder=str(tmp_path / "cache"))
    clustered, n_clustered = DpmmScorer.clustered, []

    def counted(*args, **kwargs):
        n_clustered.append(1)
        return clustered(*args, **kwargs)

    def stop(*_):
        raise Cancelled("stop")

    monkeypatch.setattr(DpmmScorer, "clustered", counted)
    earlier = NormativeModel.load(earlier_path)
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(fitting, "report_of_fit", stop)
        update_model(earlier, folders[1], UPDATE, cache=cache)
    resumed = update_model(earlier, folders[1], UPDATE, cache=cache)
    assert len(n_clustered) == 1
    np.testing.assert_array_equal(resumed.calibration.table_scores, updated.calibration.table_scores)


def test_an_update_that_is_to_keep_no_patches_keeps_none_of_before(updated, folders, earlier_path):
    earlier = NormativeModel.load(earlier_path)
    assert len(updated.planes[0].patches) > len(earlier.planes[0].patches) > 0
    chosen = replace(UPDATE, calibration=replace(UPDATE.calibration, n_kept_patches=0))
    without = update_model(earlier, folders[1], chosen)
    assert [plane.patches for plane in without.planes] == [None]
    # Once more those of before tell how the earlier table is to be scaled.
    np.testing.assert_array_equal(without.calibration.table_scores, updated.calibration.table_scores)


def test_other_weights_are_refused(folders, earlier_path):
    earlier = NormativeModel.load(earlier_path)
    other = replace(earlier, backbone=replace(earlier.backbone, weights_sha256="0" * 64))
    with pytest.raises(ModelFileError, match=f"^{earlier_path}: .* fitted with other weights"):
        update_model(other, folders[1], UPDATE)


def test_a_scorer_that_cannot_be_updated_is_named(folders):
    other = fit_folder(folders[0], replace(SETTINGS, scorer="memory-bank"))
    with pytest.raises(SettingError, match=r"'dpmm' alone, in one plane, can be updated .*'memory-bank'\."):
        update_model(other, folders[1])


def test_update_on_the_command_line(folders, earlier_path, tmp_path, capsys):
    out = tmp_path / "new.dinoad"
    arguments = ["fit", str(folders[1]), "--update", str(earlier_path), "--epochs", "1"]
    before = earlier_path.read_bytes()
    assert main([*arguments, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_scans"] == 6
    assert earlier_path.read_bytes() == before
    replaced = tmp_path / "replaced.dinoad"
    replaced.write_bytes(before)
    assert main(["fit", str(folders[1]), "--update", str(replaced), "--epochs", "1"]) == 0
    assert NormativeModel.load(replaced).provenance.n_scans == 6


def test_an_update_takes_the_series_that_is_chosen(folders, earlier_path, tmp_path, capsys):
    """Not the other sequences of the persons, which would be as many normal scans of another kind."""
    scans = sorted(folders[1].iterdir())
    for number, scan in enumerate(scans):
        for sequence, seen in (("T1w", scan), ("T2w", scans[number - 1])):
            (tmp_path / f"sub-{number}_{sequence}.nii.gz").symlink_to(seen.resolve())
    options = f"--update {earlier_path} --epochs 1 --series t1w --json"
    assert main(["fit", str(tmp_path), *options.split(), "--out", str(tmp_path / "new.dinoad")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["n_scans"], document["n_persons"]) == (6, 6)
    assert {item["reason"] for item in document["skipped"]} == {"not the series chosen"}
    assert len(document["skipped"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--update none.dinoad --preset oct", "--preset"),
        ("--update none.dinoad --scorer ar-cnn", "--scorer"),
        ("--update none.dinoad --set n_components=9", "--set"),
        ("--update none.dinoad", "no such file"),
        ("", "--out"),
        ("--out m.dinoad --workers 0", "workers"),
    ],
)
def test_wrong_options_are_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", ".", *options.split()]) == 2
    assert message in capsys.readouterr().err


def test_an_update_that_was_killed_once_its_model_was_there_adds_nothing_twice(
    folders, earlier_path, tmp_path, monkeypatch, capsys
):
    model = tmp_path / "replaced.dinoad"
    model.write_bytes(earlier_path.read_bytes())
    arguments = [
        "fit",
        str(folders[1]),
        "--update",
        str(model),
        "--epochs",
        "1",
        "--cache",
        str(tmp_path / "c"),
    ]

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(WorkFolder, "mark_done", killed)
        assert main(arguments) == 130
    content = model.read_bytes()
    assert NormativeModel.load(model).provenance.n_scans == 6
    capsys.readouterr()
    assert main(arguments) == 2
    assert "got 3 that are" in capsys.readouterr().err
    assert model.read_bytes() == content


def test_an_update_that_another_one_overtook_loses_none_of_its_scans(folders, earlier_path, tmp_path):
    """Both began with one model, and that which ended last replaced what the first had made of it."""
    model = tmp_path / "replaced.dinoad"
    model.write_bytes(earlier_path.read_bytes())
    is_overtaken = False

    def overtake(event):
        nonlocal is_overtaken
        if event.stage == "Saving the model" and not is_overtaken:
            is_overtaken = True
            update_model(NormativeModel.load(model), folders[1], UPDATE, out=model)

    with pytest.raises(ModelFileError, match=r"replaced\.dinoad: it was replaced while this update ran"):
        update_model(NormativeModel.load(model), folders[1], UPDATE, overtake, out=model)
    assert is_overtaken
    assert NormativeModel.load(model).provenance.n_scans == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["replaced.dinoad", "replaced.report.html"]


def test_of_a_folder_that_grew_only_new_scans_are_added(normal_folder, folders, earlier_path, updated):
    grown = update_model(NormativeModel.load(earlier_path), normal_folder, UPDATE)
    assert grown.provenance.n_scans == 6
    assert [item.reason for item in grown.fit_report.skipped] == ["behind the model already"] * 3
    assert grown.fingerprints == updated.fingerprints
    assert len(grown.fingerprints) == 6


def test_what_is_behind_a_model_is_known_when_it_is_loaded(updated, folders, tmp_path):
    loaded = NormativeModel.load(updated.save(tmp_path / "updated.dinoad"))
    assert loaded.fingerprints == updated.fingerprints
    for folder in folders:
        with pytest.raises(ScanReadError, match="not behind the model yet, got 3 that are"):
            update_model(loaded, folder, UPDATE)

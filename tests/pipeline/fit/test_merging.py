"""Models of two hospitals, merged without a scan."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from napari_dinoad import NormativeModel, merge_models, read_volume
from napari_dinoad.cli.main import main
from napari_dinoad.errors import ModelFileError, SettingError
from napari_dinoad.pipeline import detect, fit_folder
from napari_dinoad.settings import DpmmSettings, FitSettings, MemoryBankSettings, preset
from small_heads import lesion_of_head

SETTINGS = FitSettings(
    preprocessing=replace(preset("mr-brain"), resolution_px=96),
    dpmm=DpmmSettings(n_components=40, epochs=3),
    memory_bank=MemoryBankSettings(n_patches=100),
)


@pytest.fixture(scope="module")
def hospitals(normal_folder, tmp_path_factory):
    """Two models, of three heads each, and the files that they were saved to."""
    paths = []
    scans = sorted(normal_folder.iterdir())
    for name, own in (("north", scans[:3]), ("south", scans[3:])):
        folder = tmp_path_factory.mktemp(name)
        for scan in own:
            (folder / scan.name).symlink_to(scan)
        paths.append(fit_folder(folder, SETTINGS).save(folder.with_suffix(".dinoad")))
    return [NormativeModel.load(path) for path in paths], paths


def test_a_merged_model_finds_the_lesion(hospitals, patient_path):
    models, _ = hospitals
    merged = merge_models(models)
    patient = read_volume(patient_path)
    values = detect(patient, merged).anomaly_map.values
    lesion = patient.geometry.to_canonical(lesion_of_head())
    assert values[lesion].mean() > values[~lesion].mean() + 0.5


def with_noise_share(model, share):
    return replace(model, planes=(replace(model.planes[0], noise_share=share),))


def test_where_averaging_leaves_nearly_as_much_noise_the_larger_share_is_kept(hospitals):
    """A scan may be averaged like those of either; in whatever order the models are given."""
    one, other = (with_noise_share(m, s) for m, s in zip(hospitals[0], (0.20, 0.24), strict=True))
    for models in ([one, other], [other, one]):
        (plane,) = merge_models(models).planes
        assert plane.noise_share == 0.24
        assert plane.alone is not None
    far = with_noise_share(hospitals[0][1], 0.26)
    assert merge_models([one, far]).planes[0].alone is None


def test_counts_add(hospitals):
    models, _ = hospitals
    merged = merge_models(models)
    assert merged.provenance.n_scans == 6
    assert merged.provenance.n_slices == sum(model.provenance.n_slices for model in models)
    assert merged.provenance.n_merged == 2
    assert merged.calibration.n_scans == 6
    assert merged.cohorts == (*models[0].cohorts, *models[1].cohorts)
    assert merged.calibration.n_voxels == sum(model.calibration.n_voxels for model in models)
    alone = [part.planes[0].alone.calibration for part in models]
    joint = merged.planes[0].alone.calibration
    assert joint.n_scans == 6
    assert joint.n_voxels == sum(calibration.n_voxels for calibration in alone)
    assert not np.array_equal(joint.scan_scores, merged.calibration.scan_scores)
    # As a model of other scans.
    again = merge_models([merged, replace(models[0], fingerprints=())])
    assert again.provenance.n_merged == 3


def test_a_likelihood_is_calibrated_for_the_share_of_each_part(hospitals):
    """The joint density of a part's patch is at least the part's share of its own density."""
    models, _ = hospitals
    likelihood = []
    for model in models:
        state = model.scorer.state()
        chosen = {**state.settings["settings"], "score": "negative-log-likelihood"}
        state = replace(state, settings={**state.settings, "settings": chosen})
        scorer = type(model.scorer).from_state(state)
        likelihood.append(model.with_scorer(scorer, model.calibration))
    merged = merge_models(likelihood)
    n_patches = [model.scorer.n_patches for model in models]
    wanted = [
        model.calibration.scan_scores - np.log(n / sum(n_patches))
        for model, n in zip(models, n_patches, strict=True)
    ]
    np.testing.assert_allclose(merged.calibration.scan_scores, np.sort(np.concatenate(wanted)))


def test_other_models_are_refused_with_what_differs(hospitals):
    models, paths = hospitals
    north, south = (path.name for path in paths)
    first, second = models
    changes = {
        "backbone name": {"backbone": replace(first.backbone, name="dinov2_vits14")},
        "backbone weights sha256": {"backbone": replace(first.backbone, weights_sha256="0" * 64)},
        "preprocessing resolution px 96 and 112": {
            "preprocessing": replace(first.preprocessing, resolution_px=112)
        },
        "preprocessing plane axial and sagittal": {
            "preprocessing": replace(first.preprocessing, plane="sagittal")
        },
        "scan top fraction": {"scan_top_fraction": 0.5},
        "smoothing across slices 5.0 and 2.0 mm": {"smoothing_mm": 2.0},
    }
    for message, change in changes.items():
        with pytest.raises(
            ModelFileError, match=rf"number 1 \({north}\) and number 2 \({south}\): .*{message}"
        ):
            merge_models([first, replace(second, **change)])
    with pytest.raises(SettingError, match="at least 2, got 1"):
        merge_models([first])


def test_scorers_that_cannot_be_merged_are_named(hospitals, normal_folder):
    other = fit_folder(normal_folder, replace(SETTINGS, scorer="memory-bank"))
    with pytest.raises(SettingError, match=r"'dpmm' alone, in one plane, can be merged.*'memory-bank'\."):
        merge_models([hospitals[0][0], other])


def test_models_of_several_scorers_or_planes_are_not_merged(hospitals):
    (one, other), _ = hospitals
    (plane,) = other.planes
    fused = replace(other, planes=(replace(plane, members=plane.members * 2),))
    with pytest.raises(
        SettingError, match=rf"can be merged .*, got 'dpmm\+dpmm' of {other.path}\. Fit a new model"
    ):
        merge_models([one, fused])
    of_planes = replace(other, planes=(plane, replace(plane, plane="coronal")))
    told = rf"got 'dpmm' in the planes axial, coronal of {other.path}\. .* and one plane"
    with pytest.raises(SettingError, match=told):
        merge_models([one, of_planes])


def test_merge_on_the_command_line(hospitals, tmp_path, capsys):
    _, paths = hospitals
    out = tmp_path / "both.dinoad"
    arguments = ["merge", *map(str, paths), "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["card"]["n_scans"] == 6
    loaded = NormativeModel.load(out).card()
    assert document["card"] == json.loads(json.dumps(loaded))
    assert main(arguments) == 0
    assert "6 scans" in capsys.readouterr().out
    for path in paths:
        (tmp_path / "parts").mkdir(exist_ok=True)
        (tmp_path / "parts" / path.name).symlink_to(path)
    pattern = str(tmp_path / "parts" / f"*{paths[0].suffix}")
    assert main(["merge", pattern, "--out", str(out)]) == 0, "as the shells of Windows hand it on"
    assert "6 scans" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["merge", "a.dinoad", "--out", "m.dinoad"], "at least 2, got 1"),
        (["merge", "a.dinoad", "b.dinoad", "--out", "m.dinoad"], "no such file"),
        (["merge", "a.dinoad", "b.dinoad", "--out", "no/folder/m.dinoad"], "--out"),
    ],
)
def test_wrong_input_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_model_is_not_merged_with_itself(hospitals):
    (first, second), (path, _) = hospitals
    with pytest.raises(SettingError, match=rf"Models 1 \({path.name}\) and 3 \({path.name}\) are the same"):
        merge_models([first, second, first])


def test_models_that_a_scan_is_behind_twice_are_not_merged(hospitals, normal_folder, tmp_path):
    for scan in sorted(normal_folder.iterdir())[2:5]:
        (tmp_path / f"renamed_{scan.name}").write_bytes(scan.read_bytes())
    overlapping = fit_folder(tmp_path, SETTINGS)
    name = hospitals[1][0].name
    with pytest.raises(SettingError, match=rf"Models 1 \({name}\) and 3: .* got 1 scan that is behind both"):
        merge_models([*hospitals[0], overlapping])


def test_models_of_single_images_say_nothing_of_averaged_slices(hospitals, normal_folder, tmp_path):
    (volumes, _), _ = hospitals
    for number, scan in enumerate(sorted(normal_folder.iterdir())[3:6]):
        image = nib.load(scan)
        one = image.slicer[:, :, 8:9]
        nib.save(one, tmp_path / f"slice_{number}.nii.gz")
    images = fit_folder(tmp_path, SETTINGS)
    assert images.planes[0].alone is None
    for order in ([volumes, images], [images, volumes]):
        merged = merge_models(order).planes[0]
        assert merged.calibration.n_scans == volumes.planes[0].calibration.n_scans == 3
        assert merged.alone.calibration.n_scans == 6
        assert merged.noise_share == volumes.planes[0].noise_share < 1


def test_volumes_averaged_over_other_distances_are_each_slice_for_itself_once_merged(hospitals):
    (first, second), _ = hospitals
    plane = replace(second.planes[0], noise_share=0.5 * first.planes[0].noise_share)
    merged = merge_models([first, replace(second, planes=(plane,))]).planes[0]
    assert merged.alone is None
    singles = sum(model.planes[0].alone.calibration.n_voxels for model in (first, second))
    assert merged.calibration.n_voxels == singles

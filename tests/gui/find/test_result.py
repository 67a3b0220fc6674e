"""The result of one scan as it grows: map, mask, regions, ticks."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find.export_job import export_of
from napari_dinoad.gui.find.result import ScanResult, scan_level_words
from napari_dinoad.gui.viewer.mask_values import CHOSEN, CHOSEN_UNTICKED
from napari_dinoad.gui.work.jobs import DetectOutcome, SlicesScored
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.images.volume import Geometry, Volume

SHAPE = (6, 8, 10)


@pytest.fixture
def values():
    values = np.zeros(SHAPE, np.float32)
    values[1:3, 1:3, 1:3] = 2.5
    values[1, 1, 1] = 4.0
    values[4:, 5:7, 5:8] = 3.0
    values[5, 6, 7] = 3.5
    return values


@pytest.fixture(params=[0, 1, 2])
def result(request, values):
    volume = Volume(np.ones(SHAPE, np.float32), Geometry(SHAPE[::-1], np.diag([2.0, 3.0, 4.0, 1.0])), "scan")
    result = ScanResult(volume, request.param, 0.01)
    for index in range(SHAPE[request.param]):
        block = np.take(values, [index], axis=request.param)
        result.put(SlicesScored(request.param, (index,), np.moveaxis(block, request.param, 0)))
    return result


def measure(result):
    assert result.accept(result.measurement().work())


def test_going_back_takes_map_mask_and_regions_back(result, values):
    measure(result)
    kept, mask, profile = result.kept(), result.mask.copy(), result.profile.copy()
    more = np.full_like(np.take(values, [0, 1], axis=result.axis), 5)
    result.put(SlicesScored(result.axis, (0, 1), np.moveaxis(more, result.axis, 0)))
    measurement = result.measurement()
    assert not np.array_equal(result.mask, mask)
    result.go_back(kept)
    np.testing.assert_array_equal(result.values, values)
    np.testing.assert_array_equal(result.mask, mask)
    np.testing.assert_array_equal(result.profile, profile)
    assert not result.is_measured
    assert not result.accept(measurement.work()), "regions of what was taken back"


def test_the_chosen_region_is_marked_ticked_or_not(result):
    measure(result)
    first, second = result.regions
    plain, labels = result.mask.copy(), result.labels()
    assert result.choose(second)
    assert not result.choose(second)
    np.testing.assert_array_equal(result.mask, np.where(labels == second.label, CHOSEN, plain))
    result.set_ticked([second], False)
    marked = (labels == first.label) + CHOSEN_UNTICKED * (labels == second.label)
    np.testing.assert_array_equal(result.mask, marked)
    assert result.choose(None)
    np.testing.assert_array_equal(result.mask, labels == first.label)
    result.choose(second)
    result.set_ticked([second], True)
    result.set_rate(0.001)
    assert result.mask.max() == 1, "not measured yet"
    measure(result)
    np.testing.assert_array_equal(result.mask == CHOSEN, result.labels() == 2)
    assert result.choose(None)
    assert result.mask.max() == 1


def test_slices_fill_map_mask_and_profile(result, values):
    np.testing.assert_array_equal(result.values, values)
    np.testing.assert_array_equal(result.mask, values >= 2)
    assert result.scored.all()
    others = tuple(axis for axis in range(3) if axis != result.axis)
    np.testing.assert_array_equal(result.profile, values.max(axis=others))


def test_rate_moves_the_mask_and_regions_follow(result, values):
    measure(result)
    assert [region.peak_neg_log10_p for region in result.regions] == [4.0, 3.5]
    result.set_rate(10**-3.2)
    np.testing.assert_array_equal(result.mask, values >= 3.2)
    assert not result.is_measured
    measure(result)
    assert [region.n_voxels for region in result.regions] == [1, 1]


def test_measurement_of_an_older_mask_is_refused(result):
    old = result.measurement()
    result.set_rate(0.001)
    assert not result.accept(old.work())
    assert not result.is_measured


def test_small_regions_are_left_out(result):
    result.set_min_volume(9 * 24.0)
    measure(result)
    assert [region.n_voxels for region in result.regions] == [12]
    assert result.mask.sum() == 12


def test_unticked_region_is_out_of_mask_and_export(result, values, tmp_path):
    measure(result)
    first, second = result.regions
    result.set_ticked([first], False)
    assert result.mask[first.peak_zyx] == 0
    assert result.mask[second.peak_zyx] == 1
    written = export_of(result, tmp_path)(JobChannel(lambda event: None, lambda item: None))
    assert {path.name for path in written} >= {
        f"scan_{end}" for end in ("mask.nii.gz", "anomaly.nii.gz", "regions.csv", "report.json")
    }
    import json

    stored = np.asarray(nib.load(tmp_path / "scan_mask.nii.gz").dataobj)
    np.testing.assert_array_equal(result.volume.geometry.to_canonical(stored), result.mask)
    report = json.loads((tmp_path / "scan_report.json").read_text())
    assert report["n_regions"] == 1
    assert report["regions"][0]["label"] == second.label
    result.set_ticked([first], True)
    np.testing.assert_array_equal(result.mask, values >= 2)


def test_export_is_of_the_moment_it_was_asked_for(result, tmp_path, values):
    job = export_of(result, tmp_path, ("map",))
    result.values[:] = 0
    job(JobChannel(lambda event: None, lambda item: None))
    stored = nib.load(tmp_path / "scan_anomaly.nii.gz").get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(result.volume.geometry.to_canonical(stored), values)


def test_export_before_the_regions_are_measured_is_the_same_and_measured_by_the_job(result, tmp_path):
    channel = JobChannel(lambda event: None, lambda item: None)
    measure(result)
    result.set_ticked([result.regions[0]], False)
    outputs = ("map", "mask", "regions")
    export_of(result, tmp_path / "measured", outputs)(channel)
    result.set_rate(0.05)
    result.set_rate(0.01)
    assert not result.is_measured
    job = export_of(result, tmp_path / "not", outputs)
    assert not result.is_measured
    result.set_ticked([result.regions[0]], True)
    result.values[:] = 0
    job(channel)
    for name in ("scan_regions.csv", "scan_mask.nii.gz", "scan_anomaly.nii.gz"):
        one, other = (tmp_path / folder / name for folder in ("measured", "not"))
        if name.endswith(".csv"):
            assert one.read_text() == other.read_text()
        else:
            np.testing.assert_array_equal(*(np.asarray(nib.load(path).dataobj) for path in (one, other)))


@pytest.mark.parametrize(
    "name", ["../up", "/abs", "T1/FLAIR", "**", "sub [1]", "n" * 300, "a\nb", ".", "C:\\x", "%s {0} ~"]
)
def test_any_layer_name_gives_files_in_the_chosen_folder(result, tmp_path, name):
    measure(result)
    result.volume = replace(result.volume, name=name)
    folder = tmp_path / "out"
    for _ in range(2):
        job = export_of(result, folder, ("mask", "regions"))
        written = job(JobChannel(lambda event: None, lambda item: None))
        assert sorted(written) == sorted(folder.iterdir())
    assert list(tmp_path.iterdir()) == [folder]
    assert all(path.name.isprintable() and not path.name.startswith(".") for path in written)


def test_scan_level_words_do_not_break_within_p():
    words = scan_level_words(DetectOutcome(0.05, 39, 38, 1.0))
    assert words == "More unusual than 38 of 39 normal scans (p\u00a0=\u00a00.05)."
    assert "Only some slices" in scan_level_words(DetectOutcome(None, 39, 3, 1.0))
    assert "slices and volumes cannot" in scan_level_words(DetectOutcome(None, 39, 3, 1.0, is_whole=True))


def test_folder_that_cannot_be_made_is_one_clear_error(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DinoadError, match="folder"):
        export_of(result, tmp_path / "file" / "out", ("mask",))(
            JobChannel(lambda event: None, lambda item: None)
        )

"""The files that are written about a scan."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from dicom_files import CARD, ct_values, image_dataset, save_all, series_datasets
from napari_dinoad.calibration import NormalPeaks
from napari_dinoad.cli import score
from napari_dinoad.errors import Cancelled, DinoadError, GeometryError, SettingError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.values import sampling
from napari_dinoad.images.values.sampling import evenly_spread
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap, Findings
from napari_dinoad.maps.dicom.colour_slices import save_dicom_slices
from napari_dinoad.maps.dicom.parametric_map import save_dicom_map
from napari_dinoad.maps.findings import scan_level_words
from napari_dinoad.maps.outputs import (
    OUTPUTS,
    available_outputs,
    check_outputs,
    default_outputs,
    save_outputs,
)
from napari_dinoad.maps.pages.worklist_entry import WorklistEntry
from napari_dinoad.maps.pictures.overlay_files import save_heatmap_png
from napari_dinoad.maps.pictures.panels import heat_colour, heat_share
from napari_dinoad.settings import HEATMAP_LIMITS
from taken_memory import most_taken


@pytest.fixture
def findings():
    """Two regions in a head-sized box."""
    geometry = Geometry(
        (20, 24, 16), np.array([[-2.0, 0, 0, 20], [0, 2, 0, -24], [0, 0, 3, -24], [0, 0, 0, 1]])
    )
    values = np.random.default_rng(0).random(geometry.canonical_shape).astype(np.float32)
    neg_log10_p = np.zeros_like(values)
    neg_log10_p[2:4, 3:6, 4:8] = 4
    neg_log10_p[10:12, 15:18, 12:15] = 3
    mask = AnomalyMap(neg_log10_p, Volume(values, geometry, "scan")).mask(0.01)
    return Findings(mask, "scan.nii.gz", 0.05, 39, 38, {"total": 1.5}, CARD)


def test_everything_that_a_scan_allows_can_be_written(findings, tmp_path):
    outputs = available_outputs(findings.volume)
    assert set(default_outputs(findings.volume)) <= set(outputs) <= set(OUTPUTS)
    events = []
    written = save_outputs(findings, tmp_path / "new" / "out", "p1", outputs, progress=events.append)
    assert all(path.is_file() and path.name.startswith("p1_") for path in written.values())
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {p.name for p in written.values()}
    assert (events[0].done, events[-1].done) == (0, events[-1].total)
    assert events[-1].total == len(outputs)


def test_ticked_regions_alone_are_in_every_output(findings, tmp_path):
    written = save_outputs(findings, tmp_path, "p1", ("mask", "regions", "report"), keep_labels={2})
    assert np.asarray(nib.load(written["mask"]).dataobj).sum() == 18
    assert len(written["regions"].read_text().splitlines()) == 2
    report = json.loads(written["report"].read_text())
    assert [region["label"] for region in report["regions"]] == [2]
    assert report["n_regions"] == 1


def test_the_report_tells_scan_level_figures_and_model(findings, tmp_path):
    report = json.loads(save_outputs(findings, tmp_path, "p1", ("report",))["report"].read_text())
    assert (report["p_value"], report["n_more_normal"], report["n_calibration_scans"]) == (0.05, 38, 39)
    assert report["model"] == CARD
    assert "Research use only" in report["use"]
    assert report["scan"] == "scan.nii.gz"


def test_regions_tell_how_many_normal_scans_reach_their_peaks(findings, tmp_path):
    first, second = (region.peak_neg_log10_p for region in findings.mask.regions())
    # Of three persons; the first has two scans.
    levels = np.array([first, second, 0.5 * second, 2 * first], np.float32)
    peaks = NormalPeaks(levels, np.array([0.5, 0.5, 1.0, 1.0]))
    for beyond, known in (
        (1, replace(peaks, levels=0.99 * levels[:3], weights=peaks.weights[:3])),
        (0, peaks),
    ):
        compared = replace(findings, normal_peaks=known)
        report = json.loads(save_outputs(compared, tmp_path, "p1", ("report",))["report"].read_text())
        assert report["n_regions_beyond_normal"] == beyond
    assert [region["n_normal_reaching"] for region in report["regions"]] == [2, 3]
    assert [region["p_value_corrected"] for region in report["regions"]] == [
        (1 + 0.5 + 1) / 4,
        (1 + 1 + 1) / 4,
    ]
    table = save_outputs(compared, tmp_path, "p1", ("regions",))["regions"].read_text()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["n_normal_reaching"] for row in rows] == ["2", "3"]
    assert [float(row["p_value_corrected"]) for row in rows] == [2.5 / 4, 3 / 4]
    table = save_outputs(findings, tmp_path, "p1", ("regions",))["regions"].read_text()
    assert {row["p_value_corrected"] for row in csv.DictReader(io.StringIO(table))} == {""}


@pytest.mark.parametrize("outputs", [("hologram",), ("mask", "hologram"), ()])
def test_unknown_outputs_are_refused_before_anything_is_written(findings, tmp_path, outputs):
    with pytest.raises(SettingError, match="expected some of map, mask"):
        check_outputs(findings.volume, outputs)
    with pytest.raises(SettingError):
        save_outputs(findings, tmp_path / "out", "p1", outputs)
    assert not (tmp_path / "out").exists()


def test_cancelling_leaves_whole_files_only(findings, tmp_path):
    def stop_at_the_third(event):
        if event.done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        save_outputs(findings, tmp_path, "p1", ("map", "mask", "regions"), progress=stop_at_the_third)
    assert {path.name for path in tmp_path.iterdir()} == {"p1_anomaly.nii.gz", "p1_mask.nii.gz"}
    nib.load(tmp_path / "p1_mask.nii.gz").get_fdata()


def test_a_scans_files_get_their_names_together(findings, tmp_path):
    """So the disk is waited for once: seven files of a picture each waited for it."""
    seen = []
    outputs = ("map", "mask", "regions", "report")
    save_outputs(
        findings, tmp_path, "p1", outputs, progress=lambda _: seen.append(len(list(tmp_path.glob("p1*"))))
    )
    assert seen == [0, 0, 0, 0, 5]


def test_where_nothing_is_written_no_folder_is_left(findings, tmp_path):
    def cancel(_):
        raise Cancelled

    with pytest.raises(Cancelled):
        save_outputs(findings, tmp_path / "new" / "out", "p1", progress=cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(findings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DinoadError, match="Cannot make the folder"):
        save_outputs(findings, tmp_path / "file" / "out", "p1")


@pytest.mark.parametrize(
    ("p_value", "n", "lower", "words"),
    [
        (0.05, 39, 38, "More unusual than 38 of 39 normal scans (p = 0.05)."),
        (0.025, 39, 39, "More unusual than all 39 normal scans (p = 0.025, the smallest that 39 scans allow"),
        (1.0, 39, 0, "Not more unusual than any of 39 normal scans"),
        (None, 39, 3, "no statement about the whole scan"),
    ],
)
def test_scan_level_in_words(p_value, n, lower, words):
    assert words in scan_level_words(p_value, n, lower)


def test_a_series_without_frame_of_reference_gets_no_seg_by_default(tmp_path):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        del dataset.FrameOfReferenceUID
    save_all(datasets, tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    assert "seg" not in default_outputs(volume)
    with pytest.raises(SettingError, match=r"seg: .* lack FrameOfReferenceUID"):
        check_outputs(volume, ("mask", "seg"))


def findings_on(volume):
    neg_log10_p = np.zeros(volume.values.shape, np.float32)
    neg_log10_p[2:4, 3:6, 4:8] = 4
    return Findings(AnomalyMap(neg_log10_p, volume).mask(0.01), "ct", 0.05, 39, 38, {}, CARD)


def test_a_seg_that_is_missing_by_default_is_told(tmp_path, caplog):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        del dataset.FrameOfReferenceUID
    save_all(datasets, tmp_path / "ct")
    written = save_outputs(findings_on(read_volume(tmp_path / "ct")), tmp_path, "p1")
    assert "seg" not in written
    assert "mask" in written
    assert "ct: without a DICOM-SEG: the headers of the source images lack FrameOfReferenceUID" in caplog.text


def test_a_seg_that_would_not_line_up_spoils_no_other_output(tmp_path, caplog):
    """Nobody asked for it by name."""
    save_all(series_datasets(ct_values()), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    moved = volume.geometry.affine.copy()
    moved[2, 3] += 0.5
    wrong = Volume(volume.values, Geometry(volume.geometry.shape, moved), dicom_files=volume.dicom_files)
    written = save_outputs(findings_on(wrong), tmp_path, "p1")
    assert {"map", "mask", "report"} <= set(written)
    assert "seg" not in written
    assert "lies 0.500 mm from its source" in caplog.text
    with pytest.raises(GeometryError):
        save_outputs(findings_on(wrong), tmp_path, "p1", ("mask", "seg"))


def test_of_several_scans_what_would_not_line_up_is_left_out_unless_nothing_else_was_asked_for(tmp_path):
    save_all(series_datasets(ct_values()), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    moved = volume.geometry.affine.copy()
    moved[2, 3] += 0.5
    wrong = Volume(volume.values, Geometry(volume.geometry.shape, moved), dicom_files=volume.dicom_files)
    told = {}
    written = save_outputs(findings_on(wrong), tmp_path, "p1", ("seg", "mask"), left_out=told.__setitem__)
    assert list(written) == ["mask"]
    assert list(told) == ["seg"]
    assert "lies 0.500 mm from its source" in told["seg"]
    with pytest.raises(GeometryError):
        save_outputs(findings_on(wrong), tmp_path, "p1", ("seg",), left_out=told.__setitem__)


def test_a_series_that_was_moved_gets_no_seg(tmp_path):
    paths = save_all(series_datasets(ct_values()), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    for path in paths:
        path.unlink()
    assert not {"seg", "dicom-map", "dicom-slices"} & set(available_outputs(volume))
    with pytest.raises(SettingError, match="dicom-slices: source images are no longer"):
        check_outputs(volume, ("dicom-slices",))
    with pytest.raises(SettingError, match="seg: source images are no longer"):
        check_outputs(volume, ("seg",))


def test_dicom_gets_a_seg_and_2d_images_get_png(findings, tmp_path):
    save_all(series_datasets(ct_values()), tmp_path / "ct")
    assert "seg" in default_outputs(read_volume(tmp_path / "ct"))
    image = Volume(np.ones((1, 6, 8), np.float32), Geometry.of_pixels((6, 8)))
    assert "png" in default_outputs(image)
    assert not {"seg", "png"} & set(available_outputs(findings.volume))
    with pytest.raises(SettingError, match="png: expected a 2D scan"):
        check_outputs(findings.volume, ("png",))
    with pytest.raises(SettingError, match="seg: expected a scan read from DICOM"):
        check_outputs(image, ("seg",))


def test_map_and_slices_as_dicom_are_written_when_asked_for(findings, tmp_path):
    save_all(series_datasets(ct_values()), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    assert not {"dicom-map", "dicom-slices"} & set(default_outputs(volume))
    written = save_outputs(findings_on(volume), tmp_path / "out", "p1", ("dicom-map", "dicom-slices"))
    assert written == {
        "dicom_map": tmp_path / "out" / "p1_anomaly.dcm",
        "dicom_slices": tmp_path / "out" / "p1_slices",
    }
    assert (
        hd.imread(written["dicom_map"]).pixel_array.max() == findings_on(volume).mask.anomaly_map.values.max()
    )
    assert len(list(written["dicom_slices"].iterdir())) == 6
    for output in ("dicom-map", "dicom-slices"):
        with pytest.raises(SettingError, match=f"{output}: expected a scan read from DICOM"):
            check_outputs(findings.volume, (output,))


def test_a_radiograph_without_a_place_gets_slices_and_a_seg_but_no_map(tmp_path):
    dataset = image_dataset(ct_values(1, 40, 50)[0], SeriesInstanceUID=generate_uid())
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    save_all([dataset], tmp_path / "xr")
    volume = read_volume(tmp_path / "xr")
    assert {"seg", "dicom-slices"} <= set(available_outputs(volume))
    with pytest.raises(
        SettingError, match=r"dicom-map: expected a scan whose header says where.* as NIfTI\.$"
    ):
        check_outputs(volume, ("dicom-map",))
    with pytest.raises(SettingError, match=r"pixels without a place\. Save the map as NIfTI\.$"):
        save_dicom_map(tmp_path / "map.dcm", findings_on(volume).mask.anomaly_map)


@pytest.mark.parametrize("study", [None, ""])
def test_slices_that_would_be_of_no_study_are_refused_before_scoring(tmp_path, study):
    datasets = series_datasets(ct_values(), StudyInstanceUID="")
    for dataset in datasets if study is None else ():
        del dataset.StudyInstanceUID
    save_all(datasets, tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    with pytest.raises(SettingError, match=r"dicom-slices: .* lack StudyInstanceUID.*; save a picture\.$"):
        check_outputs(volume, ("dicom-slices",))
    with pytest.raises(SettingError, match=r"DICOM slices: .* lack StudyInstanceUID"):
        save_dicom_slices(tmp_path / "out", findings_on(volume).mask)


def test_slices_show_the_outline_of_the_ticked_regions_only(tmp_path):
    save_all(series_datasets(ct_values(2, 40, 50)), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    values = np.zeros(volume.values.shape, np.float32)
    values[:, 5:10, 5:10], values[:, 5:10, 30:35] = 5, 4
    findings = Findings(AnomalyMap(values, volume).mask(0.01), "ct")
    n_outlined = []
    for kept in (None, {2}, set()):
        written = save_outputs(findings, tmp_path / "out", "p1", ("dicom-slices",), keep_labels=kept)
        pixels = pydicom.dcmread(written["dicom_slices"] / "0001.dcm").pixel_array
        n_outlined.append(int((pixels == (0, 230, 255)).all(axis=-1).sum()))
    assert n_outlined[0] == 2 * n_outlined[1] > 0 == n_outlined[2]


@pytest.mark.parametrize("kind", ["image", "dicom", "nifti"])
def test_png_lies_on_the_images_own_pixels(tmp_path, kind):
    pixels = ct_values(1, 10, 14)[0]
    if kind == "image":
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "scan.png")
        volume = read_volume(tmp_path / "scan.png")
    elif kind == "dicom":
        flipped = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        save_all(series_datasets(pixels[None], orientation=flipped), tmp_path / "scan")
        volume = read_volume(tmp_path / "scan")
    else:
        # As radiologists look at it: +x and +y of the patient are left and up.
        stored = pixels[::-1, ::-1].T.astype(np.float32)
        nib.save(nib.Nifti1Image(stored, np.diag([0.5, 0.5, 3, 1])), tmp_path / "scan.nii")
        volume = read_volume(tmp_path / "scan.nii")
    brightest = volume.values == volume.values.max()
    mask = AnomalyMap(np.where(brightest, np.float32(3), np.float32(0)), volume).mask(0.01)
    written = save_outputs(Findings(mask, "scan"), tmp_path / "out", "p", ("png",))
    drawn = np.asarray(Image.open(written["mask_png"]))
    expected = pixels.astype(np.uint8) if kind == "image" else pixels
    np.testing.assert_array_equal(drawn == 255, expected == expected.max())
    heat = np.asarray(Image.open(written["heatmap_png"]))
    assert heat.shape == (10, 14, 4)
    np.testing.assert_array_equal(heat[..., 3] > 0, expected == expected.max())


def test_the_heatmap_of_a_large_picture_takes_little_memory(tmp_path):
    """It took 76 bytes a pixel, more than all of scoring."""
    shape = (2048, 2048)
    values = np.zeros((1, *shape), np.float32)
    values[0, 700:720, 500:600] = np.linspace(0, 6, 100)
    volume = Volume(values, Geometry.of_pixels(shape))
    mask = AnomalyMap(values, volume).mask(0.01)
    save_heatmap_png(tmp_path / "first.png", mask)  # what is loaded for it is no part of it
    _, taken = most_taken(lambda: save_heatmap_png(tmp_path / "heat.png", mask))
    assert taken < 30 * values.size
    heat = np.asarray(Image.open(tmp_path / "heat.png"))
    np.testing.assert_array_equal(heat[..., 3] > 0, values[0] > HEATMAP_LIMITS[0])
    share, _ = heat_share(values[0, 700, 500:600])
    np.testing.assert_array_equal(heat[700, 500:600, :3], np.round(heat_colour(share)))
    assert (heat[..., :3][heat[..., 3] == 0] == np.round(heat_colour(np.zeros(1)))).all()


def test_how_bright_a_scan_is_is_found_once_for_all_its_pictures(findings, tmp_path, monkeypatch):
    """Report, picture and worklist each took percentiles of the scan, once a plane."""
    taken = []
    monkeypatch.setattr(sampling, "evenly_spread", lambda *a: taken.append(1) or evenly_spread(*a))
    written = save_outputs(findings, tmp_path, "p1", ("report", "picture"))
    WorklistEntry.of(findings, "p1", written, 1.0)
    assert len(taken) == 1


def test_the_command_line_offers_what_can_be_written():
    assert set(score.OUTPUTS) == set(OUTPUTS)

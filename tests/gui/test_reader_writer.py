"""NIfTI through napari's own readers and writers: the grid comes out as it went in."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import notification_manager
from PIL import Image as Picture

from dicom_files import AXIAL, as_one_series, ct_values, save_all, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.gui import reader as reader_module
from napari_dinoad.gui.reader import get_reader, read_layers, scans_at
from napari_dinoad.gui.viewer.layer_marks import is_overlay
from napari_dinoad.gui.viewer.layers import layer_of_volume, layers_of_frames, scan_of_layer
from napari_dinoad.gui.writer import write_image, write_labels
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.seg import save_seg
from napari_dinoad.settings import HEATMAP_LIMITS

AFFINES = {
    "ras": np.diag([1.0, 1.0, 2.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 2.0, 1.0]),
    "permuted": np.array([[0, 0, -2.0, 5], [1.0, 0, 0, -3], [0, -1.0, 0, 8], [0, 0, 0, 1]]),
    "oblique": np.array([[0.98, -0.17, 0, 1], [0.17, 0.98, 0, 2], [0, 0, 3.0, 3], [0, 0, 0, 1]]),
}


def save(path, shape, affine=AFFINES["ras"], dtype=np.int16):
    data = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    nib.save(nib.Nifti1Image(data, affine), path)
    return data


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 1)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_image_and_labels_go_back_onto_the_same_grid(tmp_path, kind, shape, suffix):
    path = tmp_path / f"scan{suffix}"
    data = save(path, shape, AFFINES[kind])
    (layer_tuple,) = get_reader(str(path))(str(path))
    image = Layer.create(*layer_tuple)
    out = tmp_path / f"out{suffix}"
    written = write_image(str(out), *image.as_layer_data_tuple()[:2])
    assert written == [str(out)]
    again = nib.load(out)
    assert np.array_equal(again.affine, nib.load(path).affine)
    np.testing.assert_array_equal(again.get_fdata(), data)

    labels = Labels((np.asarray(image.data) > 100).astype(int), metadata=image.metadata)
    write_labels(str(out), *labels.as_layer_data_tuple()[:2])
    again = nib.load(out)
    assert again.get_data_dtype() == np.uint8
    assert np.array_equal(again.affine, nib.load(path).affine)
    np.testing.assert_array_equal(again.get_fdata(), data > 100)


def test_series_is_a_4d_layer_and_is_written_as_one(tmp_path):
    path = tmp_path / "series.nii.gz"
    data = save(path, (5, 6, 7, 3), AFFINES["permuted"])
    (layer_tuple,) = read_layers(path)
    layer = Layer.create(*layer_tuple)
    assert layer.ndim == 4
    assert layer.data.shape[0] == 3
    out = tmp_path / "out.nii.gz"
    write_image(str(out), *layer.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(nib.load(out).get_fdata(), data)
    assert np.array_equal(nib.load(out).affine, AFFINES["permuted"])


def test_layer_of_another_plugin_is_written_where_napari_shows_it(tmp_path):
    layer = Image(
        np.random.default_rng(0).random((4, 5, 6)), scale=(3, 2, 1), translate=(1, 2, 3), units="mm"
    )
    out = tmp_path / "out.nii.gz"
    write_image(str(out), *layer.as_layer_data_tuple()[:2])
    image = nib.load(out)
    assert image.shape == (4, 5, 6)
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], [-(3 + 3), -(2 + 4), -(1 + 3), 1])


@pytest.mark.parametrize("kind", AFFINES)
def test_masks_and_maps_from_files_are_shown_as_such_where_they_belong(tmp_path, kind):
    """What was exported comes back as labels and heatmap, not as a scan; an empty mask too."""
    save(tmp_path / "scan.nii.gz", (5, 6, 7), AFFINES[kind])
    volume = read_volume(tmp_path / "scan.nii.gz")
    (scan,) = (Layer.create(*layer) for layer in read_layers(tmp_path / "scan.nii.gz"))
    values = np.zeros_like(volume.values)
    anomaly_map = AnomalyMap(values, volume)
    anomaly_map.mask().save(tmp_path / "none.nii.gz")
    values[2, 3, 1] = 4.0
    anomaly_map.save(tmp_path / "a.nii.gz")
    AnomalyMap(values, volume).mask().save(tmp_path / "b.nii.gz")
    none, heatmap, mask = (
        Layer.create(*layer)
        for name in ("none", "a", "b")
        for layer in read_layers(tmp_path / f"{name}.nii.gz")
    )
    assert (type(none), type(heatmap), type(mask)) == (Labels, Image, Labels)
    assert is_overlay(heatmap)
    assert tuple(heatmap.contrast_limits) == HEATMAP_LIMITS
    for layer in (none, heatmap, mask):
        np.testing.assert_array_equal(layer.extent.world, scan.extent.world)
        assert layer.units == scan.units
    np.testing.assert_array_equal(heatmap.data, values)
    np.testing.assert_array_equal(mask.data, values > 0)

    for layer, write in ((heatmap, write_image), (mask, write_labels)):
        (out,) = write(str(tmp_path / "again.nii.gz"), *layer.as_layer_data_tuple()[:2])
        (again,) = (Layer.create(*data) for data in read_layers(out))
        assert type(again) is type(layer)
        np.testing.assert_array_equal(again.data, layer.data)


def as_first_versions_wrote(path):
    """Take from a header what it holds."""
    image = nib.load(path)
    image.header["intent_code"] = 0
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content))


@pytest.mark.parametrize("ending", ["_anomaly.nii.gz", "_mask.nii.gz"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".png"])
def test_results_of_the_first_versions_are_shown_as_such_where_they_belong(tmp_path, suffix, ending):
    scan = tmp_path / f"x{suffix}"
    if suffix == ".png":
        Picture.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12)).save(scan)
    else:
        save(scan, (5, 6, 7), AFFINES["oblique"])
    volume = read_volume(scan)
    anomaly_map = AnomalyMap(np.zeros_like(volume.values), volume)
    (tmp_path / "out").mkdir()
    for result, name in ((anomaly_map, "_anomaly.nii.gz"), (anomaly_map.mask(), "_mask.nii.gz")):
        result.save(tmp_path / "out" / f"x{name}")
        as_first_versions_wrote(tmp_path / "out" / f"x{name}")
    (layer,) = (Layer.create(*data) for data in read_layers(tmp_path / "out" / f"x{ending}"))
    assert type(layer) is (Image if ending == "_anomaly.nii.gz" else Labels)
    assert is_overlay(layer)
    picture = Layer.create(*layer_of_volume(volume))
    np.testing.assert_array_equal(layer.extent.world, picture.extent.world)
    assert {scan.holding for scan in scans_at(tmp_path / "out")} == {"map", "mask"}


@pytest.mark.parametrize("n_pages", [1, 3])
def test_results_of_a_picture_or_stack_lie_on_its_pixels_again(tmp_path, n_pages):
    pages = np.arange(96 * n_pages, dtype=np.uint16).reshape(n_pages, 8, 12)
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack")
    volume = read_volume(tmp_path / "x.tif")
    values = np.where(volume.values == volume.values[0, 2, 9], np.float32(4), np.float32(0))
    AnomalyMap(values, volume).save(tmp_path / "x_anomaly.nii.gz")
    AnomalyMap(values, volume).mask().save(tmp_path / "x_mask.nii.gz")
    picture = Layer.create(*layer_of_volume(volume))
    for name in ("x_anomaly", "x_mask"):
        (layer,) = (Layer.create(*data) for data in read_layers(tmp_path / f"{name}.nii.gz"))
        np.testing.assert_array_equal(np.argwhere(layer.data), [[2, 9] if n_pages == 1 else [0, 2, 9]])
        np.testing.assert_array_equal(layer.extent.world, picture.extent.world)
        assert layer.units == picture.units
        write = write_labels if isinstance(layer, Labels) else write_image
        (out,) = write(str(tmp_path / "again.nii.gz"), *layer.as_layer_data_tuple()[:2])
        first, again = nib.load(tmp_path / f"{name}.nii.gz"), nib.load(out)
        np.testing.assert_array_equal(again.get_fdata(), first.get_fdata())
        assert np.array_equal(again.affine, first.affine)


@pytest.mark.parametrize(
    ("kind", "suffix"), [(nib.Nifti1Image, ".nii.gz"), (nib.MGHImage, ".mgz"), (nib.MGHImage, ".mgh")]
)
def test_a_folder_of_bids_masks_alone_opens_them_as_labels(tmp_path, kind, suffix):
    values = np.zeros((5, 6, 7), np.uint8)
    values[2:4, 2:4, 2:4] = 3
    nib.save(kind(values, np.eye(4)), tmp_path / f"sub-01_dseg{suffix}")
    ((labels, _, kind),) = [layer for scan in scans_at(tmp_path) for layer in read_layers(scan)]
    assert kind == "labels"
    assert sorted(np.unique(labels)) == [0, 3]


@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_segmentation_of_3d_slicer_opens_as_labels(tmp_path, n_layers):
    """It was a grey scan, and is one no more in a folder of segmentations."""
    sitk = pytest.importorskip("SimpleITK")
    labels = np.random.default_rng(0).integers(0, 4, (3, 4, 5, n_layers), dtype=np.uint8)
    image = sitk.GetImageFromArray(labels.squeeze(), isVector=n_layers > 1)
    image.SetMetaData("Segment0_ID", "Segment_1")
    path = tmp_path / "Segmentation.seg.nrrd"
    sitk.WriteImage(image, str(path))
    (scan,) = scans_at(tmp_path)
    for layers in (read_layers(scan), read_layers(path)):
        assert [kind for _, _, kind in layers] == ["labels"] * n_layers
        assert len({arguments["name"] for _, arguments, _ in layers}) == n_layers
        for place, (shown, _, _) in enumerate(layers):
            # Stored from left to right and from front to back, as ITK has it without an orientation.
            np.testing.assert_array_equal(shown, labels[:, ::-1, ::-1, place])


def test_a_folder_of_results_alone_opens_them(tmp_path):
    save(tmp_path / "scan.nii.gz", (5, 6, 7))
    volume = read_volume(tmp_path / "scan.nii.gz")
    anomaly_map = AnomalyMap(np.where(volume.values > 100, np.float32(4), np.float32(0)), volume)
    (tmp_path / "out").mkdir()
    anomaly_map.save(tmp_path / "out" / "x_anomaly.nii.gz")
    anomaly_map.mask().save(tmp_path / "out" / "x_mask.nii.gz")
    assert [scan.name for scan in scans_at(tmp_path / "out")] == ["x_anomaly", "x_mask"]
    assert [scan.name for scan in scans_at(tmp_path)] == ["scan"]


def test_a_series_without_its_pixels_keeps_out_no_other_of_the_folder(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("napari.utils.notifications.show_warning", told.append)
    damaged = series_datasets(ct_values(seed=1))
    damaged[2].PixelData = damaged[2].PixelData[:10]
    for place, datasets in enumerate((damaged, series_datasets(ct_values()))):
        save_all(datasets, tmp_path, np.random.default_rng(place))
    reader = get_reader(str(tmp_path))
    ((values, _, kind),) = reader(str(tmp_path))
    assert kind == "image" and values.shape == (6, 10, 12)
    ((first, name),) = [line.split("\n") for line in told]
    assert first == "Not opened:" and str(tmp_path) in name

    for path in tmp_path.iterdir():
        if pydicom.dcmread(path).SeriesInstanceUID != damaged[0].SeriesInstanceUID:
            path.unlink()
    with pytest.raises(ScanReadError):
        reader(str(tmp_path))


@pytest.mark.parametrize("orientation", [AXIAL, (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)])
def test_a_dicom_segmentation_of_ours_lies_on_its_scan(tmp_path, orientation):
    datasets = series_datasets(ct_values(), orientation=orientation)
    save_all(datasets, tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    values = np.zeros_like(volume.values)
    values[2, 3, 1] = 4.0
    (tmp_path / "out").mkdir()
    path = save_seg(tmp_path / "out" / "ct_seg.dcm", AnomalyMap(values, volume).mask(0.01))
    scan = Layer.create(*layer_of_volume(volume))
    for given in (path, tmp_path / "out"):
        (mask,) = (Layer.create(*layer) for layer in get_reader(str(given))(str(given)))
        assert isinstance(mask, Labels)
        assert is_overlay(mask)
        assert mask.name == "ct_seg"
        np.testing.assert_array_equal(mask.data, values > 0)
        np.testing.assert_allclose(mask.extent.world, scan.extent.world, atol=1e-4)
        assert mask.units == scan.units
        assert list(mask.features["index"]) == [1]
        assert list(mask.features["segment"]) == [pydicom.dcmread(path).SegmentSequence[0].SegmentLabel]
    (out,) = write_labels(str(tmp_path / "again.nii.gz"), *mask.as_layer_data_tuple()[:2])
    assert np.allclose(nib.load(out).affine, volume.geometry.affine, atol=1e-4)


def test_reader_leaves_other_files_alone(tmp_path):
    assert get_reader("image.png") is None
    assert get_reader(["scan.nii", "image.png"]) is None
    assert get_reader(str(tmp_path)) is None


def test_a_folder_that_must_not_be_read_is_left_to_others(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert get_reader(str(tmp_path)) is None


def test_several_files_are_several_layers(tmp_path):
    paths = [str(tmp_path / f"{name}.nii") for name in "ab"]
    for path in paths:
        save(path, (4, 5, 6))
    layers = get_reader(paths)(paths)
    assert [arguments["name"] for _, arguments, _ in layers] == ["a", "b"]


def test_the_pointer_says_that_the_window_waits_while_a_scan_is_read(qtbot, tmp_path, monkeypatch):
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QApplication

    paths = [str(tmp_path / f"{name}.nii") for name in ("one", "two")]
    for path in paths:
        nib.save(nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)), path)
    (tmp_path / "two.nii").write_bytes(b"cut short")
    read, shapes = reader_module.read_layers, []

    def note_pointer(scan, **options):
        shapes.append(QApplication.overrideCursor().shape())
        return read(scan, **options)

    monkeypatch.setattr(reader_module, "read_layers", note_pointer)
    with pytest.raises(ScanReadError):
        get_reader(paths[1])(paths[1])
    get_reader(paths[0])(paths[0])
    assert shapes == [Qt.CursorShape.WaitCursor] * 2
    assert QApplication.overrideCursor() is None


def test_damaged_file_is_one_clear_line(tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"not a scan")
    with pytest.raises(ScanReadError, match=r"broken\.nii\.gz"):
        get_reader(str(path))(str(path))


def as_rgb24(colours):
    return np.ascontiguousarray(colours).view([(channel, "u1") for channel in "RGB"])[..., 0]


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 1), (5, 6, 7, 2)])
def test_colours_go_back_onto_the_same_grid(tmp_path, kind, shape):
    path, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    colours = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    nib.save(nib.Nifti1Image(as_rgb24(colours), AFFINES[kind]), path)
    (layer_tuple,) = get_reader(str(path))(str(path))
    layer = Layer.create(*layer_tuple)
    assert layer.rgb and layer.ndim == (2 if shape[-1] == 1 else len(shape))
    write_image(str(out), *layer.as_layer_data_tuple()[:2])
    one, again = nib.load(path), nib.load(out)
    assert np.array_equal(again.affine, one.affine)
    assert np.array_equal(np.asarray(again.dataobj), np.asarray(one.dataobj))
    frame = 1 if len(shape) == 4 else None
    np.testing.assert_array_equal(
        read_volume(out, frame=frame).colours, read_volume(path, frame=frame).colours
    )


@pytest.mark.parametrize("white", [1.0, 65535])
def test_colours_of_more_bits_are_rounded_and_it_is_told(tmp_path, white):
    eight = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    layer = Image((eight / 255 * white).astype(np.uint16 if white > 1 else np.float32), rgb=True, name="a")
    with notification_manager:
        before = len(notification_manager.records)
        write_image(str(tmp_path / "a.nii"), *layer.as_layer_data_tuple()[:2])
        told = [record.message for record in notification_manager.records[before:]]
    assert len(told) == 1 and "were rounded" in told[0]
    stored = np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    assert np.array_equal(stored, as_rgb24(eight[..., :3]))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("stored", ["u1", "i2", ">i2", ">u4", "f4"])
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 2)])
def test_labels_keep_the_type_of_their_file(tmp_path, shape, stored, suffix):
    """Of a mask in bytes no larger copies are made, which took seconds while the window stood still."""
    path = tmp_path / f"mask{suffix}"
    labels = np.random.default_rng(0).integers(0, 90, shape).astype(stored)
    header = nib.Nifti1Header(endianness=">" if stored.startswith(">") else "<")
    header.set_data_dtype(stored)
    image = nib.Nifti1Image(labels, AFFINES["permuted"], header)
    image.header["intent_code"] = 1002
    nib.save(image, path)
    (layer,) = (Layer.create(*data) for data in read_layers(path))
    assert isinstance(layer, Labels)
    assert layer.data.dtype == (np.int32 if stored == "f4" else np.dtype(stored).newbyteorder("="))
    assert not isinstance(layer.data, np.memmap), "the file must be free to be replaced"
    geometry = read_layers(path)[0][1]["metadata"]["dinoad"].geometry
    frames = labels[..., np.newaxis] if labels.ndim == 3 else labels
    expected = [geometry.to_canonical(np.asarray(frames[..., i])) for i in range(frames.shape[-1])]
    np.testing.assert_array_equal(layer.data, expected[0] if labels.ndim == 3 else np.stack(expected))
    before = path.read_bytes()
    layer.data[(0,) * layer.ndim] = 1
    assert path.read_bytes() == before


def test_voxels_of_a_mask_without_a_value_are_outside(tmp_path):
    labels = np.full((4, 5, 6), np.nan, np.float32)
    labels[1, 2, 3] = 2
    image = nib.Nifti1Image(labels, np.eye(4))
    image.header["intent_code"] = 1002
    nib.save(image, tmp_path / "mask.nii.gz")
    (layer,) = (Layer.create(*data) for data in read_layers(tmp_path / "mask.nii.gz"))
    assert sorted(np.unique(layer.data)) == [0, 2]


@pytest.mark.parametrize(
    ("values", "stored"),
    [((0, 1), "u1"), ((0, 300), "u2"), ((-1, 3), "i2"), ((-1, 200), "i2"), ((-40000, 3), "i4")],
)
def test_written_labels_are_those_of_the_layer(tmp_path, values, stored):
    """−1 became 255."""
    labels = np.zeros((4, 5, 6), int)
    labels[1, 2, 3:5] = values
    (path,) = write_labels(str(tmp_path / "mask.nii.gz"), labels, {"name": "mask"})
    image = nib.load(path)
    assert sorted(np.unique(image.dataobj)) == sorted({0, *values})
    assert image.get_data_dtype() == np.dtype(stored)


def test_a_dicom_series_of_several_time_points_opens_with_all_of_them(tmp_path):
    """No window has the option that the command line offers for it."""
    datasets = [
        dataset
        for time in (1, 2, 3)
        for dataset in series_datasets(ct_values(seed=time), TemporalPositionIdentifier=time)
    ]
    save_all(as_one_series(datasets), tmp_path)
    (scan,) = scans_at(tmp_path)
    ((data, arguments, kind),) = read_layers(scan)
    layer = Layer.create(data, arguments, kind)
    assert layer.axis_labels == ("frame", "z", "y", "x") and len(layer.data) == 3
    for number in range(3):
        volume = read_volume(tmp_path, frame=number)
        np.testing.assert_array_equal(layer.data[number], volume.values)
        shown = scan_of_layer(layer, (number, 0, 0, 0)).volume()
        assert shown.geometry.matches(volume.geometry)
        assert f"Frame {number} of 3, counted from 0." in shown.notes
        assert shown.dicom_files is None, "a DICOM-SEG would name the images of the first time point"
    ((alone, _, _),) = read_layers(tmp_path / next(tmp_path.iterdir()).name)
    np.testing.assert_array_equal(alone, layer.data)


def test_stacks_of_several_planes_in_one_image_open_as_a_layer_each():
    volumes = [
        Volume(np.ones((2, 3, 4), np.float32), Geometry((4, 3, 2), np.diag([1.0, 1.0, step, 1.0])), "three")
        for step in (1, 2)
    ]
    layers = layers_of_frames(volumes)
    assert [arguments["name"] for _, arguments, _ in layers] == ["three · frame 0", "three · frame 1"]
    assert [data.shape for data, _, _ in layers] == [(2, 3, 4)] * 2


@pytest.mark.parametrize("is_colour", [False, True])
def test_channels_and_time_points_of_a_tiff_open_together(tmp_path, is_colour):
    shape = (2, 4, 9, 8, 3) if is_colour else (2, 4, 9, 8)
    pixels = np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)
    kind = {"axes": "TZYXS" if is_colour else "TZYX"}
    photometric = "rgb" if is_colour else "minisblack"
    tifffile.imwrite(tmp_path / "cells.tif", pixels, metadata=kind, photometric=photometric, ome=True)
    ((data, arguments, _),) = read_layers(tmp_path / "cells.tif")
    np.testing.assert_array_equal(data, pixels)
    assert bool(arguments.get("rgb")) == is_colour
    assert arguments["axis_labels"] == ("frame", "z", "y", "x")


@pytest.mark.parametrize("kind", ["grey", "vector", "colour"])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_nrrd_and_metaimage_of_several_frames_open_with_all_of_them(tmp_path, kind, suffix):
    """They were refused, with the advice to choose one by an option of the command line."""
    sitk = pytest.importorskip("SimpleITK")
    shape = (3, 4, 9, 8, 3) if kind == "colour" else (3, 4, 9, 8)
    voxels = np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)
    stored = np.moveaxis(voxels, 0, -1).astype(np.uint16) if kind == "vector" else voxels
    image = sitk.GetImageFromArray(stored, isVector=kind != "grey")
    image.SetSpacing((0.5, 0.5, 2.0) if kind == "vector" else (0.5, 0.5, 2.0, 1.0))
    path = tmp_path / f"time{suffix}"
    sitk.WriteImage(image, str(path), useCompression=True)
    ((data, arguments, layer_type),) = read_layers(path)
    layer = Layer.create(data, arguments, layer_type)
    assert layer.axis_labels == ("frame", "z", "y", "x") and layer.rgb == (kind == "colour")
    for number in range(3):
        volume = read_volume(path, frame=number)
        assert not np.array_equal(volume.values, read_volume(path, frame=(number + 1) % 3).values)
        np.testing.assert_array_equal(
            layer.data[number], volume.values if volume.colours is None else volume.colours
        )
        shown = scan_of_layer(layer, (number, 0, 0, 0)).volume()
        np.testing.assert_array_equal(shown.values, volume.values)
        assert shown.geometry.matches(volume.geometry)
        assert f"Frame {number} of 3, counted from 0." in shown.notes


def test_scans_of_several_frames_in_a_folder_are_among_those_to_open(tmp_path):
    """Only DICOM was: the others were passed over, as in a fit."""
    voxels = np.random.default_rng(0).integers(1, 255, (3, 4, 9, 8)).astype(np.uint8)
    nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), tmp_path / "series.nii.gz")
    tifffile.imwrite(tmp_path / "cells.tif", voxels, metadata={"axes": "TZYX"}, ome=True)
    tifffile.imwrite(tmp_path / "pages.tif", voxels[0], photometric="minisblack")
    found = {scan.path.name: scan for scan in scans_at(tmp_path)}
    assert {name: scan.shape for name, scan in found.items()} == {
        "series.nii.gz": (8, 9, 4), "cells.tif": (4, 9, 8), "pages.tif": (4, 9, 8),
    }  # fmt: skip
    shapes = {name: [data.shape for data, _, _ in read_layers(scan)] for name, scan in found.items()}
    assert shapes == {
        "series.nii.gz": [(3, 4, 9, 8)], "cells.tif": [(3, 4, 9, 8)], "pages.tif": [(4, 9, 8)],
    }  # fmt: skip


def test_an_empty_frame_keeps_the_others_from_nobody(tmp_path):
    """A frame before the tracer comes, or a channel of nothing; NIfTI and NRRD opened with it."""
    voxels = np.random.default_rng(0).integers(1, 255, (2, 4, 9, 8)).astype(np.uint8)
    voxels[0] = 0
    tifffile.imwrite(tmp_path / "cells.tif", voxels, metadata={"axes": "TZYX"}, ome=True)
    times = [
        dataset
        for time, frame in enumerate(voxels)
        for dataset in series_datasets(frame, TemporalPositionIdentifier=time)
    ]
    save_all(as_one_series(times), tmp_path / "pet")
    scans = [tmp_path / "cells.tif", *scans_at(tmp_path / "pet"), next((tmp_path / "pet").iterdir())]
    for scan in scans:
        ((data, arguments, _),) = read_layers(scan)
        assert data.shape == (2, 4, 9, 8) and not data[0].any() and data[1].all()
        assert arguments["axis_labels"] == ("frame", "z", "y", "x")
    for path in (tmp_path / "cells.tif", tmp_path / "pet"):
        with pytest.raises(ScanReadError, match="no signal"):
            read_volume(path, frame=0)

"""Other formats: MGZ, NRRD and MetaImage, sform and qform, units, frames; compared with their own libraries."""

from __future__ import annotations

import bz2
import gzip
import os
import re
import struct
import subprocess
import sys
import zlib

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import voxel_sizes

from detached_headers import META_IMAGE, NRRD, save_with_voxels_apart
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.itk import reader as itk_reader
from napari_dinoad.images.readers import read_volume
from napari_dinoad.maps import AnomalyMap
from patience import PATIENCE_S

AFFINE = np.array([[-1.1, 0.02, 0, 40], [0.02, 1.1, 0.05, -30.5], [0, -0.05, 2.2, 7.25], [0, 0, 0, 1]])


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(0, 3000, (4, 5, 6)).astype(np.int16)


def test_mgz_lies_where_nibabel_says(tmp_path, values):
    nib.save(nib.MGHImage(values, AFFINE), tmp_path / "t1.mgz")
    volume = read_volume(tmp_path / "t1.mgz")
    expected = nib.load(tmp_path / "t1.mgz")
    np.testing.assert_array_equal(volume.geometry.affine, expected.affine.astype(np.float32))
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values)
    assert volume.name == "t1"
    (scan,) = discover_scans(tmp_path).scans
    assert scan.shape == (4, 5, 6)


def test_mgz_frames(tmp_path, values):
    nib.save(nib.MGHImage(np.stack([values, values + 1], axis=-1), AFFINE), tmp_path / "fmri.mgz")
    with pytest.raises(ScanReadError, match=r"2 frames \(shape \(4, 5, 6, 2\)\).*--frame"):
        read_volume(tmp_path / "fmri.mgz")
    volume = read_volume(tmp_path / "fmri.mgz", frame=1)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values + 1)


def itk_image(values):
    """Return a SimpleITK image of ``values`` (i, j, k), turned and shifted."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    turn = sitk.VersorTransform([0.2, -0.5, 0.6], 0.4)
    image.SetDirection(turn.GetMatrix())
    image.SetSpacing((0.4, 0.4, 5.0))
    image.SetOrigin((-20.5, 31.25, 7.0))
    return sitk, image


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_nrrd_and_metaimage_lie_where_simpleitk_says(tmp_path, values, suffix):
    sitk, image = itk_image(values)
    sitk.WriteImage(image, str(tmp_path / f"ct{suffix}"))
    volume = read_volume(tmp_path / f"ct{suffix}")
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values)
    for index in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        lps = image.TransformIndexToPhysicalPoint(index)
        ras = volume.geometry.affine[:3, :3] @ index + volume.geometry.affine[:3, 3]
        np.testing.assert_allclose(ras, np.array(lps) * (-1, -1, 1), atol=1e-4)
    assert volume.geometry.spacing == pytest.approx((5, 0.4, 0.4), abs=1e-5)
    scans = [scan for scan in discover_scans(tmp_path).scans if scan.name == "ct"]
    assert [scan.shape for scan in scans] == [(4, 5, 6)]
    assert scans[0].spacing_mm == pytest.approx((0.4, 0.4, 5.0))


def test_nrrd_and_nifti_of_one_scan_are_the_same_volume(tmp_path, values):
    sitk, image = itk_image(values)
    for name in ("ct.nrrd", "ct.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
    one, other = (read_volume(tmp_path / name) for name in ("ct.nrrd", "ct.nii.gz"))
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(one.geometry.canonical_affine, other.geometry.canonical_affine, atol=1e-4)


def test_itk_colour_frames_and_2d(tmp_path, values):
    sitk, _ = itk_image(values)
    colour = np.zeros((6, 5, 4, 3), np.uint8)
    colour[..., 1] = np.arange(4, dtype=np.uint8) * 50
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "rgb.mha"))
    volume = read_volume(tmp_path / "rgb.mha")
    assert volume.geometry.shape == (4, 5, 6)
    np.testing.assert_allclose(volume.geometry.to_stored(volume.values)[3], 0.587 * 150, atol=1e-3)
    assert volume.full_scale == 255
    four = np.random.default_rng(1).random((3, 6, 5, 4), dtype=np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(four, isVector=False), str(tmp_path / "time.nrrd"))
    with pytest.raises(ScanReadError, match="3 frames"):
        read_volume(tmp_path / "time.nrrd")
    volume = read_volume(tmp_path / "time.nrrd", frame=2)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), four[2].T)
    sitk.WriteImage(sitk.GetImageFromArray(four[0, 0]), str(tmp_path / "flat.mha"))
    volume = read_volume(tmp_path / "flat.mha")
    np.testing.assert_array_equal(volume.values[0], four[0, 0])
    assert not volume.geometry.is_physical


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_damaged_itk_files_are_named(tmp_path, values, suffix):
    sitk, image = itk_image(values)
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ScanReadError, match=r"ct\.\w+: .*(damaged|not a readable)"):
        read_volume(path)
    path.write_text("no scan")
    with pytest.raises(ScanReadError, match="not a readable"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nhdr", ".mhd"])
def test_compressed_voxels_that_are_damaged_are_refused(tmp_path, values, suffix):
    """ITK gives zeros for what it cannot unpack, and says nothing: half of a scan was black."""
    sitk, image = itk_image(values)
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(image, str(path), useCompression=True)
    read_volume(path)
    (held_in,) = set(tmp_path.iterdir()) - {path} or {path}
    whole = held_in.read_bytes()
    for damaged in (whole[:-60] + bytes(60), whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-60]):
        held_in.write_bytes(damaged)
        with pytest.raises(ScanReadError, match=r"ct\.\w+: damaged or cut short"):
            read_volume(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nhdr", ".mhd"])
def test_compressed_voxels_are_unpacked_once(tmp_path, values, suffix, monkeypatch):
    sitk, image = itk_image(values)
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(image, str(path), useCompression=True)
    monkeypatch.setattr(
        itk_reader, "require_whole_voxels", lambda *_: pytest.fail("unpacked to look at them")
    )
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("more", [b"", b"anything"])
def test_compressed_voxels_that_no_checksum_is_known_of_are_read(tmp_path, values, pack, order, more):
    """ITK turns the bytes of big-endian ones about, and what follows them hides the checksum."""
    pytest.importorskip("SimpleITK")
    packed = pack(values.astype(f"{order}i2").tobytes(order="F"))
    header = (
        f"ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nCompressedData = True\n"
        f"CompressedDataSize = {len(packed)}\nBinaryDataByteOrderMSB = {order == '>'}\nElementDataFile = LOCAL\n"
    )
    path = tmp_path / "ct.mha"
    path.write_bytes(header.encode() + packed + more)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values)
    path.write_bytes(header.encode() + packed[:-9] + bytes(9) + more)
    with pytest.raises(ScanReadError, match=r"ct\.mha: damaged or cut short"):
        read_volume(path)


@pytest.mark.parametrize("size", ["", "CompressedDataSize = 0\n"])
def test_compressed_voxels_whose_size_is_not_told_are_refused_where_itk_needs_it(tmp_path, values, size):
    """ITK unpacked the header in vain, and gave what was in memory."""
    pytest.importorskip("SimpleITK")
    packed = zlib.compress(values.astype("<i2").tobytes(order="F"))
    header = (
        f"ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nCompressedData = True\n{size}"
        "ElementDataFile = "
    )
    (tmp_path / "ct.mha").write_bytes(header.encode() + b"LOCAL\n" + packed)
    with pytest.raises(ScanReadError, match=r"ct\.mha: .* how many bytes .* CompressedDataSize"):
        read_volume(tmp_path / "ct.mha")
    (tmp_path / "ct.mhd").write_text(f"{header}ct.zraw\n")
    (tmp_path / "ct.zraw").write_bytes(packed)
    volume = read_volume(tmp_path / "ct.mhd")
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values)


@pytest.mark.parametrize(("suffix", "size"), [(".nrrd", b"sizes: 4 5 6"), (".mha", b"DimSize = 4 5 6")])
def test_fewer_compressed_voxels_than_the_header_says_are_refused(tmp_path, values, suffix, size):
    sitk, image = itk_image(values)
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(image, str(path), useCompression=True)
    content = path.read_bytes()
    assert size in content
    path.write_bytes(content.replace(size, size[:-1] + b"6000000"))
    with pytest.raises(ScanReadError, match=r"ct\.\w+: damaged or cut short"):
        read_volume(path)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_nrrd_that_says_to_be_larger_than_a_file_can_be_takes_no_memory(tmp_path, encoding):
    pytest.importorskip("SimpleITK")
    path = tmp_path / "ct.nrrd"
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 9000 900 9\nencoding: {encoding}\nendian: little\n\n"
    )
    path.write_bytes(header.encode() + bytes(100))
    with pytest.raises(ScanReadError, match=r"ct\.nrrd: damaged or cut short") as caught:
        read_volume(path)
    assert not isinstance(caught.value.__cause__, RuntimeError)  # ITK's: it was not asked.


@pytest.mark.parametrize("line", ["units: {}", "data file: {}", "{}: 1", "labels: {}"])
def test_a_line_over_which_itk_ends_the_process(tmp_path, line):
    path = tmp_path / "ct.nhdr"
    path.write_text(f"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 8 9\n{line.format('x' * 2000)}\n")
    refused_in_a_process_of_its_own(path, "a line of more than 500 letters")


def test_long_lines_of_ones_own_are_read(tmp_path, values):
    write_nrrd(
        tmp_path / "a.nrrd",
        values,
        "spacings: 1 2 3",
        f"# {'x' * 2000}",
        f"content: {'x' * 2000}",
        f"k:={'x' * 2000}",
    )
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").values.T[::-1, ::-1], values)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
@pytest.mark.parametrize("named", ["pipe", "LIST\npipe"])
def test_a_header_that_names_a_pipe_is_not_waited_for(tmp_path, values, suffix, named):
    sitk, image = itk_image(values)
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(image, str(path))
    os.mkfifo(tmp_path / "pipe")
    path.write_text(re.sub(r"(?i)((data file|ElementDataFile) ?[:=]) .*", rf"\1 {named}", path.read_text()))
    refused_in_a_process_of_its_own(path, "names a pipe or a device")


DETACHED = {".mhd": META_IMAGE, ".nhdr": NRRD}
RAW = {".mhd": "HeaderSize = {}", ".nhdr": "encoding: raw\nbyte skip: {}"}


@pytest.fixture
def voxel_files(tmp_path):
    """Return 4 × 3 × 2 voxels, of which there are files: all of them, each slice, each with something before."""
    stored = np.arange(24, dtype="<i2")
    whole = stored.tobytes()
    (tmp_path / "all.raw").write_bytes(whole)
    (tmp_path / "all.zlib").write_bytes(zlib.compress(whole))
    (tmp_path / "all.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "more.gz").write_bytes(gzip.compress(b"before" + whole))
    (tmp_path / "half.zlib").write_bytes(zlib.compress(whole[:24]))
    (tmp_path / "more.zlib").write_bytes(zlib.compress(whole + b"behind"))
    for number in range(2):
        (tmp_path / f"slice{number}.raw").write_bytes(whole[24 * number : 24 * (number + 1)])
        (tmp_path / f"more{number}.raw").write_bytes(b"before" + whole[24 * number : 24 * (number + 1)])
    return stored.reshape(2, 3, 4)


@pytest.mark.parametrize("suffix", DETACHED)
@pytest.mark.parametrize(
    ("skipped", "named"),
    [
        (0, "all.raw\n"),
        (0, "LIST\nslice0.raw\nslice1.raw\n"),
        (0, "LIST 2\r\nslice0.raw\r\nslice1.raw\r\n"),
        (6, "LIST\nmore0.raw\nmore1.raw\n"),
        (-1, "LIST\nmore0.raw\nmore1.raw\n"),
        (0, "slice%d.raw 0 1 1\n"),
        (6, "more%01d.raw 0 1 1\n"),
    ],
)
def test_voxels_in_files_that_a_header_names(tmp_path, voxel_files, suffix, skipped, named):
    pytest.importorskip("SimpleITK")
    (tmp_path / f"ct{suffix}").write_text(
        DETACHED[suffix].format(RAW[suffix].format(skipped), named), newline=""
    )
    values = read_volume(tmp_path / f"ct{suffix}").values
    np.testing.assert_array_equal(values[:, ::-1, ::-1], voxel_files)


@pytest.mark.parametrize(
    ("suffix", "fields", "named"),
    [
        (".mhd", "", "LIST\n"),
        (".mhd", "", "LIST"),
        (".mhd", "", "LIST\nslice0.raw\n"),
        (".mhd", "", "LIST\nslice0.raw\nslice1.raw"),
        (".mhd", "", "LIST\nall.raw\n"),
        (".mhd", "", "LIST 3\nall.raw\n"),
        (".mhd", "", "slice%d.raw 0 0 1\n"),
        (".mhd", "", "more0.raw\n"),
        (".mhd", "", "LIST\nmore0.raw\nmore1.raw\n"),
        (".mhd", "HeaderSize = 4", "LIST\nmore0.raw\nmore1.raw\n"),
        (".mhd", "CompressedData = 1", "half.zlib\n"),
        (".mhd", "CompressedData: true", "half.zlib\n"),
        (".mhd", "CompressedData = True\nHeaderSize = 0", "half.zlib\n"),
        (".mhd", "CompressedData = True\nCompressedDataSize = 10", "all.zlib\n"),
        (".mhd", "CompressedData = True", "more.zlib\n"),
        (".nhdr", "encoding: raw", "LIST\nmore0.raw\nmore1.raw\n"),
        (".nhdr", "encoding: raw\nbyteskip: 4", "more%d.raw 0 1 1\n"),
        (".nhdr", "encoding: gzip", "more.gz\n"),
    ],
)
def test_files_that_do_not_hold_just_the_voxels_are_refused(tmp_path, voxel_files, suffix, fields, named):
    """What was in memory, or in another file, stood for voxels."""
    pytest.importorskip("SimpleITK")
    path = tmp_path / f"ct{suffix}"
    path.write_text(DETACHED[suffix].format(fields, named))
    is_surplus = re.match(r"LIST\nmore|more%d", named)
    told = "more than the voxels" if is_surplus else "(damaged or cut short|not a readable)"
    with pytest.raises(ScanReadError, match=rf"ct\.\w+: {told}"):
        read_volume(path)


@pytest.mark.parametrize("suffix", DETACHED)
@pytest.mark.parametrize(
    "named", ["a%s%s%s%s 0 1 1", "a%n%n%n 0 1 1", "a%99999d 0 1 1", "a%d%s%n 0 1 1", "a%d 0 9 0"]
)
def test_a_pattern_of_files_over_which_itk_ends_the_process(tmp_path, suffix, named):
    path = tmp_path / f"ct{suffix}"
    path.write_text(DETACHED[suffix].format(RAW[suffix].format(0), f"{named}\n"))
    refused_in_a_process_of_its_own(path, "not a readable")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("named", ["ElementDataFile: pipe0\n", "ElementDataFile = pipe%d 0 1 1\n"])
def test_a_pipe_that_is_named_in_another_way_is_not_waited_for(tmp_path, named):
    os.mkfifo(tmp_path / "pipe0")
    (tmp_path / "ct.mhd").write_text(META_IMAGE.partition("ElementDataFile")[0].format("") + named)
    refused_in_a_process_of_its_own(tmp_path / "ct.mhd", "names a pipe or a device")


def test_how_many_bytes_are_there_and_expected_is_told(tmp_path):
    pytest.importorskip("SimpleITK")
    (tmp_path / "all.raw").write_bytes(bytes(2_000_001))
    header = META_IMAGE.replace("4 3 2", "100 100 100").format("", "all.raw\n")
    (tmp_path / "ct.mhd").write_text(header)
    with pytest.raises(
        ScanReadError, match=r"more than the voxels \(2000001 bytes of voxels in all\.raw, expected 2000000\)"
    ):
        read_volume(tmp_path / "ct.mhd")


@pytest.mark.parametrize(
    ("suffix", "at_end"), [(".mhd", "HeaderSize = -1"), (".nhdr", "byte skip: -1")], ids=str
)
def test_what_to_do_with_bytes_beyond_the_voxels_is_told(tmp_path, suffix, at_end):
    """ITK reads the first ones, whatever they are."""
    pytest.importorskip("SimpleITK")
    path, voxels = tmp_path / f"ct{suffix}", np.arange(24)
    save_with_voxels_apart(path, voxels)
    whole = read_volume(path)
    raw = path.with_suffix(".raw")
    raw.write_bytes(b"a header of some scanner" + raw.read_bytes())
    with pytest.raises(ScanReadError, match=rf"write “{at_end}” into the header") as refused:
        read_volume(path)
    assert "72 bytes of voxels in ct.raw, expected 48" in str(refused.value)
    assert "damaged" not in str(refused.value)
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first, at_end, *others]) + "\n")
    np.testing.assert_array_equal(read_volume(path).values, whole.values)


def refused_in_a_process_of_its_own(path, told):
    code = (
        "import sys; from napari_dinoad.errors import ScanReadError\n"
        "from napari_dinoad.images.readers import read_volume\n"
        "try: read_volume(sys.argv[1])\n"
        "except ScanReadError as error: print(error)"
    )
    command = [sys.executable, "-c", code, path]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert run.returncode == 0
    assert str(path) in run.stdout
    assert told in run.stdout


@pytest.mark.parametrize("named", [b"encoding", b"Encoding"])
def test_a_nrrd_that_itk_cannot_unpack_is_told_as_that(tmp_path, values, named):
    pytest.importorskip("SimpleITK")
    write_nrrd(tmp_path / "a.nrrd", values, "spacings: 1 2 3")
    head, _, voxels = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")
    packed = head.replace(b"encoding: raw", named + b": bzip2") + b"\n\n" + bz2.compress(voxels)
    (tmp_path / "a.nrrd").write_bytes(packed)
    with pytest.raises(ScanReadError, match=r"a\.nrrd: compressed by bzip2.* gzip or raw\."):
        read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize("axis", [0, 3])
@pytest.mark.parametrize(("n_frames", "field"), [(2, b"kinds"), (3, b"kinds"), (4, b"kinds"), (3, b"Kinds")])
def test_frames_of_a_nrrd_of_8_bits_are_no_colours(tmp_path, axis, n_frames, field):
    """Three or four were taken for red, green, blue and alpha; ITK reads fields in any letters."""
    pytest.importorskip("SimpleITK")
    frames = np.random.default_rng(0).integers(0, 255, (4, 5, 6, n_frames), np.uint8)
    path = tmp_path / "a.nrrd"
    write_nrrd_of_frames(path, frames, axis, "list")
    path.write_bytes(path.read_bytes().replace(b"kinds", field, 1))
    for number in range(n_frames):
        volume = read_volume(tmp_path / "a.nrrd", frame=number)
        assert volume.colours is None
        np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), frames[..., number])


@pytest.mark.parametrize("kind", ["time", None])
def test_an_axis_of_a_nrrd_that_itk_does_not_read_is_told(tmp_path, kind):
    """It was told to be unreadable, and to be downloaded again."""
    pytest.importorskip("SimpleITK")
    write_nrrd_of_frames(tmp_path / "a.nrrd", np.zeros((4, 5, 6, 2), np.uint8), 3, kind)
    with pytest.raises(ScanReadError, match=r"a\.nrrd: an axis without direction .* with the kind list"):
        read_volume(tmp_path / "a.nrrd")


def write_nrrd_of_frames(path, frames, axis, kind):
    """Write frames (i, j, k, n) uint8 as a NRRD with these along one axis, called something or nothing."""
    directions, kinds = ["(1,0,0)", "(0,1,0)", "(0,0,1)"], ["domain"] * 3
    directions.insert(axis, "none")
    stored = np.moveaxis(frames, 3, axis)
    fields = [
        "NRRD0004", "type: uint8", "dimension: 4", "space: right-anterior-superior", "encoding: raw",
        f"sizes: {' '.join(map(str, stored.shape))}", f"space directions: {' '.join(directions)}",
    ]  # fmt: skip
    if kind:
        kinds.insert(axis, kind)
        fields.append(f"kinds: {' '.join(kinds)}")
    path.write_bytes("\n".join([*fields, "", ""]).encode() + stored.tobytes(order="F"))


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_without_the_file_of_its_voxels_is_told_as_that(tmp_path, values, suffix):
    sitk, image = itk_image(values)
    sitk.WriteImage(image, str(tmp_path / f"ct{suffix}"))
    for other in set(tmp_path.iterdir()) - {tmp_path / f"ct{suffix}"}:
        other.unlink()
    with pytest.raises(ScanReadError, match=r"voxels is not beside it\. Keep both together"):
        read_volume(tmp_path / f"ct{suffix}")


def write_nrrd(path, values, *fields):
    header = (
        "NRRD0004",
        "type: int16",
        "dimension: 3",
        "sizes: {} {} {}".format(*values.shape),
        "encoding: raw",
    )
    text = "\n".join([*header, "endian: little", *fields])
    path.write_bytes(f"{text}\n\n".encode() + values.astype("<i2").tobytes(order="F"))


def test_a_size_of_a_nrrd_that_is_no_number_is_told(tmp_path, values):
    """ITK takes 1 mm for it, whatever the thickness of slices is."""
    pytest.importorskip("SimpleITK")
    write_nrrd(tmp_path / "a.nrrd", values, "spacings: 2 3 NaN", "thicknesses: NaN NaN 5")
    volume = read_volume(tmp_path / "a.nrrd")
    assert volume.geometry.spacing == (1, 3, 2)
    assert any("(NaN): 1 mm is assumed" in note for note in volume.notes)


@pytest.mark.parametrize("kinds", ["list domain domain domain", "RGB-color space space space"])
def test_an_axis_of_a_nrrd_that_is_none_of_space_needs_no_size(tmp_path, kinds):
    """By its standard it has none (NaN)."""
    pytest.importorskip("SimpleITK")
    values = np.random.default_rng(0).integers(0, 200, (3, 8, 9, 10)).astype(np.uint8)
    header = "NRRD0004\ntype: uint8\ndimension: 4\nsizes: 3 8 9 10\nencoding: raw\n"
    fields = f"kinds: {kinds}\nspacings: NaN 2 3 4\n\n"
    (tmp_path / "a.nrrd").write_bytes(f"{header}{fields}".encode() + values.tobytes(order="F"))
    volume = read_volume(tmp_path / "a.nrrd", frame=0)
    assert volume.geometry.spacing == (4, 3, 2)
    assert not any("NaN" in note for note in volume.notes)


def test_a_nrrd_with_slanting_axes(tmp_path, values):
    """A tilted gantry; ITK reads it, but writes no NIfTI of it."""
    pytest.importorskip("SimpleITK")
    directions = "space directions: (1,0,0) (0.5,2,0) (0,0,3)"
    write_nrrd(
        tmp_path / "ct.nrrd", values, "space: left-posterior-superior", directions, "space origin: (4,5,6)"
    )
    volume = read_volume(tmp_path / "ct.nrrd")
    expected = [[-1, -0.5, 0, -4], [0, -2, 0, -5], [0, 0, 3, 6], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.geometry.affine, expected, atol=1e-6)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values.astype(np.int16))
    assert volume.notes == ()


def test_what_a_header_does_not_say_of_place_and_size_is_told(tmp_path, values):
    pytest.importorskip("SimpleITK")
    write_nrrd(tmp_path / "size.nrrd", values, "spacings: 1 2 3")
    assert [note[:14] for note in read_volume(tmp_path / "size.nrrd").notes] == ["No orientation"]
    write_nrrd(tmp_path / "none.nrrd", values)
    assert [note[:13] for note in read_volume(tmp_path / "none.nrrd").notes] == [
        "No orientatio",
        "No voxel size",
    ]
    data = values.astype("<i2").tobytes(order="F")
    sizes = " ".join(map(str, values.shape))
    head = f"ObjectType = Image\nNDims = 3\nDimSize = {sizes}\nElementType = MET_SHORT\n"
    (tmp_path / "none.mha").write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + data)
    assert len(read_volume(tmp_path / "none.mha").notes) == 2


@pytest.mark.parametrize("spelt", [str.title, str.upper, str.lower], ids=["Title", "CAPITALS", "small"])
def test_what_a_nrrd_says_of_place_size_and_unit_may_be_spelt_in_capitals(tmp_path, values, spelt):
    """ITK takes them, and they were told to be missing."""
    pytest.importorskip("SimpleITK")

    def notes_of(*fields):
        named = (field.partition(":") for field in fields)
        write_nrrd(tmp_path / "a.nrrd", values, *(spelt(name) + ":" + value for name, _, value in named))
        return [note[:24] for note in read_volume(tmp_path / "a.nrrd").notes]

    directions = "space directions: (1,0,0) (0,2,0) (0,0,3)"
    assert notes_of("space: RAS", directions) == []
    assert notes_of("space: RAS", directions, 'space units: "cm" "cm" "cm"') == ["The header's unit is cm,"]
    assert notes_of("spacings: 1 2 nan") == ["No orientation in the he", "No voxel size along one "]


@pytest.mark.parametrize(
    ("space", "is_told"),
    [
        ("space: left-posterior-superior", False),
        ("space: RAS", False),
        ("space: Right-Anterior-Superior", False),
        ("space: 3D-right-handed", True),
        ("space: scanner-xyz", True),
        ("space dimension: 3", True),
    ],
)
def test_a_space_that_does_not_say_sides_is_told(tmp_path, values, space, is_told):
    pytest.importorskip("SimpleITK")
    write_nrrd(tmp_path / "a.nrrd", values, space, "space directions: (1,0,0) (0,2,0) (0,0,3)")
    notes = read_volume(tmp_path / "a.nrrd").notes
    assert [note.startswith("The header's space says nothing") for note in notes] == [True] * is_told


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        ('space units: "um" "um" "um"', "um"),
        ('space units: "mm" "mm" "mm"', ""),
        ('space units: "" "" ""', ""),
    ],
)
def test_a_unit_that_itk_passes_over_is_told(tmp_path, values, field, unit):
    """The scan, and so map and mask, lie where viewers that read with ITK show it."""
    pytest.importorskip("SimpleITK")
    directions = "space directions: (500,0,0) (0,500,0) (0,0,500)"
    write_nrrd(tmp_path / "a.nrrd", values, "space: RAS", directions, field)
    volume = read_volume(tmp_path / "a.nrrd")
    assert volume.geometry.spacing == (500, 500, 500)
    assert [note.split(",")[0] for note in volume.notes] == ([f"The header's unit is {unit}"] if unit else [])
    write_nrrd(tmp_path / "b.nrrd", values, "spacings: 1 2 3", 'units: "m" "m" "m"')
    assert read_volume(tmp_path / "b.nrrd").notes[1].startswith("The header's unit is m,")


@pytest.mark.parametrize("name", ["head.hdr", "head.img"])
def test_a_pair_of_files_says_what_to_convert_it_to(tmp_path, values, name):
    nib.save(nib.Nifti1Pair(values.astype(np.int16), np.eye(4)), tmp_path / "head.img")
    with pytest.raises(ScanReadError, match=r"NIfTI or Analyze pair.*Convert it to \.nii\.gz"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["head.hdr", "head.img", "T1.PAR", "T1.REC", "t1+orig.BRIK.gz", "t1.mnc"])
def test_scans_in_formats_that_are_not_read_say_what_to_convert_them_to(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    (skipped,) = discover_scans(tmp_path).skipped
    assert "not read. Convert it to .nii.gz" in skipped.reason
    with pytest.raises(ScanReadError, match=r"not read\. Convert it to \.nii\.gz"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.webp", "Save it as PNG"),
        ("a.JP2", "Save it as PNG"),
        ("a.gif", "Save it as PNG"),
        ("a.pgm", "Save it as PNG"),
        ("a.nii.bz2", "compress it with gzip"),
        ("a.gipl.gz", "for instance with SimpleITK"),
        ("a.mif", "with mrconvert"),
        ("a.svs", "Export regions of it as TIFF"),
        ("a.CZI", "Export regions of it as TIFF"),
        ("a.E2E", "Export it as DICOM or TIFF"),
        ("a.mp4", "Save its frames as PNG"),
        ("a.v", "Convert it to .nii.gz"),
        ("study.ZIP", "Unpack it, and give the folder"),
        ("study.tar.gz", "Unpack it, and give the folder"),
    ],
)
def test_files_of_kinds_that_are_not_read_say_what_to_do(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"x")
    (skipped,) = discover_scans(tmp_path).skipped
    assert told in skipped.reason and "not a scan" not in skipped.reason
    with pytest.raises(ScanReadError, match=told):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("n_axes", ["-3", "93", "1e99", "", "nan"])
@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_a_number_of_axes_over_which_itk_ends_the_process(tmp_path, values, suffix, n_axes):
    sitk, image = itk_image(values)
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", f"NDims = {n_axes}".encode()))
    with pytest.raises(
        ScanReadError, match=r"not a readable \.mh[da] file \(an impossible number of axes, NDims\)"
    ):
        read_volume(path)


def test_without_simpleitk_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    (tmp_path / "ct.nrrd").write_bytes(b"NRRD0004")
    with pytest.raises(ScanReadError, match=r'needs SimpleITK.*pip install "napari-dinoad\[itk\]"'):
        read_volume(tmp_path / "ct.nrrd")


def nifti(values, sform=None, qform=None, unit="mm"):
    image = nib.Nifti1Image(values, None)
    image.set_sform(sform, 0 if sform is None else 2)
    image.set_qform(qform, 0 if qform is None else 1)
    if sform is not None and qform is None:
        image.header.set_zooms(voxel_sizes(sform))
    image.header.set_xyzt_units(unit)
    return image


def test_sform_and_qform_that_disagree_are_told(tmp_path, values):
    moved = AFFINE.copy()
    moved[0, 3] += 12
    nib.save(nifti(values, AFFINE, moved), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.notes == ("sform and qform disagree by up to 12.0 mm: the sform is used.",)
    np.testing.assert_allclose(volume.geometry.affine, AFFINE, atol=1e-5)


def test_a_sform_of_zeros_gives_way_to_the_qform(tmp_path, values):
    """Some converters set its code only; results are written with the qform alone, so other programs place them."""
    rigid = np.diag([-1.1, 1.1, 2.2, 1])
    for name, qform in (("s.nii", rigid), ("none.nii", None)):
        nib.save(nifti(values, rigid, qform), tmp_path / name)
        content = bytearray((tmp_path / name).read_bytes())
        content[280:328] = bytes(48)  # srow_x, srow_y, srow_z
        (tmp_path / name).write_bytes(content)
        assert not nib.load(tmp_path / name).affine[:3].any()
    volume = read_volume(tmp_path / "s.nii")
    np.testing.assert_allclose(volume.geometry.affine, rigid, atol=1e-6)
    assert volume.notes == ("The sform is set, but holds zeros only: the qform is used.",)
    AnomalyMap(volume.values, volume).save(tmp_path / "map.nii")
    written = nib.load(tmp_path / "map.nii")
    assert written.affine.tobytes() == volume.geometry.affine.tobytes()
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (0, 1)
    with pytest.raises(ScanReadError, match=r"none\.nii.*no usable orientation"):
        read_volume(tmp_path / "none.nii")


def test_sform_and_qform_that_agree_are_not_mentioned(tmp_path, values):
    rigid = np.diag([-1.1, 1.1, 2.2, 1])
    nib.save(nifti(values, rigid, rigid), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").notes == ()
    nib.save(nifti(values, None, rigid), tmp_path / "b.nii")
    volume = read_volume(tmp_path / "b.nii")
    assert volume.notes == ()
    np.testing.assert_allclose(volume.geometry.affine, rigid)


def test_no_orientation_at_all_is_told(tmp_path, values):
    nib.save(nifti(values), tmp_path / "a.nii")
    (note,) = read_volume(tmp_path / "a.nii").notes
    assert note.startswith("No orientation in the header")


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e-3), ("mm", 1.0), ("unknown", 1.0)])
def test_other_units_become_millimetres(tmp_path, values, unit, factor):
    nib.save(nifti(values, AFFINE, unit=unit), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    scaled = np.diag([factor, factor, factor, 1]) @ AFFINE
    np.testing.assert_allclose(volume.geometry.affine, scaled, rtol=1e-6, atol=1e-6)
    assert len(volume.notes) == (unit == "micron")


def test_an_impossible_unit_is_read_as_millimetres(tmp_path, values):
    nib.save(nifti(values, AFFINE, unit="meter"), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.geometry.affine, AFFINE, atol=1e-5)
    assert "impossible voxels" in volume.notes[0]


def test_a_unit_that_nifti_has_not_is_none(tmp_path, values):
    image = nifti(values, AFFINE)
    image.header["xyzt_units"] = 5
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.geometry.affine, AFFINE, atol=1e-5)
    path = AnomalyMap(volume.values, volume).save(tmp_path / "map.nii")
    assert nib.load(path).header.get_xyzt_units()[0] == "mm"


def with_pixdim(path, values, *sizes):
    """Write a NIfTI file that is placed by its qform, with other voxel sizes than the library would write."""
    nib.save(nifti(values, None, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    content = bytearray(path.read_bytes())
    content[80 : 80 + 4 * len(sizes)] = struct.pack(f"<{len(sizes)}f", *sizes)
    path.write_bytes(content)
    return path


def test_voxel_sizes_that_are_none_are_told(tmp_path, values):
    assert read_volume(with_pixdim(tmp_path / "a.nii", values, 2, 3, 4)).notes == ()
    volume = read_volume(with_pixdim(tmp_path / "a.nii", values, 2, 0, 0))
    assert volume.notes == ("No voxel size in the header along j and k (pixdim is 0): 1 mm is assumed.",)
    np.testing.assert_allclose(volume.geometry.spacing, (1, 1, 2))
    volume = read_volume(with_pixdim(tmp_path / "a.nii", values, -2, 3, 4))
    assert volume.notes == ("The header's voxel sizes (pixdim) are negative: read as positive ones.",)
    np.testing.assert_allclose(volume.geometry.spacing, (4, 3, 2))


def test_a_sform_needs_no_voxel_sizes(tmp_path, values):
    path = tmp_path / "a.nii"
    nib.save(nifti(values, AFFINE), path)
    content = bytearray(path.read_bytes())
    content[80:92] = bytes(12)
    path.write_bytes(content)
    assert read_volume(path).notes == ()


def test_a_sform_alone_that_contradicts_the_voxel_sizes_is_told(tmp_path, values):
    """ITK reads the sizes from pixdim, nibabel and most others from the sform."""
    path = tmp_path / "a.nii"
    nib.save(nifti(values, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    content = bytearray(path.read_bytes())
    for sizes, is_told in (((2, 3, 4), False), ((2, 3.001, 4), False), ((1, 1, 1), True)):
        content[80:92] = struct.pack("<3f", *sizes)
        path.write_bytes(content)
        volume = read_volume(path)
        assert volume.geometry.spacing == (4, 3, 2)
        assert [note.split(":")[0] for note in volume.notes] == [
            "sform and pixdim disagree on the voxel size (2 × 3 × 4 and 1 × 1 × 1)"
        ] * is_told
        (scan,) = discover_scans(tmp_path).scans
        assert scan.spacing_mm == (2, 3, 4)


def test_folders_tell_voxel_sizes_in_millimetres(tmp_path, values):
    nib.save(nifti(values, np.diag([500.0, 600.0, 2000.0, 1.0]), unit="micron"), tmp_path / "a.nii")
    (scan,) = discover_scans(tmp_path).scans
    assert scan.spacing_mm == pytest.approx((0.5, 0.6, 2.0))
    assert scan.read().geometry.spacing == pytest.approx((2.0, 0.6, 0.5))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_voxels_that_begin_inside_the_header_are_refused(tmp_path, values, kind):
    path = tmp_path / "a.nii"
    nib.save(kind(values, AFFINE), path)
    content = bytearray(path.read_bytes())
    place, size = (108, 4) if kind is nib.Nifti1Image else (168, 8)
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(ScanReadError, match=r"a\.nii: .*begin at byte 0, inside it"):
        read_volume(path)
    (skipped,) = discover_scans(tmp_path).skipped
    assert "begin at byte 0" in skipped.reason


def test_mgh_without_orientation_is_told(tmp_path, values):
    path = tmp_path / "a.mgh"
    nib.save(nib.MGHImage(values, AFFINE), path)
    content = bytearray(path.read_bytes())
    content[28:30] = bytes(2)
    path.write_bytes(content)
    (note,) = read_volume(path).notes
    assert note.startswith("No orientation in the header (goodRASFlag is 0)")


def test_a_frame_of_a_scaled_series(tmp_path, values):
    series = np.stack([values, values // 2, values // 3], axis=-1)
    image = nib.Nifti1Image(series, AFFINE)
    image.header.set_slope_inter(0.5, -100)
    nib.save(image, tmp_path / "s.nii.gz")
    expected = nib.load(tmp_path / "s.nii.gz").get_fdata()[..., 2]
    volume = read_volume(tmp_path / "s.nii.gz", frame=2)
    np.testing.assert_allclose(volume.geometry.to_stored(volume.values), expected, rtol=1e-6)
    assert volume.notes == ("Frame 2 of 3, counted from 0.",)


def test_complex_values_are_refused(tmp_path):
    values = np.ones((3, 3, 3), np.complex64)
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "k.nii")
    with pytest.raises(ScanReadError, match="complex"):
        read_volume(tmp_path / "k.nii")
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "k.nrrd"))
    with pytest.raises(ScanReadError, match="complex values"):
        read_volume(tmp_path / "k.nrrd")

"""Damaged files of every format but DICOM: refused by name, or read; nothing else ever comes out."""

from __future__ import annotations

import gc
import gzip
import tracemalloc
import warnings

import nibabel as nib
import numpy as np
import pytest
import tifffile
from nibabel.filebasedimages import ImageFileError
from PIL import Image

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.damage import naming
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.nifti_files import read_frames, read_nifti
from napari_dinoad.images.pictures import pixels as picture_pixels
from napari_dinoad.images.readers import read_volume
from refused_files import refuse_opening

HEADER_BYTES = {".nii": 352, ".mgh": 284}


def write(path):
    """Write a small scan in the format of the path's name."""
    values = np.random.default_rng(0).integers(0, 1000, (12, 10, 8)).astype(np.int16)
    grey = (values[..., 0] % 256).astype(np.uint8)
    name = path.name
    if name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    elif name.endswith((".mgh", ".mgz")):
        nib.save(nib.MGHImage(values.astype(np.float32), np.eye(4)), path)
    elif name.endswith((".nrrd", ".mha")):
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    elif name == "pages.tif":
        Image.fromarray(grey).save(path, save_all=True, append_images=[Image.fromarray(grey)] * 3)
    elif name == "lzw.tif":
        Image.fromarray(grey).save(path, compression="tiff_lzw")
    elif name == "deep.png":
        Image.fromarray(values[..., 0].astype(np.uint16)).save(path)
    else:
        Image.fromarray(grey).save(path)
    return path


def damaged(whole, n_header, rng):
    """Return a file cut short, or with bytes changed anywhere, in its header, or to a number that makes no sense."""
    data = bytearray(whole)
    way = rng.integers(4)
    if way == 0:
        return bytes(data[: rng.integers(len(data))])
    if way == 1:
        for where in rng.integers(0, len(data), rng.integers(1, 20)):
            data[where] = rng.integers(0, 256)
    elif way == 2:
        for where in rng.integers(0, n_header, rng.integers(1, 6)):
            data[where] = rng.choice([0, 127, 128, 255])
    else:
        where = rng.integers(0, n_header)
        data[where : where + 4] = [b"nan ", b"-1  ", b"1e99", b"\xff\xff\xff\x7f"][rng.integers(4)]
    return bytes(data)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz"])
@pytest.mark.parametrize("from_end", [8, 4])
def test_a_wrong_checksum_at_the_end_is_told(tmp_path, name, from_end):
    path = write(tmp_path / name)
    read_volume(path)
    content = bytearray(path.read_bytes())
    content[-from_end] ^= 1
    path.write_bytes(content)
    with pytest.raises(ScanReadError, match=r"a\..*its checksum is wrong.*Export or download it again"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz"])
def test_a_size_that_a_compressed_file_cannot_have_takes_no_memory(tmp_path, name):
    """A header with a flipped bit asked for gigabytes: the system may end the whole process."""
    path = tmp_path / name
    image = nib.Nifti1Image if "nii" in name else nib.MGHImage
    header_of = {nib.Nifti1Image: (42, "<i2"), nib.MGHImage: (4, ">i4")}
    nib.save(image(np.zeros((12, 10, 8), np.float32), np.eye(4)), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    where, kind = header_of[image]
    content[where : where + np.dtype(kind).itemsize] = np.array(30_000, kind).tobytes()
    path.write_bytes(gzip.compress(bytes(content)))
    tracemalloc.start()
    try:
        with pytest.raises(ScanReadError, match=r"bytes of voxels, more than a file of its size can hold"):
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


def test_a_scan_of_nothing_but_zeros_is_no_larger_than_a_file_can_be(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((256, 256, 200), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ScanReadError, match="no signal"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_wrong_checksum_of_a_series_is_told(tmp_path):
    path = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((6, 5, 4, 3)), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    for read in (lambda: read_volume(path, frame=0), lambda: read_frames(path)):
        with pytest.raises(ScanReadError, match="its checksum is wrong"):
            read()
    assert read_nifti(path, frame=0, to_end=False).values.shape == (4, 5, 6)


@pytest.mark.filterwarnings("ignore")  # the libraries' own, about what they could mend
@pytest.mark.parametrize(
    "name",
    ["a.nii", "a.nii.gz", "a.mgh", "a.mgz", "a.nrrd", "a.mha", "a.png", "deep.png", "a.jpg", "a.bmp", "a.tif",
     "lzw.tif", "pages.tif"],
)  # fmt: skip
def test_damaged_files_are_refused_by_name_or_read(tmp_path, name):
    path = write(tmp_path / name)
    whole = path.read_bytes()
    n_header = min(len(whole), HEADER_BYTES.get(path.suffix, 2500))
    rng = np.random.default_rng(5)
    n_refused = 0
    for _ in range(60):
        path.write_bytes(damaged(whole, n_header, rng))
        found = discover_scans(tmp_path)
        assert len(found.scans) + len(found.skipped) == 1
        try:
            read_volume(path)
        except ScanReadError as error:
            assert name in str(error)
            n_refused += 1
    assert n_refused > 5


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")  # Pillow's own
def test_half_a_file_of_pages_does_not_end_a_batch(tmp_path):
    path = write(tmp_path / "pages.tif")
    write(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:300])
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["a"]
    (skipped,) = found.skipped
    assert skipped.reason.startswith("not a readable image")
    with pytest.raises(ScanReadError, match=r"pages\.tif: not a readable image") as refused:
        read_volume(path)
    assert refused.value.__cause__ is not None


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [(20, b"\x00\x00\x2d\x31", "KeyError"), (4, bytes(4), "Dimensions of the data")],
)
def test_headers_that_make_no_sense_are_told(tmp_path, where, value, reason):
    path = write(tmp_path / "a.mgh")
    data = bytearray(path.read_bytes())
    data[where : where + 4] = value  # the voxels' type, the length of the first axis
    path.write_bytes(bytes(data))
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(ScanReadError, match=rf"a\.mgh: not a readable MGH file \({reason}") as refused:
            read_volume(path)
        del refused
        gc.collect()
    assert [str(warning.message) for warning in left_open] == []


def test_voxels_of_kilometres_are_told(tmp_path):
    """A few flipped bits of a size make them; such a scan was read, and its regions had their volume."""
    path = write(tmp_path / "a.mgh")
    data = bytearray(path.read_bytes())
    data[30:34] = np.array(1e8, ">f4").tobytes()  # the first voxel size, after goodRASFlag
    path.write_bytes(bytes(data))
    with pytest.raises(ScanReadError, match=r"a\.mgh: Affine: expected voxels of at most 10000 mm, got "):
        read_volume(path)


def test_axes_that_point_nowhere_are_told(tmp_path):
    flat = np.array([[1e9, 1e9, 0, 0], [0, 1e-7, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), None)
    image.set_sform(flat, 1)
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(ScanReadError, match=r"a\.nii: Affine: expected an invertible matrix"):
        read_volume(tmp_path / "a.nii")


def test_a_picture_beyond_pillows_limit_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert read_volume(path).values.shape == (1, 12, 10)
    assert Image.MAX_IMAGE_PIXELS == 40, "the limit of the process is as it was"
    monkeypatch.setattr(picture_pixels, "MOST_PIXELS", 100)
    with pytest.raises(ScanReadError, match=r"a\.png: .*12 × 10 pixels, expected at most 100"):
        read_volume(path)
    (skipped,) = discover_scans(tmp_path).skipped
    assert "at most 100" in skipped.reason


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_ends_in_zeros_is_refused(tmp_path, suffix):
    """As after a copy that broke off: Pillow made pixels of the zeros, and told nothing."""
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.arange(4800).reshape(60, 80).astype(np.uint8)).save(path)
    read_volume(path)
    whole = path.read_bytes()
    for n_zeros in (len(whole) // 3, 40):
        path.write_bytes(whole[:-n_zeros] + bytes(n_zeros))
        with pytest.raises(ScanReadError, match=r"a\.\w+: not a readable image \(.*(checksum|no end)"):
            read_volume(path)


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(tmp_path):
    path = tmp_path / "a.jpg"
    picture = Image.fromarray(np.arange(4800).reshape(60, 80).astype(np.uint8))
    picture.resize((8, 6)).save(path)
    picture.save(path, exif=b"Exif\0\0" + path.read_bytes())
    assert read_volume(path).values.shape == (1, 60, 80)
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(ScanReadError, match="its pixels come to no end"):
        read_volume(path)


def test_a_tiff_in_planes_that_lacks_strips_is_refused(tmp_path):
    """A height with a flipped bit made a scan of four million rows of a file of 6 kB."""
    planes = np.random.default_rng(0).integers(0, 2**16, (3, 40, 50), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    read_volume(path)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(40_040)
    with pytest.raises(ScanReadError, match=r"a\.tif: .*3 strips or tiles, expected 3003"):
        read_volume(path)


def test_a_file_that_cannot_be_opened_is_told_as_that(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii")

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(nib, "load", refuse)
    with pytest.raises(ScanReadError, match=r"a\.nii: cannot be read \(Permission denied\)\.$"):
        read_volume(path)


def test_a_file_that_a_library_tells_as_damaged_may_be_closed_to_us(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii")

    def refuse(*_):
        raise ImageFileError(f"Could not read file: {path}")

    monkeypatch.setattr(nib, "load", refuse)
    refuse_opening(path, monkeypatch)
    with pytest.raises(ScanReadError, match=r"a\.nii: cannot be opened \(Permission denied\)"):
        read_volume(path)


def test_what_does_not_fit_into_memory_is_told(tmp_path):
    with pytest.raises(ScanReadError, match="larger than this machine's memory"), naming(tmp_path, "image"):
        raise MemoryError

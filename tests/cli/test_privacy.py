"""Nothing that could name a patient is in what is written or logged; only DICOM objects repeat the header."""

from __future__ import annotations

import base64
import gzip
import logging
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dicom_files import PATIENT_TAGS, save_all, series_datasets
from napari_dinoad.cli.main import main
from small_heads import AFFINE, make_head

SECRETS = (
    *(value for keyword, value in PATIENT_TAGS.items() if keyword != "PatientSex"),
    "Secret",
    "Doe_John",
    "Doe^John",
    "1947-08-11",
    "2019-05-17",
)
"""What is planted. Long enough that compressed data do not hold it by chance."""

ALL_3D = "map,mask,regions,report,picture"


def texts_of(path):
    """Return all that a file holds, unpacked, as text with one character a byte."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    texts = [re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", data).decode("latin-1")]
    for part in re.findall(rb"base64,([A-Za-z0-9+/=]+)", data):
        texts.append(base64.b64decode(part).decode("latin-1"))
    # UTF-16 hides from a plain search.
    return [*texts, data.decode("utf-16-le", errors="ignore")]


def assert_nothing_leaks(folder, log):
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    for path in written:
        if path.suffix == ".dcm":
            continue
        for text in texts_of(path):
            assert_no_secret(text, path.name)
    assert_no_secret(log, "the log")


def assert_no_secret(text, where):
    for secret in SECRETS:
        assert secret not in text, f"{secret!r} in {where}"


def score(arguments, out, model_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    code = main(["score", *arguments, "--model", str(model_path), "--out", str(out), "--verbose"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return caplog.text + captured.err + captured.out


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(b"...Secret^Patient..."))
    with pytest.raises(AssertionError, match="Secret"):
        assert_nothing_leaks(tmp_path, "")
    with pytest.raises(AssertionError, match="in the log"):
        assert_no_secret("Secret", "the log")


def test_nifti(tmp_path, model_path, caplog, capsys):
    folder = tmp_path / "Doe_John_4711"
    folder.mkdir()
    image = nib.Nifti1Image(make_head(100, lesion=True), AFFINE)
    image.header["descrip"] = b"Secret^Patient 19470811"
    image.header["aux_file"] = b"Doe^John ID-4711"
    image.header["db_name"] = b"SecretHospital"
    image.header["intent_name"] = b"SecretStudy"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Secret^Patient 2019-05-17"))
    nib.save(image, folder / "scan.nii.gz")
    assert "Secret" in texts_of(folder / "scan.nii.gz")[0]
    log = score([str(folder / "scan.nii.gz"), "--save", ALL_3D], tmp_path / "out", model_path, caplog, capsys)
    assert_nothing_leaks(tmp_path / "out", log)
    for name, descrip in (
        ("scan_anomaly.nii.gz", rb""),
        ("scan_mask.nii.gz", rb"napari-dinoad found mask [0-9a-f]{32}"),
    ):
        header = nib.load(tmp_path / "out" / name).header
        assert re.fullmatch(descrip, header["descrip"].item())
        for field in ("aux_file", "db_name", "intent_name"):
            assert header[field].tobytes().strip(b"\0") == b"", field
        assert not header.extensions


def test_dicom(tmp_path, model_path, caplog, capsys):
    folder = tmp_path / "Doe_John_4711" / "ct"
    slices = np.round(make_head(100, lesion=True)).astype(np.int16).transpose(2, 1, 0)
    datasets = series_datasets(
        slices,
        spacing=(5.0, 5.0),
        gap=8.0,
        SeriesDescription="Secret^Patient",
    )
    save_all(datasets, folder)
    wanted = f"{ALL_3D},seg,dicom-map,dicom-slices"
    log = score([str(folder), "--save", wanted], tmp_path / "out", model_path, caplog, capsys)
    assert_nothing_leaks(tmp_path / "out", log)
    objects = list((tmp_path / "out").rglob("*.dcm"))
    assert len(objects) == 2 + len(slices)
    for path in objects:
        dataset = pydicom.dcmread(path)
        assert str(dataset.PatientName) == PATIENT_TAGS["PatientName"], "the standard asks for it"
        assert "Doe_John" not in dataset.to_json(), "the folder is nobody's business"
        assert PATIENT_TAGS["InstitutionName"] not in dataset.to_json()


def test_2d_images_with_metadata(tmp_path, caplog, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "Doe_John_4711"
    folder.mkdir()
    for number in range(4):
        rows, columns = np.mgrid[:80, :64]
        inside = np.hypot((rows - 40) / 36, (columns - 32) / 28) < 1
        pixels = np.where(inside, 120 + 20 * np.sin(rows / 3 + number), 0) + rng.normal(0, 3, (80, 64))
        told = PngInfo()
        told.add_text("PatientName", "Secret^Patient")
        told.add_itxt("Comment", "ID-4711-SECRET 1947-08-11")
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png", pnginfo=told)
    model = tmp_path / "m.dinoad"
    assert main(["fit", str(folder), "--out", str(model), "--scorer", "memory-bank"]) == 0
    for text in texts_of(model):
        assert not [secret for secret in SECRETS if secret in text]
    capsys.readouterr()
    log = score([str(folder / "0.png"), "--save", f"{ALL_3D},png"], tmp_path / "out", model, caplog, capsys)
    assert_nothing_leaks(tmp_path / "out", log)
    for path in (tmp_path / "out").glob("*.png"):
        with Image.open(path) as image:
            texts = dict(image.info)
            if path.name == "0_mask.png":
                assert re.fullmatch(r"napari-dinoad found mask [0-9a-f]{32}", texts.pop("Software"))
            assert not texts, f"metadata in {path.name}"
            assert not image.getexif()

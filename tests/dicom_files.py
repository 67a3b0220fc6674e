"""DICOM series written by the tests themselves, so that every fault can be had."""

from __future__ import annotations

import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_encoder
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT_NAME = "Secret^Patient"
PATIENT_TAGS = {
    "PatientName": PATIENT_NAME,
    "PatientID": "ID-4711-SECRET",
    "PatientBirthDate": "19470811",
    "PatientSex": "F",
    "AccessionNumber": "ACC-0815",
    "StudyDate": "20190517",
    "StudyDescription": "SecretStudy",
    "InstitutionName": "SecretHospital",
}
"""Tags that must never be seen again."""

CARD = {
    "scorer": "ar-cnn",
    "backbone": {"name": "embedded", "weights_sha256": "ab" * 32},
    "n_scans": 12,
    "created": "2026-01-02T03:04:05+00:00",
}
"""What DICOM objects tell of the model that they were made with."""

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct_values(n=6, rows=10, columns=12, seed=0):
    """Return stored values (n, rows, columns) int16 that tell every voxel from every other."""
    return (
        np.random.default_rng(seed).permutation(n * rows * columns).reshape(n, rows, columns).astype(np.int16)
    )


def image_dataset(pixels, *, sop_class=CTImageStorage, **tags):
    """Return a single-frame data set of ``pixels`` (rows, columns) or (rows, columns, 3)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    for name, value in PATIENT_TAGS.items():
        setattr(dataset, name, value)
    dataset.StudyInstanceUID = generate_uid()
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    set_pixels(dataset, pixels)
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def set_pixels(dataset, pixels):
    """Put native pixels (rows, columns), (frames, rows, columns) or (rows, columns, 3) into a data set."""
    is_colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    dataset.SamplesPerPixel = 3 if is_colour else 1
    dataset.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    if is_colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2] if is_colour else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()


def series_datasets(
    values, *, spacing=(0.5, 0.5), gap=2.0, origin=(-3.0, -4.0, 5.0), orientation=AXIAL, places=None, **tags
):
    """Return one data set a slice of ``values`` (n, rows, columns).

    Parameters
    ----------
    spacing : tuple
        PixelSpacing: between rows, between columns.
    gap : float
        Millimetres between slices, along the normal.
    places : sequence of (3,), optional
        ImagePositionPatient of each slice, in place of ``gap``.
    """
    normal = np.cross(orientation[:3], orientation[3:])
    study, uid, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    datasets = []
    for number, pixels in enumerate(values):
        place = np.array(origin) + number * gap * normal if places is None else places[number]
        common = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": uid,
            "FrameOfReferenceUID": frame_of_reference,
            "SeriesNumber": 3,
            "InstanceNumber": number + 1,
            "ImagePositionPatient": [f"{x:.8g}" for x in place],
            "ImageOrientationPatient": [f"{x:.10g}" for x in orientation],
            "PixelSpacing": list(spacing),
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
        }
        datasets.append(image_dataset(pixels, **(common | tags)))
    return datasets


def as_one_series(datasets):
    """Give data sets the study, series and frame of reference of the first; return them."""
    for dataset in datasets:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(dataset, keyword, datasets[0][keyword].value)
    return datasets


def save_all(datasets, folder, rng=None):
    """Write data sets under random names without ending, in random order; return the paths in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = rng or np.random.default_rng(0)
    names = [f"1.2.{number}.{order}" for order, number in enumerate(rng.permutation(1000)[: len(datasets)])]
    paths = []
    for dataset, name in zip(datasets, rng.permutation(names), strict=True):
        dataset.save_as(folder / str(name), enforce_file_format=True)
        paths.append(folder / str(name))
    return paths


def enhanced_dataset(
    values, *, spacing=(0.5, 0.5), gap=2.0, origin=(-3.0, -4.0, 5.0), orientation=AXIAL, places=None
):
    """Return one enhanced multi-frame CT data set of ``values`` (n, rows, columns), with rescale a frame."""
    dataset = image_dataset(values, sop_class=EnhancedCTImageStorage)
    dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = generate_uid(), generate_uid()
    dataset.SeriesNumber, dataset.InstanceNumber = 7, 1
    dataset.NumberOfFrames = len(values)
    normal = np.cross(orientation[:3], orientation[3:])
    shared = Dataset()
    shared.PixelMeasuresSequence = [sequence_item(PixelSpacing=list(spacing), SliceThickness=gap)]
    shared.PlaneOrientationSequence = [sequence_item(ImageOrientationPatient=list(orientation))]
    shared.FrameVOILUTSequence = [sequence_item(WindowCenter=[40, 600], WindowWidth=[80, 2800])]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in range(len(values)):
        place = np.array(origin) + number * gap * normal if places is None else places[number]
        frame = Dataset()
        frame.PlanePositionSequence = [sequence_item(ImagePositionPatient=[f"{x:.8g}" for x in place])]
        frame.PixelValueTransformationSequence = [
            sequence_item(RescaleSlope=1 + number, RescaleIntercept=-10 * number, RescaleType="HU")
        ]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    return dataset


def sequence_item(**tags):
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def compress(dataset, syntax):
    """Compress the pixels of a data set in place."""
    if not get_encoder(syntax).is_available:
        pytest.skip(f"nothing here compresses by {syntax.name} (the extra dicom-codecs)")
    dataset.compress(syntax, generate_instance_uid=False)


def converted_by_dcm2niix(folder, out):
    """Return what dcm2niix, an independent converter, makes of the series in ``folder``, in canonical orientation."""
    converter = shutil.which("dcm2niix")
    if converter is None:
        pytest.skip("needs dcm2niix (tools/system_packages.sh installs it)")
    out.mkdir()
    command = [converter, "-b", "n", "-z", "n", "-o", out, "-f", "x", folder]
    subprocess.run(command, check=True, capture_output=True)
    return nib.as_closest_canonical(nib.load(out / "x.nii"))

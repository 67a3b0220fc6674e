"""DICOM segmentations as other programs write them: by highdicom, which dcmqi's are read like."""

from __future__ import annotations

import highdicom as hd
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dicom_files import ct_values, series_datasets

NAMES = ("Liver", "Spleen", "Kidney")


def needed_tags():
    """Return what a DICOM-SEG must repeat of its source, beside what all data sets have."""
    names = ("PatientBirthDate", "PatientSex", "StudyID", "StudyTime", "ReferringPhysicianName")
    return dict.fromkeys(names, "") | {"StudyInstanceUID": generate_uid(), "SliceThickness": 2.0}


def sources(**tags):
    """Return a series with what a DICOM-SEG must repeat of it."""
    return series_datasets(ct_values(8), **(needed_tags() | tags))


def save_seg(path, datasets, frames, kind="BINARY", n=1, **options):
    segments = [
        hd.seg.SegmentDescription(
            number + 1,
            NAMES[number],
            codes.SCT.Tissue,
            codes.SCT.Tissue,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in range(n)
    ]
    made_by = ("Maker", "Model", "1", "2")
    hd.seg.Segmentation(
        datasets, frames, kind, segments, generate_uid(), 100, generate_uid(), 1, *made_by, **options
    ).save_as(path)
    return path

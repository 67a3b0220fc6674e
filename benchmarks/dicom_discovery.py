"""How fast a folder of DICOM files is looked through, headers only: files a second.

python benchmarks/dicom_discovery.py --files 3000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_dinoad import discover_scans

SLICES = 150
"""Files in a series."""

SIDE_PX = 128


def main() -> None:
    """Write series of random pixels into a temporary folder, and look through it three times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        n_series = -(-options.files // SLICES)
        for _ in range(n_series):
            write_series(Path(temporary))
        n_files = n_series * SLICES
        for _ in range(3):
            started = time.perf_counter()
            found = discover_scans(temporary)
            seconds = time.perf_counter() - started
            print(
                f"{n_files} files, {len(found.scans)} series: {seconds:.2f} s, {n_files / seconds:.0f} files/s"
            )


def write_series(folder: Path) -> None:
    """Write one axial CT series under UID-like names."""
    series, frame = generate_uid(), generate_uid()
    pixels = np.random.default_rng(0).integers(0, 3000, (SIDE_PX, SIDE_PX), dtype=np.uint16)
    for number in range(SLICES):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = series, frame
        dataset.Modality, dataset.InstanceNumber = "CT", number
        dataset.ImagePositionPatient = [0, 0, number]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [1, 1]
        dataset.Rows = dataset.Columns = SIDE_PX
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(folder / str(dataset.SOPInstanceUID), enforce_file_format=True)


if __name__ == "__main__":
    main()

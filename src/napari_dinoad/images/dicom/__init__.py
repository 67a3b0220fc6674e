"""DICOM in: files, headers, series, frames, pixels and segmentations."""

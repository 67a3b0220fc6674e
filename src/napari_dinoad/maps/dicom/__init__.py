"""Results as DICOM: segmentations, parametric maps and colour slices."""

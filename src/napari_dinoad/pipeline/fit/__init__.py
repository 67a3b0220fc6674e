"""From a cohort to a calibrated model; and models updated and merged."""

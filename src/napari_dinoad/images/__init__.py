"""Scans in: files, geometry, intensity, slices."""

"""Slices of a scan with what was found, as pictures."""

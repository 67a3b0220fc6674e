"""Slices of one scan: through the backbone, and their scores back to where they lie."""

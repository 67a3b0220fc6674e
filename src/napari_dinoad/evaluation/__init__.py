"""Metrics against a ground truth."""

"""Procedural normal and abnormal head scans for samples, demo and tests."""

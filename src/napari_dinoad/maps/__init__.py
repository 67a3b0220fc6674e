"""Anomaly maps on the scan's own grid: masks, regions, export, report."""

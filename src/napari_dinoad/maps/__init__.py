"""Anomaly maps on the scan's own grid: masks, regions, export."""

from __future__ import annotations

from napari_dinoad.maps.anomaly_map import AnomalyMap, AnomalyMask
from napari_dinoad.maps.findings import Findings
from napari_dinoad.maps.regions import Region

__all__ = ["AnomalyMap", "AnomalyMask", "Findings", "Region"]

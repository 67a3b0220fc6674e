"""Finding anomalies: keeps the results, and shows the one that is looked at. Knows no widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_dinoad.gui.find.found import Found, ModelFile, Standing, standing_of
from napari_dinoad.gui.find.kept_results import leave_results, take_results
from napari_dinoad.gui.find.known_results import KnownResults
from napari_dinoad.gui.find.measuring import RegionMeasurer
from napari_dinoad.gui.find.preparation import Preparation
from napari_dinoad.gui.find.scan_scoring import ScanScoring
from napari_dinoad.gui.viewer.layer_marks import is_kept_by_plugin, scan_id_of
from napari_dinoad.gui.viewer.layer_removal import LayerRemoval
from napari_dinoad.gui.viewer.layer_scan import frame_in_words
from napari_dinoad.gui.viewer.layers import scan_of_layer
from napari_dinoad.gui.viewer.viewer_parts import grid_of, show_index

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.find.result import ScanResult
    from napari_dinoad.gui.work.worker import JobRunner
    from napari_dinoad.maps import Region
    from napari_dinoad.settings import DetectSettings

__all__ = ["FindController"]


class FindController(QObject):
    """Has scans scored, and holds one result for each image layer, and frame of it.

    `result_changed` comes when another result is to be looked at, `map_changed` when slices were added, and
    `regions_changed` when regions, ticks or the scan-level figures are others; `standing_changed` when a result is
    no more, or again, of what is shown and chosen; `region_marked` when another region, or none, has a colour of its
    own. `told` is what the user should know of a run that has ended.
    """

    result_changed = Signal()
    map_changed = Signal()
    regions_changed = Signal()
    standing_changed = Signal()
    region_marked = Signal()
    told = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._found = KnownResults()
        self._current: Found | None = None
        self._shown_key: Hashable | None = None
        self._chosen: ModelFile | None = None
        self._standing = Standing()
        self.preparation = Preparation(viewer, self)
        self._removal = LayerRemoval(viewer, self)
        self.scoring = ScanScoring(viewer, self._found, self.preparation, self)
        self.scoring.begun.connect(self._show_other)
        self.scoring.filled.connect(self._on_filled)
        self.scoring.ended.connect(self._on_ended)
        self.scoring.told.connect(self.told)
        self._measurer = RegionMeasurer(lambda: self._current, lambda: self.scoring.layer is not None, self)
        self._measurer.measured.connect(self._on_measured)
        self._measurer.failed.connect(self.regions_changed)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        viewer.dims.events.point.connect(self._on_point)
        grid_of(viewer).events.enabled.connect(self.review)
        self._take_left()

    @property
    def result(self) -> ScanResult | None:
        """The result of the layer that was chosen with `look_at`, if it has one."""
        found = self._current
        return None if found is None else found.result

    @property
    def found(self) -> Found | None:
        """What was found in the layer that was chosen with `look_at`."""
        return self._current

    @property
    def layer_under_way(self) -> Layer | None:
        """The layer whose scan is being scored."""
        return self.scoring.layer

    @property
    def runner(self) -> JobRunner:
        """Runs the scoring."""
        return self.scoring.runner

    @property
    def measuring_fault(self) -> str:
        """Why the regions of the mask as it is now cannot be measured; empty where they may be."""
        return self._measurer.fault

    @property
    def standing(self) -> Standing:
        """How this result stands to what is shown and chosen."""
        return self._standing

    def look_at(self, layer: Layer | None) -> None:
        """Choose the layer whose result is asked about; see `review` for what is hidden meanwhile."""
        key = None if layer is None else layer.unique_id
        if key != self._shown_key:
            self._shown_key = key
            for known in self._found:
                if known.overlay is not None:
                    known.overlay.hide_again()
            self._show_current()
            self._measurer.start_soon()

    def compare_with(self, model_path: Path | None) -> None:
        """Choose the model that results should be of; of others they are told to be."""
        self._chosen = None if model_path is None else ModelFile.of(model_path)
        self.review()

    def review(self, event: object = None) -> None:
        """Look anew whether the result is of what is shown and chosen; heatmap and mask are hidden where not.

        Those of other scans are hidden too, but in napari's grid, where each scan has cells of its own.
        """
        found, in_grid = self._current, grid_of(self._viewer).enabled
        standing = Standing()
        for known in self._found:
            its_own = standing_of(known, self._viewer.dims.point, self._chosen)
            if known is found:
                standing = its_own
            if known.overlay is not None:
                known.overlay.show(its_own.is_of_picture and (known is found or in_grid))
        if standing != self._standing:
            self._standing = standing
            self.standing_changed.emit()

    def look_for_edits(self) -> None:
        """Look whether the slice in view holds the values that were scored, and tell where it does not."""
        found = self._current
        if found is not None and not found.is_edited:
            found.look_for_edits(self._viewer)
            if found.is_edited:
                self.preparation.forget(found.layer)
                self.review()

    def _show_current(self) -> None:
        self._current = self._found.shown(self._shown_key, self._viewer.dims.point)
        self.review()
        self.result_changed.emit()

    def _show_other(self) -> bool:
        """Show the result that is looked at where it is another than before; else `review`, and return False."""
        is_other = self._found.shown(self._shown_key, self._viewer.dims.point) is not self._current
        if is_other:
            self._show_current()
        else:
            self.review()
        return is_other

    def _on_point(self) -> None:
        if self._current is not None and self._current.scan.frame and self._show_other():
            self._measurer.start_soon()

    def find(self, layer: Layer, model_path: Path, settings: DetectSettings, *, only_shown: bool) -> bool:
        """Start scoring a layer's scan; return False while another job is under way.

        Raises
        ------
        DinoadError
            If the layer cannot be taken for a scan.
        """
        if self.runner.is_running:
            return False
        scan = scan_of_layer(layer, self._viewer.dims.point)
        self.look_at(layer)
        self.compare_with(model_path)
        self.scoring.start(layer, scan, model_path, settings, only_shown=only_shown)
        return True

    def set_rate(self, fpr: float) -> None:
        """Move the mask to another false-positive rate at once; the regions follow."""
        found = self._current
        if found is not None:
            found.result.set_rate(fpr)
            if found.overlay is not None and found.overlay.is_live:
                found.overlay.refresh_mask()
            self._measurer.start_soon()

    def set_min_volume(self, min_volume_mm3: float) -> None:
        """Leave out regions smaller than this, in all results."""
        for found in self._found:
            found.result.set_min_volume(min_volume_mm3)
        self._measurer.start_soon()

    def set_ticked(self, regions: Iterable[Region], ticked: bool) -> None:
        """Tick or untick regions: unticked ones leave the mask and are not exported."""
        found = self._current
        if found is not None:
            found.result.set_ticked(regions, ticked)
            if found.overlay is not None:
                found.overlay.refresh_mask()

    def mark_region(self, region: Region | None) -> None:
        """Draw a region, or none, in a colour of its own."""
        found = self._current
        if found is None or not found.result.choose(region):
            return
        if found.overlay is not None:
            found.overlay.refresh_mask()
        self.region_marked.emit()

    def jump_to_region(self, region: Region) -> None:
        """Show the peak of a region, and mark it."""
        found = self._current
        if found is not None:
            self.mark_region(region)
            show_index(self._viewer, found.layer, found.scan.data_index(region.peak_zyx))

    def jump_to_slice(self, index: int) -> None:
        """Show a slice, at the place within it that is in view."""
        found = self._current
        if found is not None:
            zyx = list(found.shown_index(self._viewer))
            zyx[found.result.axis] = index
            show_index(self._viewer, found.layer, found.scan.data_index(zyx))

    def shown_slice(self) -> int | None:
        """Return the slice in view, counted along the result's axis."""
        found = self._current
        return None if found is None else found.shown_index(self._viewer)[found.result.axis]

    def is_mirrored(self) -> bool:
        """Whether the viewer's slider runs against the result's slices; superior is at its left, for instance."""
        return self._current is not None and self._current.is_mirrored()

    def bring_back(self, heatmap: Layer) -> bool:
        """Show a heatmap again as soon as its scan is looked at; return False where it is none that is kept here."""
        for found in self._found:
            if found.overlay is not None and found.overlay.holds(heatmap):
                found.overlay.bring_back_map()
                return True
        return False

    def close(self) -> None:
        """Stop what is under way, and leave what was found with its heatmaps; for when the interface goes away."""
        self.scoring.close()
        self.preparation.runner.cancel()
        self._measurer.stop()
        # There is no table any more in which it is chosen.
        for found in self._found:
            if found.result.choose(None) and found.overlay is not None:
                found.overlay.refresh_mask()
        leave_results(found for found in self._found if found.result.scored.any())
        for found in self._found:
            if found.overlay is not None and not found.result.scored.any():
                self._removal.add(*found.overlay.release())
        self._found.clear()
        self._shown_key = self._current = None

    def open_again(self) -> None:
        """Take up again what was left when it was closed; `look_at` shows it."""
        self._take_left()

    def _take_left(self) -> None:
        """Take up what was left; what is of a scan that was removed meanwhile goes, as with a dock it would have."""
        for layer in self._viewer.layers:
            for left in take_results(self._viewer, layer):
                self._found.add(left)
        known = {layer.unique_id for layer in self._viewer.layers}
        self._removal.add(
            *(one for one in self._viewer.layers if is_kept_by_plugin(one) and scan_id_of(one) not in known)
        )

    def _on_filled(self, found: Found) -> None:
        if found is self._current:
            self.map_changed.emit()

    def _on_ended(self, found: Found) -> None:
        if not found.result.scored.any():
            # It failed, or was cancelled, before there was anything to show.
            self._drop(found)
        elif found is self._current:
            self.map_changed.emit()
            self.regions_changed.emit()
            self._measurer.start()
        self._drop_too_many(found.layer)

    def _drop_too_many(self, layer: Layer) -> None:
        """Drop what was found in frames that were not looked at for long, where memory is lacking for all."""
        gone = self._found.take_too_many(layer)
        for found in gone:
            self._forget(found)
        if gone:
            frames = " and ".join(frame_in_words(found.scan.frame) for found in reversed(gone))
            self.told.emit(f"To save memory the result of frame {frames} was dropped; Find brings it back.")

    def _drop(self, found: Found) -> None:
        self._found.remove(found)
        if found.overlay is not None:
            found.overlay.remove()
        self._show_current()

    def _on_measured(self, found: Found) -> None:
        if found.overlay is not None:
            found.overlay.refresh_mask()
        if found is self._current:
            self.regions_changed.emit()

    def _on_layer_removed(self, event: object) -> None:
        """Forget what rests on a layer that is gone, and take away the layers that belong to it."""
        layer = getattr(event, "value", None)
        if layer is None:
            return
        self._removal.add(*self.scoring.cancel_on(layer))
        gone = self._found.take_resting_on(layer)
        for found in gone:
            self._forget(found)
        self.preparation.forget(layer)
        if self._current in gone:
            self._show_current()

    def _forget(self, found: Found) -> None:
        if found.overlay is not None:
            self._removal.add(*found.overlay.release())
        self.scoring.cancel_of(found)

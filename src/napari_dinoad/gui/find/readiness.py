"""Whether all that finding needs is chosen; gets ready what is, and tells what speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_dinoad.gui.find.suitability import ScanTraits, misfits, suspicion

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dinoad.gui.find.find_controller import FindController
    from napari_dinoad.gui.find.find_step import FindStep
    from napari_dinoad.gui.models.normal_step import NormalStep
    from napari_dinoad.gui.scan.scan_step import ScanStep
    from napari_dinoad.settings import DetectSettings

__all__ = ["Readiness"]

_PREPARE_MS = 700
"""A scan and a model that stay chosen for so long are got ready for finding."""


class Readiness(QObject):
    """Looks at the scan and the model that are chosen.

    Parameters
    ----------
    scan : ScanStep
    normal : NormalStep
    find : FindStep
    finder : FindController
    settings : callable
        Returns what is chosen for finding.
    parent : QObject, optional
    """

    def __init__(
        self,
        scan: ScanStep,
        normal: NormalStep,
        find: FindStep,
        finder: FindController,
        settings: Callable[[], DetectSettings],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._scan = scan
        self._normal = normal
        self._find = find
        self._finder = finder
        self._settings = settings
        self._is_on = True
        self._prepare = QTimer(self)
        self._prepare.setSingleShot(True)
        self._prepare.setInterval(_PREPARE_MS)
        self._prepare.timeout.connect(self._on_prepare)
        normal.model_changed.connect(self.review)
        find.ready_asked.connect(self._on_ready_asked)
        finder.result_changed.connect(self._tell_misfits)
        finder.standing_changed.connect(self._tell_misfits)
        finder.runner.finished.connect(self._tell_misfits)
        finder.preparation.compared.connect(self._tell_misfits)
        for runner in (finder.preparation.runner, finder.runner):
            # For what was chosen meanwhile.
            runner.finished.connect(self._prepare.start)

    def stop(self) -> None:
        """Get nothing ready until something else is chosen, or a job is over."""
        self._prepare.stop()

    def set_on(self, is_on: bool) -> None:
        """Get ready what is chosen, or nothing at all while the interface is away."""
        self._is_on = is_on

    def review(self) -> None:
        """Tell what is missing; what is chosen is got ready after a while."""
        missing = []
        self._finder.compare_with(None if self._normal.model is None else self._normal.model.path)
        scan = self._scan.scan
        self._find.set_is_single(scan is not None and scan.source.dropped_axis is not None)
        if self._scan.layer is None:
            missing.append("a scan")
        if self._normal.model is None:
            missing.append("a model of normal")
        self._find.set_missing(f"Choose {' and '.join(missing)} first." if missing else "")
        if missing:
            self._prepare.stop()
        else:
            self._prepare.start()
        self._tell_misfits()

    def _on_ready_asked(self, is_wanted: bool) -> None:
        layer, model = self._scan.layer, self._normal.model
        if is_wanted and layer is not None and model is not None:
            self._finder.scoring.get_ready(layer)
        elif not is_wanted:
            self._finder.scoring.forget_ready()

    def _on_prepare(self) -> None:
        """Get ready what is chosen, unless it is; not while finding: another process would have to load all."""
        layer, model = self._scan.layer, self._normal.model
        if not self._is_on or layer is None or model is None or self._finder.runner.is_running:
            return
        if self._finder.preparation.is_due(layer, model.path):
            self._finder.preparation.start(layer, model.path, self._settings())

    def _tell_misfits(self) -> None:
        finder, model, scan = self._finder, self._normal.model, self._scan.scan
        result = finder.result
        reasons = [] if model is None or scan is None else misfits(model, ScanTraits.of(scan))
        if model is not None and self._scan.layer is not None:
            reasons += finder.preparation.unlike(self._scan.layer, model.path)
        if result is not None and not finder.runner.is_running and not finder.standing.departures:
            reasons.insert(0, suspicion(result))
        self._normal.tell_misfits([reason for reason in dict.fromkeys(reasons) if reason])

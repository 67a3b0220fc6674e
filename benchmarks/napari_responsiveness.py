"""How napari feels while the plugin works: event loop, throughput, first slice, slider, region click, cancel, planes.

tools/with_screen.sh python benchmarks/napari_responsiveness.py

dinov2_vits14 with random weights (saved to a file in Meta's layout), 448 px, DPMM with 500 components. Everything is
measured in one run on one machine, in a real viewer; nothing is drawn but what the plugin draws.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from napari_dinoad.settings import CalibrationSettings, DetectSettings, DpmmSettings, FitSettings, preset

BACKBONE = "dinov2_vits14"
SCORED_SHAPE = (40, 240, 240)
SLIDER_SHAPE = (155, 240, 240)
TICK_MS = 5
SCROLL_MS = 120


def make_weights(folder: Path) -> None:
    """Save random weights in Meta's layout where the plugin looks for them."""
    import torch

    from napari_dinoad.backbones.registry import find_backbone
    from napari_dinoad.backbones.timm_vit import make_model

    state = dict(make_model(find_backbone(BACKBONE)).state_dict())
    state["mask_token"] = torch.zeros(1, state["cls_token"].shape[-1])
    folder.mkdir(parents=True)
    torch.save(state, folder / f"{BACKBONE}_pretrain.pth")


def make_model(folder: Path) -> Path:
    """Fit the model that scores, on two small phantoms."""
    from napari_dinoad.phantom import write_cohort
    from napari_dinoad.pipeline import fit_folder

    cohort = write_cohort(folder / "scans", 2, kinds=(), shape=(12, 64, 56))
    settings = FitSettings(
        scorer="dpmm",
        backbone=BACKBONE,
        preprocessing=preset("mr-brain"),
        calibration=CalibrationSettings(method="split", holdout=0.5),
        dpmm=DpmmSettings(epochs=1, merge=False),
        device="cpu",
    )
    path = folder / "model.dinoad"
    fit_folder(cohort.normal_folder, settings).save(path)
    return path


class EventLoop:
    """Notes when Qt's event loop comes round."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self._ticks: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self._ticks.append(time.perf_counter()))

    def start(self) -> None:
        """Begin."""
        self._ticks.clear()
        self._timer.start(TICK_MS)

    def stop(self) -> str:
        """End, and return the gaps between two rounds."""
        self._timer.stop()
        gaps = 1000 * np.diff(self._ticks)
        late = np.percentile(gaps, 99)
        return (
            f"median {np.median(gaps):.1f} ms, 99 % {late:.0f} ms, longest {gaps.max():.0f} ms, n {len(gaps)}"
        )


class Bench:
    """A viewer with the dock, and the clock."""

    def __init__(self, model: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import napari
        from qtpy.QtWidgets import QApplication

        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.viewer.window.resize(1440, 900)
        self.application = QApplication.instance()
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
        self.dock.normal.choose(model)
        self.loop = EventLoop()
        self.frames = 0
        self._canvas().frameSwapped.connect(self._on_frame)
        self.settle(2)

    def _canvas(self):
        from qtpy.QtOpenGLWidgets import QOpenGLWidget

        windows = self.application.topLevelWidgets()
        return next(canvas for window in windows for canvas in window.findChildren(QOpenGLWidget))

    def _on_frame(self) -> None:
        self.frames += 1

    def settle(self, seconds: float) -> None:
        """Let the viewer run."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.application.processEvents()
            time.sleep(0.002)

    def wait_for(self, is_done, timeout_s: float = 300) -> None:
        """Let the viewer run until something is done."""
        from qtpy.QtCore import QEventLoop, QTimer

        loop, timer = QEventLoop(), QTimer()
        until = time.perf_counter() + timeout_s
        timer.timeout.connect(lambda: loop.quit() if is_done() or time.perf_counter() > until else None)
        timer.start(2)
        loop.exec()
        if not is_done():
            raise SystemExit("This took too long.")

    def until_drawn(self, action) -> float:
        """Return milliseconds from an action to the next finished frame."""
        self.wait_for_quiet()
        frames, started = self.frames, time.perf_counter()
        action()
        while self.frames == frames and time.perf_counter() - started < 5:
            self.application.processEvents()
        return 1000 * (time.perf_counter() - started)

    def wait_for_quiet(self) -> None:
        """Let what was asked for before be drawn."""
        self.settle(0.3)


def measure_outside(model: Path, volume) -> float:
    """Return slices per second of the same loop without napari."""
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline import Detector

    detector = Detector(NormativeModel.load(model), DetectSettings(device="cpu"))
    stamps: list[tuple[float, int]] = []
    detector.detect(
        volume,
        start_slice=SCORED_SHAPE[0] // 2,
        on_slices=lambda axis, indices, values: stamps.append((time.perf_counter(), len(indices))),
    )
    return _pace(stamps)


def _pace(stamps: list[tuple[float, int]]) -> float:
    """Return slices per second between the first batch and the last."""
    return sum(n for _, n in stamps[1:]) / (stamps[-1][0] - stamps[0][0])


def measure_forward(model: Path, volume) -> float:
    """Return milliseconds of one backbone forward of one slice (median of several)."""
    from napari_dinoad.backbones import load_backbone

    backbone = load_backbone(BACKBONE, device="cpu")
    image = np.random.default_rng(0).random((1, 448, 448), dtype=np.float32)
    backbone(image)
    spent = []
    for _ in range(7):
        started = time.perf_counter()
        backbone(image)
        spent.append(1000 * (time.perf_counter() - started))
    return statistics.median(spent)


def measure_finding(bench: Bench, *, scroll: bool) -> tuple[float, str, float]:
    """Return slices per second, the event loop's gaps, and ms from the click to the first slice on screen."""
    from qtpy.QtCore import QEvent, QTimer
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    finder, viewer = bench.dock.finder, bench.viewer
    stamps: list[tuple[float, int]] = []
    drawn: list[float] = []

    def note(item: object) -> None:
        indices = getattr(item, "indices", None)
        if indices is not None:
            stamps.append((time.perf_counter(), len(indices)))

    def note_frame() -> None:
        if stamps and not drawn:
            drawn.append(time.perf_counter())

    finder.runner.delivered.connect(note)
    bench._canvas().frameSwapped.connect(note_frame)
    timer = QTimer()
    step = [0]

    def turn() -> None:
        step[0] += 1
        n = SCORED_SHAPE[0]
        viewer.dims.set_current_step(0, n // 4 + step[0] % (n // 2))

    timer.timeout.connect(turn)
    viewer.dims.set_current_step(0, SCORED_SHAPE[0] // 2)
    bench.settle(1)
    # The pointer comes to the button before it is pressed, as a hand does it.
    QTest.mouseMove(bench.dock.find.scan_button)
    QApplication.sendEvent(bench.dock.find.scan_button, QEvent(QEvent.Type.Enter))
    bench.settle(1)
    bench.loop.start()
    started = time.perf_counter()
    bench.dock.find.scan_button.click()
    if scroll:
        timer.start(SCROLL_MS)
    bench.wait_for(lambda: not finder.runner.is_running)
    timer.stop()
    gaps = bench.loop.stop()
    finder.runner.delivered.disconnect(note)
    first = 1000 * (drawn[0] - started) if drawn else float("nan")
    return _pace(stamps), gaps, first


def measure_cancel(bench: Bench) -> str:
    """Return how long a cancel takes, and whether the next run gives the same values."""
    finder = bench.dock.finder
    before = finder.result.values.copy()
    delivered: list[float] = []
    finder.runner.delivered.connect(lambda item: delivered.append(time.perf_counter()))
    bench.dock.find.scan_button.click()
    bench.wait_for(lambda: len(delivered) > 3)
    asked = time.perf_counter()
    n_before = len(delivered)
    bench.dock.find.job.cancel_button.click()
    bench.wait_for(lambda: not finder.runner.is_running)
    spent = time.perf_counter() - asked
    n_after = len(delivered) - n_before
    bench.dock.find.scan_button.click()
    bench.wait_for(lambda: not finder.runner.is_running)
    same = np.array_equal(finder.result.values, before)
    return f"{spent:.2f} s, {n_after} batches delivered after it; scored again: same values {same}"


def plant(bench: Bench, shape: tuple[int, int, int]) -> None:
    """Put known values in place of a result."""
    from napari_dinoad.gui.work.jobs import SlicesScored

    rng = np.random.default_rng(0)
    values = rng.exponential(0.2, shape).astype(np.float32)
    for z in range(10, shape[0] - 10, 12):
        values[z : z + 6, 60:80, 60 + z // 2 : 84 + z // 2] = 5 - z / 60
    bench.dock.finder.result.put(SlicesScored(0, tuple(range(shape[0])), values))


def open_large(bench: Bench) -> None:
    """Open a scan of 240×240×155 with known values in place of a result."""
    from napari_dinoad.gui.viewer.layers import layer_of_volume
    from napari_dinoad.phantom import make_patient

    dock = bench.dock
    array, arguments, _ = layer_of_volume(make_patient(11, "bright", SLIDER_SHAPE, 1.0).volume)
    dock.scan.choose(bench.viewer.add_image(array, **arguments))
    dock.find.slice_button.click()
    bench.wait_for(lambda: not dock.finder.runner.is_running and dock.finder.result is not None)
    plant(bench, SLIDER_SHAPE)
    dock.finder.found.overlay.refresh_map()
    dock.finder.set_rate(dock.finder.result.fpr)
    bench.wait_for(lambda: dock.finder.result.is_measured)


def measure_reading(bench: Bench) -> None:
    """Print how fast the slider and a click on a region are."""
    dock = bench.dock
    slider = dock.result.rate.slider
    spent = [
        bench.until_drawn(lambda value=value: slider.setValue(float(value)))
        for value in np.linspace(1.5, 3.9, 25)
    ]
    print(f"slider to redrawn mask: median {statistics.median(spent):.1f} ms, longest {max(spent):.0f} ms")
    slider.setValue(2.5)
    bench.wait_for(lambda: dock.finder.result.is_measured)
    table = dock.result.table
    spent = []
    for row in [*range(min(8, table.topLevelItemCount())), *range(min(8, table.topLevelItemCount()))]:
        item = table.topLevelItem(row)
        spent.append(bench.until_drawn(lambda item=item: table.setCurrentItem(item)))
    print(
        f"region click to moved view: median {statistics.median(spent):.1f} ms, longest {max(spent):.0f} ms"
    )


class PlaneClock:
    """Notes when the picture of each other plane was painted."""

    def __init__(self, bench: Bench) -> None:
        from qtpy.QtCore import QEvent, QObject

        self.painted: list[tuple[float, int]] = []
        clock = self

        class Filter(QObject):
            def eventFilter(self, watched, event):
                if event.type() == QEvent.Type.Paint:
                    clock.painted.append((time.perf_counter(), watched._axis))
                return False

        self._filter = Filter()
        for picture in bench.dock.planes.view.pictures:
            picture.installEventFilter(self._filter)

    def until_painted(self, bench: Bench, action) -> tuple[float, float]:
        """Return ms from an action to the canvas's next frame, and to the planes' last picture that follows it."""
        bench.wait_for_quiet()
        self.painted.clear()
        frames, started = bench.frames, time.perf_counter()
        action()
        framed = 0.0
        while (not framed or not self.painted) and time.perf_counter() - started < 2:
            bench.application.processEvents()
            if not framed and bench.frames > frames:
                framed = time.perf_counter()
        done = time.perf_counter()
        return 1000 * ((framed or done) - started), 1000 * (done - started)


def measure_planes(bench: Bench) -> None:
    """Print how fast steps are with the other planes closed and open, beside a result and a mask by hand."""
    viewer, dock = bench.viewer, bench.dock
    dock.finder.jump_to_region(dock.finder.result.regions[0])
    dock.masks.draw_button.click()
    drawn = viewer.layers.selection.active
    drawn.data[60:90, 100:140, 100:150] = 1
    drawn.mode = "pan_zoom"
    n = SLIDER_SHAPE[0]

    def steps(axis: int):
        return [partial(viewer.dims.set_current_step, axis, n // 3 + 2 * i) for i in range(9)]

    spent = [bench.until_drawn(step) for step in steps(0)]
    print(f"a slice farther, planes closed: {_in_words(spent)}")
    print(f"frames of the window for a slice farther, planes closed: {frames_of(bench, steps(0))}")
    dock.masks.planes_box.click()
    bench.wait_for(lambda: dock.planes.view is not None and not dock.planes.view.pictures[1].isHidden())
    bench.settle(1)
    clock = PlaneClock(bench)
    for title, axis in (("a slice farther", 0), ("the point moved in the slice", 2)):
        spent = [clock.until_painted(bench, step) for step in steps(axis)]
        canvas, planes = zip(*spent, strict=True)
        print(f"{title}, planes open: canvas {_in_words(canvas)}; planes {_in_words(planes)}")
    strokes = [partial(drawn.paint, (n // 2, 100 + 3 * i, 100), 2) for i in range(9)]
    canvas, planes = zip(*[clock.until_painted(bench, stroke) for stroke in strokes], strict=True)
    print(f"a dab of the brush, planes open: canvas {_in_words(canvas)}; planes {_in_words(planes)}")
    print(f"frames of the window for a slice farther, planes open: {frames_of(bench, steps(0))}")
    spent = []
    for _ in range(15):
        dock.planes.look()
        dock.planes._draw()
        started = time.perf_counter()
        for axis in (1, 2):
            dock.planes.view.pictures[axis].grab()
        spent.append(1000 * (time.perf_counter() - started))
    print(f"pictures of both planes made and painted, without the window's frame: {_in_words(spent)}")


def frames_of(bench: Bench, actions) -> str:
    """Return how many frames of the window actions take, each until nothing more is drawn."""
    counts = []
    for action in actions:
        bench.wait_for_quiet()
        before = bench.frames
        action()
        bench.settle(0.5)
        counts.append(bench.frames - before)
    return f"median {statistics.median(counts):g}, most {max(counts)}"


def _in_words(spent) -> str:
    return f"median {statistics.median(spent):.1f}, longest {max(spent):.0f} ms"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["finding", "reading", "planes"], help="measure one part alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dinoad-bench-") as name:
        folder = Path(name)
        os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = name
        os.environ["NAPARI_CONFIG"] = str(folder / "settings.yaml")
        os.environ["DINOAD_WEIGHTS"] = str(folder / "weights")
        make_weights(folder / "weights")
        model = make_model(folder)
        run(model, options.only)


def run(model: Path, only: str | None) -> None:
    """Measure outside napari, then inside."""
    from napari_dinoad.gui.viewer.layers import layer_of_volume
    from napari_dinoad.phantom import make_patient

    volume = make_patient(12, "bright", SCORED_SHAPE, (3.5, 0.85, 0.85)).volume
    outside, forward = [], 0.0
    if only in (None, "finding"):
        forward = measure_forward(model, volume)
        outside.append(measure_outside(model, volume))
        print(
            f"one forward of one slice: {forward:.0f} ms; outside napari: {outside[0]:.3f} slices/s",
            flush=True,
        )
    bench = Bench(model)
    array, arguments, _ = layer_of_volume(volume)
    bench.dock.scan.choose(bench.viewer.add_image(array, **arguments))
    bench.settle(2)
    bench.wait_for(lambda: not bench.dock.finder.preparation.runner.is_running)
    if only in (None, "finding"):
        measure_inside(bench, model, volume, outside, forward)
    if only != "finding":
        open_large(bench)
    if only in (None, "reading"):
        measure_reading(bench)
    if only in (None, "planes"):
        measure_planes(bench)
    bench.viewer.close()


def measure_inside(bench: Bench, model: Path, volume, outside: list[float], forward: float) -> None:
    """Print pace, gaps and first slice of a viewer left alone and one that is scrolled, and a cancel."""
    paces = {}
    for title, scroll, planes in (
        ("viewer left alone", False, False),
        ("viewer scrolled", True, False),
        ("viewer scrolled, planes open", True, True),
    ):
        if planes != bench.dock.planes.is_on:
            bench.dock.masks.planes_box.click()
            bench.settle(1)
        pace, gaps, first = measure_finding(bench, scroll=scroll)
        paces[title] = pace
        print(
            f"{title}: {pace:.3f} slices/s; event loop: {gaps}; first slice on screen after {first:.0f} ms",
            flush=True,
        )
    bench.dock.masks.planes_box.setChecked(False)
    outside.append(measure_outside(model, volume))
    mean = statistics.mean(outside)
    ratios = ", ".join(f"{title} {pace / mean:.2f}" for title, pace in paces.items())
    print(f"outside again: {outside[-1]:.3f} slices/s; throughput of the worker against outside: {ratios}")
    print(f"first slice: allowed 1.3 × {forward:.0f} + 100 = {1.3 * forward + 100:.0f} ms")
    print(f"cancel: {measure_cancel(bench)}")


if __name__ == "__main__":
    main()

"""Scans scored one after the other, the next one being read and the last one written meanwhile."""

from __future__ import annotations

import json
import logging
import threading
import weakref
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from napari_dinoad.errors import Cancelled, DinoadError, ScanReadError
from napari_dinoad.images import scans_ahead
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.machine.atomic_files import require_folder
from napari_dinoad.maps import outputs
from napari_dinoad.maps.pages.worklist import Worklist
from napari_dinoad.pipeline import Detector
from napari_dinoad.pipeline.detection import batch, scan_steps
from napari_dinoad.pipeline.detection.batch import score_scans
from napari_dinoad.settings import ReadSettings
from patience import PATIENCE_S
from refused_files import forbid_removing_open_files

logger = logging.getLogger("napari_dinoad.of_this_test")


@pytest.fixture
def scans(normal_folder):
    return [ScanFile.of_file(path) for path in sorted(normal_folder.iterdir())[:4]]


def begin(detector, scans, folder, **more):
    """Return what scores the scans, and their worklist."""
    worklist = Worklist(require_folder(folder), "m", 0.01)
    return score_scans(detector, scans, ReadSettings(), folder, worklist, **more), worklist


def run(detector, scans, folder, **more):
    """Score the scans and return the items."""
    scored, worklist = begin(detector, scans, folder, **more)
    with worklist, closing(scored):
        return list(scored)


def of_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dinoad-")]


def told_around(patch, owner, name, before=lambda *a: None, after=lambda *a: None):
    """Call something before and after a function, with its arguments."""
    real = getattr(owner, name)

    def around(*args, **kwargs):
        before(*args)
        result = real(*args, **kwargs)
        after(*args)
        return result

    patch.setattr(owner, name, around)


class Meeting:
    """Events by name, for which threads wait."""

    def __init__(self):
        self.events = {}
        self.missed = []

    def _event(self, name):
        return self.events.setdefault(name, threading.Event())

    def come(self, name):
        self._event(name).set()

    def wait(self, name):
        if not self._event(name).wait(PATIENCE_S):
            self.missed.append(name)


def test_the_next_scan_is_read_and_the_last_one_written_while_one_is_scored(
    detector, scans, tmp_path, monkeypatch
):
    meeting = Meeting()

    def while_scored(_, volume):
        meeting.come(f"scoring {volume.name}")
        if volume.name != "normal_2":
            meeting.wait(f"prepared normal_{int(volume.name[-1]) + 1}")

    def while_written(findings, *_):
        if findings.volume.name != "normal_2":
            meeting.wait(f"scoring normal_{int(findings.volume.name[-1]) + 1}")

    told_around(monkeypatch, Detector, "detect", before=while_scored)
    told_around(
        monkeypatch,
        Detector,
        "prepare_apart",
        after=lambda _, volume: meeting.come(f"prepared {volume.name}"),
    )
    told_around(monkeypatch, scan_steps, "save_outputs", before=while_written)
    items = run(detector, scans[:3], tmp_path / "out")
    assert [item.name for item in items] == ["normal_0", "normal_1", "normal_2"]
    assert meeting.missed == []
    assert of_threads() == []


def test_no_more_than_one_is_read_ahead_and_one_written_behind(detector, scans, tmp_path, monkeypatch):
    lock, steps = threading.Lock(), []

    def note(step, name):
        with lock:
            steps.append((step, int(name[-1])))

    told_around(monkeypatch, ScanFile, "read", before=lambda scan, *_: note("read", scan.name))
    told_around(monkeypatch, Detector, "detect", before=lambda _, volume: note("score", volume.name))
    told_around(
        monkeypatch, scan_steps, "save_outputs", after=lambda found, *_: note("wrote", found.volume.name)
    )
    run(detector, scans, tmp_path / "out")
    for i in range(len(scans) - 2):
        assert steps.index(("score", i)) <= steps.index(("read", i + 2)) + 1
        assert steps.index(("wrote", i)) < steps.index(("score", i + 2))


def contents(folder):
    """Return what is in each file of the results, without the times that a report tells."""
    found = {}
    for path in folder.iterdir():
        if path.name == "scored":
            continue
        content = path.read_bytes()
        if path.name.endswith("_report.json"):
            content = {name: value for name, value in json.loads(content).items() if name != "seconds"}
        found[str(path.relative_to(folder))] = content
    return found


def test_files_and_items_are_those_of_scans_in_turn(detector, scans, tmp_path, monkeypatch):
    items = run(
        detector, scans, tmp_path / "overlapped", outputs=("map", "mask", "regions", "report", "picture")
    )
    monkeypatch.setattr(scans_ahead, "MOST_VOXELS", 0)
    in_turn = run(detector, scans, tmp_path / "turn", outputs=("map", "mask", "regions", "report", "picture"))
    assert contents(tmp_path / "overlapped") == contents(tmp_path / "turn")
    assert len(contents(tmp_path / "turn")) == 6 * len(scans) + 2
    differing = {"seconds", "files", "map", "mask"}
    for one, other in zip(items, in_turn, strict=True):
        assert one.name == other.name
        assert {k: v for k, v in one.result.items() if k not in differing} == {
            k: v for k, v in other.result.items() if k not in differing
        }


def test_the_time_of_preparing_on_the_thread_is_told(detector, scans, tmp_path, monkeypatch):
    load_apart = scan_steps.ScanSteps.load_apart

    def slowly(steps, own):
        loaded = load_apart(steps, own)
        assert loaded.seconds > 0
        return replace(loaded, seconds=1000.0)

    monkeypatch.setattr(scan_steps.ScanSteps, "load_apart", slowly)
    items = run(detector, scans, tmp_path / "out")
    for stage in ("prepare", "total"):
        assert [item.result["seconds"][stage] > 1000 for item in items] == [False, True, True, True]


def test_large_scans_are_alone_in_memory(detector, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(scans_ahead, "MOST_VOXELS", 0)
    readers, held = set(), []

    def writing(findings, *_):
        held.append(weakref.ref(findings.mask.anomaly_map))

    def reading(*_):
        readers.add(threading.current_thread().name)
        assert len(written) == len(held)
        assert [one() for one in held if one() is not None] == []

    told_around(monkeypatch, ScanFile, "read", before=reading)
    written = []
    told_around(monkeypatch, scan_steps, "save_outputs", before=writing, after=lambda *_: written.append(1))
    run(detector, scans, tmp_path / "out")
    assert len(held) == len(scans)
    assert readers == {threading.current_thread().name}


def test_one_after_a_large_one_waits_for_it(detector, scans, tmp_path, monkeypatch):
    n_voxels = {"normal_1": scans_ahead.MOST_VOXELS + 1}
    monkeypatch.setattr(scans_ahead, "_n_voxels", lambda scan, _: n_voxels.get(scan.name, 1))
    ahead = []
    told_around(
        monkeypatch, Detector, "prepare_apart", before=lambda _, volume: ahead.append((volume.name, of()))
    )

    def of():
        return threading.current_thread() is not threading.main_thread()

    run(detector, scans, tmp_path / "out")
    assert dict(ahead) == {"normal_0": False, "normal_1": False, "normal_2": False, "normal_3": True}


def test_a_large_one_waits_for_what_is_written_before_it(detector, scans, tmp_path, monkeypatch):
    n_voxels = {"normal_1": scans_ahead.MOST_VOXELS + 1}
    monkeypatch.setattr(scans_ahead, "_n_voxels", lambda scan, _: n_voxels.get(scan.name, 1))
    steps, large_is_read = [], threading.Event()

    def reading(scan, *_):
        steps.append(f"read {scan.name}")
        if scan.name == "normal_1":
            large_is_read.set()

    def writing(findings, *_):
        if findings.volume.name == "normal_0":
            large_is_read.wait(0.5)

    told_around(monkeypatch, ScanFile, "read", before=reading)
    told_around(
        monkeypatch,
        scan_steps,
        "save_outputs",
        before=writing,
        after=lambda found, *_: steps.append(f"wrote {found.volume.name}"),
    )
    run(detector, scans[:2], tmp_path / "out")
    assert steps == ["read normal_0", "wrote normal_0", "read normal_1", "wrote normal_1"]


def test_logs_come_with_their_scan(detector, scans, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "napari_dinoad.of_this_test")
    told_around(monkeypatch, ScanFile, "read", before=lambda scan, *_: logger.info("%s read", scan.name))
    told_around(monkeypatch, Detector, "detect", before=lambda _, v: logger.info("%s scored", v.name))
    told_around(
        monkeypatch, scan_steps, "save_outputs", before=lambda f, *_: logger.info("%s written", f.volume.name)
    )
    scored, worklist = begin(detector, scans, tmp_path / "out")
    with worklist:
        for item in scored:
            logger.info("%s done", item.name)
    assert [record.message for record in caplog.records if record.name == logger.name] == [
        f"normal_{i} {what}" for i in range(len(scans)) for what in ("read", "scored", "written", "done")
    ]


def test_an_error_is_told_of_its_scan_and_in_its_turn(detector, scans, tmp_path):
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"no scan")
    named = [
        scans[0],
        ScanFile.of_file(damaged),
        scans[1],
        ScanFile.of_file(tmp_path / "gone.nii.gz"),
        scans[2],
    ]
    items = run(detector, named, tmp_path / "out")
    assert [item.scan for item in items] == named
    assert [item.error is None for item in items] == [True, False, True, False, True]
    assert isinstance(items[1].error, ScanReadError) and "damaged.nii.gz" in str(items[1].error)
    assert "gone.nii.gz" in str(items[3].error)
    page = (tmp_path / "out" / "worklist.html").read_text()
    assert "damaged.nii.gz" in page and "normal_2" in page


@pytest.mark.parametrize("stop", [Cancelled("stop"), RuntimeError("a fault"), KeyboardInterrupt()])
def test_however_it_ends_what_was_scored_is_whole_and_listed(detector, scans, tmp_path, stop):
    @contextmanager
    def progress(number, _):
        def tell(event):
            if number == 3 and event.done:
                raise stop

        yield tell

    out, items = tmp_path / "out", []
    scored, worklist = begin(detector, scans, out, progress=progress)
    with pytest.raises(type(stop)), worklist, closing(scored):
        items.extend(scored)
    assert of_threads() == []
    files = {path.name for path in out.iterdir()}
    kinds = ("anomaly.nii.gz", "mask.nii.gz", "regions.csv", "report.json", "report.html")
    assert files == {f"normal_{i}_{kind}" for i in range(2) for kind in kinds} | {
        "worklist.html",
        "worklist.csv",
        "scored",
    }
    assert {path.name for path in (out / "scored").iterdir()} == {"normal_0.json", "normal_1.json"}
    assert len((out / "worklist.csv").read_text().splitlines()) == 3


def test_what_was_scored_before_a_fault_is_yielded(detector, scans, tmp_path, monkeypatch):
    def fault(_, volume):
        if volume.name == "normal_2":
            raise RuntimeError("a fault")

    told_around(monkeypatch, Detector, "detect", before=fault)
    scored, worklist = begin(detector, scans, tmp_path / "out")
    seen = []
    with pytest.raises(RuntimeError, match="a fault"), worklist, closing(scored):
        for item in scored:
            seen.append(item.name)
    assert seen == ["normal_0", "normal_1"]


def before_maps(monkeypatch, before):
    """Call ``before`` with the name of the output and the findings when a map is to be written."""
    save = outputs._WRITERS["map"]
    monkeypatch.setitem(
        outputs._WRITERS, "map", lambda findings, *where: before("map", findings) or save(findings, *where)
    )


def test_a_result_that_another_program_has_open_holds_up_no_other_scan(
    detector, scans, tmp_path, monkeypatch
):
    """It ended the batch, with what came before it replaced."""
    out = tmp_path / "out"
    run(detector, scans[:3], out)
    held = out / "normal_1_regions.csv"
    before = {path.name: path.read_bytes() for path in out.glob("normal_1_*")}
    forbid_removing_open_files(monkeypatch)
    with held.open():
        items = run(Detector(detector.model, replace(detector.settings, fpr=0.1)), scans[:3], out)
    assert [item.error is None for item in items] == [True, False, True]
    assert "Cannot write normal_1_regions.csv: " in items[1].reason
    assert {path.name: path.read_bytes() for path in out.glob("normal_1_*")} == before
    page = (out / "worklist.html").read_text()
    assert "normal_1_regions.csv" in page and str(tmp_path) not in page


def test_outputs_that_cannot_be_written_end_it(detector, scans, tmp_path, monkeypatch):
    def full(findings, *_):
        if findings.volume.name == "normal_1":
            raise DinoadError("Cannot write: the disk is full.")

    before_maps(monkeypatch, lambda _, findings: full(findings))
    scored, worklist = begin(detector, scans, tmp_path / "out")
    seen = []
    with pytest.raises(DinoadError, match="the disk is full"), worklist, closing(scored):
        for item in scored:
            seen.append(item.name)
    assert seen == ["normal_0"]
    assert {path.name[:8] for path in (tmp_path / "out").glob("normal*")} == {"normal_0"}
    assert of_threads() == []


@pytest.fixture
def logged(monkeypatch, caplog):
    """Have the steps of each scan log, and return what gives that together with what the batch logs."""
    caplog.set_level(logging.INFO)
    told_around(monkeypatch, ScanFile, "read", before=lambda scan, *_: logger.info("%s read", scan.name))
    told_around(monkeypatch, Detector, "detect", before=lambda _, v: logger.info("%s scored", v.name))
    told_around(
        monkeypatch, scan_steps, "save_outputs", before=lambda f, *_: logger.info("%s written", f.volume.name)
    )
    return lambda: [
        record.getMessage() for record in caplog.records if record.name in (logger.name, batch.__name__)
    ]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("owner", "step", "told"),
    [
        (Detector, "prepare_apart", ["normal_1 read"]),
        (Detector, "detect", ["normal_1 read"]),
        (outputs, "map", ["normal_1 read", "normal_1 scored", "normal_1 written"]),
    ],
)
def test_what_a_step_logged_is_told_where_it_fails(
    detector, scans, tmp_path, monkeypatch, logged, owner, step, told, kind
):
    def fail(_, of, *__):
        if getattr(of, "volume", of).name == "normal_1":
            raise kind("a fault")

    if owner is outputs:
        before_maps(monkeypatch, fail)
    else:
        told_around(monkeypatch, owner, step, before=fail)
    scored, worklist = begin(detector, scans[:2], tmp_path / "out")
    with pytest.raises(kind), worklist, closing(scored):
        list(scored)
    assert logged() == ["normal_0 read", "normal_0 scored", "normal_0 written", *told]


def test_what_a_step_on_the_writing_thread_logged_is_told_where_it_fails(
    detector, scans, tmp_path, monkeypatch, logged
):
    def fail(_, findings, *__):
        if findings.volume.name == "normal_1":
            raise RuntimeError("a fault")

    before_maps(monkeypatch, fail)
    scored, worklist = begin(detector, scans, tmp_path / "out")
    with pytest.raises(RuntimeError, match="a fault"), worklist, closing(scored):
        list(scored)
    steps = [f"normal_{i} {what}" for i in range(2) for what in ("read", "scored", "written")]
    assert logged() == [*steps, "normal_2 read", "normal_2 scored"]


@pytest.mark.parametrize("kind", [RuntimeError, Cancelled, KeyboardInterrupt])
@pytest.mark.parametrize("kind_of_writer", [DinoadError, RuntimeError])
def test_a_failure_to_write_is_logged_and_hides_nothing_of_what_ended_it(
    detector, scans, tmp_path, monkeypatch, logged, kind, kind_of_writer
):
    def full(_, findings, *__):
        if findings.volume.name == "normal_1":
            raise kind_of_writer("the disk is full")

    def fail(_, volume):
        if volume.name == "normal_2":
            raise kind("stop")

    before_maps(monkeypatch, full)
    told_around(monkeypatch, Detector, "detect", before=fail)
    scored, worklist = begin(detector, scans, tmp_path / "out")
    with pytest.raises(kind, match="stop"), worklist, closing(scored):
        list(scored)
    steps = [f"normal_{i} {what}" for i in range(2) for what in ("read", "scored", "written")]
    failure = "The scan before was not written or not listed: the disk is full"
    assert logged() == [*steps, failure, "normal_2 read"]

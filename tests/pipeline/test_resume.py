"""A fit that is interrupted anywhere goes on to the very model of an undisturbed one."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import safe_open, save_file

from napari_dinoad.errors import Cancelled, DinoadError, SettingError
from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.normative_model import model as normative_model
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.pipeline.cohort import embedding_cache, work_folder
from napari_dinoad.pipeline.fit import fitted_planes, fitting
from napari_dinoad.settings import (
    ArCnnSettings,
    CacheSettings,
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)
from refused_files import forbid_removing_open_files

SMALL = FitSettings(
    scorer="dpmm",
    preprocessing=replace(preset("image-2d"), resolution_px=96, body_mask="off"),
    dpmm=DpmmSettings(n_components=10, epochs=4, tolerance=0),
    ar_cnn=ArCnnSettings(bottleneck_channels=8, hidden_channels=8, epochs=3, batch_maps=4),
    memory_bank=MemoryBankSettings(n_patches=50),
    calibration=CalibrationSettings(folds=2),
)


def save_slice(path, seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.linspace(0, 9, 60), np.linspace(0, 7, 50), indexing="ij")
    values = 120 + 80 * np.sin(rows + rng.uniform(0, 1)) * np.cos(columns) + rng.normal(0, 8, (60, 50))
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """A folder of six small images, one of them stored twice."""
    folder = tmp_path_factory.mktemp("slices")
    for seed in range(6):
        save_slice(folder / f"slice_{seed}.png", seed)
    (folder / "twin_of_0.png").write_bytes((folder / "slice_0.png").read_bytes())
    return folder


def without_date(path):
    content = path.read_bytes()
    shorter = re.sub(rb'\\"created\\": \\"[^"]*\\", ', b"", content)
    assert len(shorter) < len(content), "the date was found"
    return shorter


def left_files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(autouse=True)
def nothing_is_told_again(monkeypatch):
    """Keep the number of calls from following how fast the machine is."""
    monkeypatch.setattr("napari_dinoad.progress._REST_S", float("inf"))


class Stopper:
    """Progress that cancels at the nth call after the kind of the scans was looked at."""

    def __init__(self, at):
        self.calls, self.at = 0, at

    def __call__(self, event):
        if event.stage == "Looking at some scans":
            return
        self.calls += 1
        if self.calls == self.at:
            raise Cancelled("stop")


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn", "memory-bank"])
def test_a_fit_stopped_at_every_step_ends_in_the_same_model(slices, tmp_path, scorer):
    settings = replace(SMALL, scorer=scorer)
    counter = Stopper(at=None)
    fit_folder(slices, settings, counter, out=tmp_path / "undisturbed.dinoad")
    cache = CacheSettings(str(tmp_path / "cache"))
    out = tmp_path / "resumed.dinoad"
    for at in range(1, 200, 5):
        try:
            fit_folder(slices, settings, Stopper(at), cache, out)
        except Cancelled:
            assert not out.exists()
        else:
            break
    assert at > 1, "it was stopped"
    assert without_date(out) == without_date(tmp_path / "undisturbed.dinoad")
    assert left_files(tmp_path / "cache") == []


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn", "memory-bank"])
def test_a_stopped_fit_goes_on_where_open_files_stay(slices, tmp_path, monkeypatch, scorer):
    forbid_removing_open_files(monkeypatch)
    settings = replace(SMALL, scorer=scorer)
    cache, out = CacheSettings(str(tmp_path / "cache")), tmp_path / "m.dinoad"
    counter = Stopper(at=None)
    fit_folder(slices, settings, counter, cache, out)
    undisturbed = without_date(out)
    with pytest.raises(Cancelled):
        fit_folder(slices, settings, Stopper(counter.calls // 2), cache, out)
    fit_folder(slices, settings, None, cache, out)
    assert without_date(out) == undisturbed
    assert left_files(tmp_path / "cache") == []


def begin(slices, cache, settings):
    """Stop a fit as soon as it has kept a scorer."""

    def stop(_):
        if any(Path(cache.folder).rglob("states/*")):
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_folder(slices, settings, stop, cache)


def test_what_another_version_began_is_begun_anew(slices, tmp_path, monkeypatch):
    expected = fit_folder(slices, SMALL).save(tmp_path / "expected.dinoad")
    cache = CacheSettings(str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        for module in (work_folder, embedding_cache, fitted_planes):
            patch.setattr(module, "VERSION", "another")
        begin(slices, cache, SMALL)
    for path in Path(cache.folder).rglob("embeddings/*"):
        path.write_bytes(b"made in another way")
    model = fit_folder(slices, SMALL, cache=cache).save(tmp_path / "m.dinoad")
    assert without_date(model) == without_date(expected)
    assert left_files(Path(cache.folder)) == []


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn"])
def test_a_checkpoint_that_makes_no_scorer_is_begun_anew(slices, tmp_path, caplog, scorer):
    settings = replace(SMALL, scorer=scorer)
    expected = fit_folder(slices, settings).save(tmp_path / "expected.dinoad")
    cache = CacheSettings(str(tmp_path / "cache"))
    begin(slices, cache, settings)
    for path in Path(cache.folder).rglob("states/*"):
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
        save_file({"other": torch.zeros(2)}, path, metadata)
    model = fit_folder(slices, settings, cache=cache).save(tmp_path / "m.dinoad")
    assert "begins anew" in caplog.text
    assert without_date(model) == without_date(expected)


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn"])
def test_a_checkpoint_that_has_changed_on_the_disk_is_begun_anew(slices, tmp_path, caplog, scorer):
    settings = replace(SMALL, scorer=scorer)
    expected = fit_folder(slices, settings).save(tmp_path / "expected.dinoad")
    cache = CacheSettings(str(tmp_path / "cache"))
    begin(slices, cache, settings)
    for path in Path(cache.folder).rglob("states/*"):
        content = bytearray(path.read_bytes())
        for place in range(len(content) // 2, len(content), 64):
            content[place + 1] ^= 8
        path.write_bytes(content)
    model = fit_folder(slices, settings, cache=cache).save(tmp_path / "m.dinoad")
    assert "begins anew" in caplog.text
    assert without_date(model) == without_date(expected)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 100, b"\0" * 100, b"\xff\xff\xff\xff\0\0\0\0{}"],
    ids=["empty", "ones", "zeros", "long header"],
)
def test_damaged_embeddings_are_made_again(slices, tmp_path, content):
    expected = fit_folder(slices, SMALL).save(tmp_path / "expected.dinoad")
    cache = CacheSettings(str(tmp_path / "cache"))
    begin(slices, cache, SMALL)
    next(Path(cache.folder).rglob("embeddings/*")).write_bytes(content)
    model = fit_folder(slices, SMALL, cache=cache).save(tmp_path / "m.dinoad")
    assert without_date(model) == without_date(expected)


def test_half_written_scores_of_held_out_scans_are_written_anew(slices, tmp_path):
    fit_folder(slices, SMALL, out=tmp_path / "undisturbed.dinoad")
    cache, out = CacheSettings(str(tmp_path / "cache")), tmp_path / "resumed.dinoad"

    def stop_when_calibrating(event):
        if event.stage == "Calibrating":
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit_folder(slices, SMALL, stop_when_calibrating, cache, out)
    kept = list((tmp_path / "cache").rglob("*.npy"))
    assert len(kept) == 6
    for number, path in enumerate(kept):
        path.write_bytes(path.read_bytes()[: 100 * number] if number % 2 else bytes(path.stat().st_size))
    fit_folder(slices, SMALL, cache=cache, out=out)
    assert without_date(out) == without_date(tmp_path / "undisturbed.dinoad")


def test_a_fit_waits_for_the_disk_once_a_scan(slices, tmp_path, monkeypatch):
    """Thousands of small scans would wait for nothing else."""
    calls, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(handle) or fsync(handle))
    fit_folder(slices, replace(SMALL, scorer="memory-bank"), cache=CacheSettings(str(tmp_path)))
    assert len(calls) <= 6 + 5, "the six scans' embeddings, three scorers, and what tells of the fit"


def test_what_was_embedded_is_not_embedded_again(slices, tmp_path, monkeypatch):
    cache = CacheSettings(str(tmp_path), keep=True)
    fit_folder(slices, SMALL, cache=cache)
    monkeypatch.setattr(
        "napari_dinoad.backbones.embedded.backbone.EmbeddedBackbone.__call__",
        lambda *_: pytest.fail("a slice went through the backbone again"),
    )
    fit_folder(slices, replace(SMALL, scorer="memory-bank"), cache=cache)
    assert len(list((tmp_path / "embeddings").iterdir())) == 6


def test_through_a_fit_nothing_is_held_of_what_was_noted_of_each_scan(slices, monkeypatch):
    """It is read again for the report; as Python's objects it takes five times what its text does."""
    fit, held = fitting.fit_and_calibrate, []

    def noted():
        gc.collect()
        return sum(1 for one in gc.get_objects() if type(one) is dict and "body_fraction" in one)

    def counting(*arguments):
        held.append(noted())
        return fit(*arguments)

    monkeypatch.setattr(fitting, "fit_and_calibrate", counting)
    already = noted()
    assert len(fit_folder(slices, SMALL).fit_report.scans[0].facts) > 5
    assert held == [already]


def test_a_copy_of_a_scan_is_used_once(slices):
    report = fit_folder(slices, SMALL).fit_report
    assert len(report.scans) == 6
    assert [(item.path.name, item.reason, item.kind) for item in report.skipped] == [
        ("twin_of_0.png", "the same content as slice_0.png", "the same content as another scan")
    ]


def test_names_do_not_change_the_model(slices, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    for path in slices.glob("slice_*"):
        (other / f"renamed_{path.name}").write_bytes(path.read_bytes())
    fit_folder(slices, SMALL, out=tmp_path / "a.dinoad")
    fit_folder(other, SMALL, out=tmp_path / "b.dinoad")
    assert without_date(tmp_path / "a.dinoad") == without_date(tmp_path / "b.dinoad")


def test_no_name_is_in_the_cache(slices, tmp_path):
    fit_folder(slices, SMALL, cache=CacheSettings(str(tmp_path), keep=True))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert "slice" not in str(path.relative_to(tmp_path))
        content = path.read_bytes()
        assert b"slice_" not in content
        assert str(slices).encode() not in content


def test_a_fit_that_may_take_too_much_disk_is_refused_before_it_starts(slices, tmp_path):
    cache = CacheSettings(str(tmp_path / "cache"), limit_bytes=10_000)
    with pytest.raises(SettingError, match=r"at most 10 kB.*may take \d+"):
        fit_folder(slices, SMALL, cache=cache)
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_ends_the_fit_and_the_next_one_goes_on(slices, tmp_path, monkeypatch):
    """The fourth file that is written does not fit: the first tells the version."""
    calls = []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")

    cache, out = CacheSettings(str(tmp_path / "cache")), tmp_path / "m.dinoad"
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        takes = r"The embeddings of the whole fit take at most .* there\..* --cache or"
        told = rf"No space left on device.* has .* free\. {takes}"
        with pytest.raises(DinoadError, match=told):
            fit_folder(slices, SMALL, cache=cache, out=out)
    assert not out.exists()
    assert len(list((tmp_path / "cache" / "embeddings").iterdir())) == 2
    fit_folder(slices, SMALL, cache=cache, out=out)
    fit_folder(slices, SMALL, out=tmp_path / "undisturbed.dinoad")
    assert without_date(out) == without_date(tmp_path / "undisturbed.dinoad")


@pytest.mark.skipif(sys.platform == "win32", reason="other lengths")
def test_a_name_that_is_too_long_for_the_report_is_told_before_anything_is_read(slices, tmp_path):
    out = tmp_path / f"{'m' * 246}.dinoad"

    def fail(event):
        raise AssertionError(event)

    with pytest.raises(DinoadError, match=r"Cannot write .*\.report\.html: File name too long"):
        fit_folder(slices, SMALL, fail, out=out)


def test_no_report_lies_beside_a_model_of_another_fit(slices, tmp_path, monkeypatch):
    """The disk was full when the model was to be written, and the report was there already."""
    out, report = tmp_path / "m.dinoad", tmp_path / "m.report.html"
    for path in (out, report):
        path.write_text("of before")

    def full(path, document, tensors):
        with atomic_path(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(normative_model, "write_model_file", full)
    with pytest.raises(DinoadError, match=r"Cannot write .*m\.dinoad: No space left on device"):
        fit_folder(slices, SMALL, out=out)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "m.dinoad": "of before",
        "m.report.html": "of before",
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_process_leaves_nothing_that_hinders(slices, tmp_path):
    """Killed while it embeds, then run to the end by the same command."""
    out, cache = tmp_path / "m.dinoad", tmp_path / "cache"
    command = [sys.executable, "-m", "napari_dinoad", "fit", str(slices), "--out", str(out)]
    command += ["--scorer", "memory-bank", "--preset", "oct", "--cache", str(cache), "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        while killed.poll() is None and len(list(cache.glob("embeddings/*"))) < 2:
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
    assert not out.exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert left_files(cache) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "m.dinoad", "m.report.html"]

"""Fitting and scoring on a pretended GPU: all of it runs there, little is waited for, results are the CPU's."""

from __future__ import annotations

import weakref
from dataclasses import replace
from threading import Event, current_thread, main_thread

import numpy as np
import pytest
import torch

from napari_dinoad import NormativeModel, read_volume, update_model
from napari_dinoad.backbones.embedded.backbone import EmbeddedBackbone
from napari_dinoad.errors import ScorerError
from napari_dinoad.images.slices import prepare_planes
from napari_dinoad.machine.faults import fault_of_machine
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
from napari_dinoad.pipeline.cohort.scan_embedding import ScanEmbedding, ScanToEmbed
from napari_dinoad.pipeline.cohort.work_folder import work_folder
from napari_dinoad.pipeline.detection import detector as detector_module
from napari_dinoad.pipeline.detection import scan_run
from napari_dinoad.pipeline.slices.arriving import Arriving
from napari_dinoad.pipeline.slices.device_slices import DeviceSlices, sent_voxels, slices_of_planes
from napari_dinoad.pipeline.slices.placed_slices import HostSlices
from napari_dinoad.settings import (
    ArCnnSettings,
    CacheSettings,
    DetectSettings,
    FitSettings,
    ReadSettings,
)
from patience import PATIENCE_S
from pretended_gpu import pretended_gpu
from small_fits import SMALL_FIT
from small_heads import save_head

SMALL = replace(SMALL_FIT, ar_cnn=ArCnnSettings(epochs=2), device="cpu")
BATCH = 3
PATCHES = (64 // 16) ** 2
"""Of a slice."""


@pytest.fixture(
    scope="module", params=["memory-bank", "dpmm", "ar-cnn", "dpmm+memory-bank", "memory-bank all"]
)
def model_path(request, normal_folder, tmp_path_factory):
    scorer, *planes = request.param.split()
    preprocessing = replace(SMALL.preprocessing, plane=planes[0] if planes else "axial")
    model = fit_folder(normal_folder, replace(SMALL, scorer=scorer, preprocessing=preprocessing))
    return model.save(tmp_path_factory.mktemp("model") / "normal.dinoad")


@pytest.fixture(scope="module")
def one_model(normal_folder, tmp_path_factory):
    model = fit_folder(normal_folder, replace(SMALL, scorer="memory-bank"))
    return model.save(tmp_path_factory.mktemp("model") / "normal.dinoad")


@pytest.fixture(scope="module")
def patient(patient_path):
    return read_volume(patient_path)


def detector_of(path, device):
    return Detector(NormativeModel.load(path), DetectSettings(device=device, batch_slices=BATCH))


def test_a_scan_is_scored_there_as_on_the_cpu(model_path, patient):
    expected = detector_of(model_path, "cpu").detect(patient)
    with pretended_gpu() as waits:
        detector = detector_of(model_path, "cuda")
        assert {m.scorer.device.type for p in detector.model.planes for m in p.members} == {"cuda"}
        detector.detect(patient, slices=[8])
        waits.clear()
        found = detector.detect(patient)
    np.testing.assert_allclose(found.anomaly_map.values, expected.anomaly_map.values, atol=5e-3)
    assert found.scan_score == pytest.approx(expected.scan_score, rel=1e-4)
    assert (found.p_value, found.slices) == (expected.p_value, expected.slices)
    n_batches = sum(-(-len(detector.prepare(patient)[i].indices) // BATCH) for i in range(len(found.planes)))
    # The scan's voxels and its body are sent before anything else is begun; what is fused of planes comes back.
    alone = {"event": n_batches, "_to_copy": 2, "_local_scalar_dense": 2}
    fused = {"event": n_batches, "_to_copy": 3}
    assert waits == (alone if len(found.planes) == 1 else fused)


def test_what_is_begun_there_depends_on_the_batches_not_on_their_slices(model_path, patient):
    """An operation takes 5 µs to begin, whatever it does: those of each slice would hold a quick GPU up."""
    begun, n_batches = [], []
    for size in (2, 8):
        calls = []
        with pretended_gpu() as waits, pytest.MonkeyPatch.context() as context:
            detector = Detector(
                NormativeModel.load(model_path), DetectSettings(device="cuda", batch_slices=size)
            )
            detector.detect(patient, slices=[8])
            waits.launches.clear()
            detector.backbone(torch.zeros(2, 64, 64, device="cuda"))
            of_network = waits.launches.total() - 1  # without the zeros
            owner = type(detector.backbone)
            context.setattr(owner, "__call__", noted(owner.__call__, calls, "network"))
            waits.launches.clear()
            detector.detect(patient)
        begun.append(waits.launches.total() - len(calls) * of_network)
        n_batches.append(len(calls))
    of_a_batch = (begun[0] - begun[1]) / (n_batches[0] - n_batches[1])
    of_the_scan = begun[1] - n_batches[1] * of_a_batch
    n_scorers = max(len(plane.members) for plane in detector.model.planes)
    # Then 42 for what is usual of slices that look alike.
    assert all(plane.levels for plane in detector.model.planes)
    assert of_a_batch < 25 + 42 * n_scorers + 42
    # One operation a slice would be 12 more, in all planes 72.
    assert of_the_scan < (30 if len(detector.model.planes) == 1 else 60)


def test_a_gpu_waits_for_nothing_that_the_cpu_may_do_meanwhile(one_model, patient, monkeypatch):
    """Voxels are sent while the body is looked for; in what a scan is unlike others is told while it is scored."""
    is_sent, is_told, on_threads = Event(), Event(), []

    def and_then(function, event):
        def call(*args):
            on_threads.append(current_thread() is not main_thread())
            result = function(*args)
            event.set()
            return result

        return call

    prepare = detector_module.prepare_planes
    monkeypatch.setattr(detector_module, "sent_voxels", and_then(detector_module.sent_voxels, is_sent))
    monkeypatch.setattr(
        detector_module, "prepare_planes", lambda *args: is_sent.wait(PATIENCE_S) and prepare(*args)
    )
    monkeypatch.setattr(Detector, "unlike", and_then(Detector.unlike, is_told))
    with pretended_gpu():
        found = detector_of(one_model, "cuda").detect(
            patient, on_slices=lambda *_: None if is_told.wait(PATIENCE_S) else pytest.fail("not told")
        )
    assert on_threads == [True, True, False]
    assert found.unlike == detector_of(one_model, "cpu").detect(patient).unlike


def test_a_gpu_does_not_wait_for_how_slices_are_averaged(one_model, patient, monkeypatch):
    """The network is at work by the time that this is worked out."""
    begun = []
    averaging_like = scan_run.averaging_like
    monkeypatch.setattr(
        scan_run, "averaging_like", lambda *args: begun.append("averaging") or averaging_like(*args)
    )
    with pretended_gpu():
        detector = detector_of(one_model, "cuda")
        owner = type(detector.backbone)
        monkeypatch.setattr(owner, "__call__", noted(owner.__call__, begun, "network"))
        detector.detect(patient)
    assert begun[:2] == ["network", "averaging"]
    assert begun.count("averaging") == 1


def test_slices_alone(model_path, patient):
    expected = detector_of(model_path, "cpu").detect(patient, slices=[5, 9])
    with pretended_gpu():
        found = detector_of(model_path, "cuda").detect(patient, slices=[5, 9])
    np.testing.assert_allclose(found.anomaly_map.values, expected.anomaly_map.values, atol=5e-3)


def test_what_scorers_see(model_path, patient):
    pytest.importorskip("qtpy", reason="no Qt is installed", exc_type=ImportError)
    from napari_dinoad.gui.find.scan_jobs import _explain

    on_cpu = detector_of(model_path, "cpu")
    prepared = on_cpu.prepare(patient)[0]

    def explained(detector):
        embeddings = detector.backbone(torch.from_numpy(prepared.images([9]))).values
        return [_explain(m.scorer, prepared, 9, embeddings).values for m in detector.model.planes[0].members]

    with pretended_gpu():
        seen = explained(detector_of(model_path, "cuda"))
    for got, wanted in zip(seen, explained(on_cpu), strict=True):
        assert np.isclose(got, wanted, atol=1e-4).mean() > 0.99


@pytest.mark.parametrize("scorer", ["memory-bank", "dpmm"])
def test_a_cohort_is_fitted_there_as_on_the_cpu(normal_folder, patient, scorer):
    settings = replace(SMALL, scorer=scorer)
    expected = Detector(fit_folder(normal_folder, settings), DetectSettings(device="cpu")).detect(patient)
    with pretended_gpu():
        model = fit_folder(normal_folder, replace(settings, device="cuda"))
        assert model.planes[0].members[0].scorer.device.type == "cuda"
        found = Detector(model, DetectSettings(device="cuda")).detect(patient)
    levels, wanted = found.anomaly_map.values, expected.anomaly_map.values
    assert np.corrcoef(levels[wanted > 0], wanted[wanted > 0])[0, 1] > 0.999
    assert found.p_value == expected.p_value


def test_a_scan_is_embedded_waiting_once_a_batch(patient, tmp_path, monkeypatch):
    """And while one batch is written the next is worked on."""
    prepared = prepare_planes(patient, SMALL.preprocessing, 64)
    n_batches = -(-len(prepared[0].indices) // BATCH)
    monkeypatch.setattr(EmbeddedBackbone, "batch_slices", BATCH)

    def embeddings_of(backbone):
        loaded = ScanToEmbed(None, ("key",), (None,), prepared, ({},))
        folder = CacheSettings(str(tmp_path / backbone.device.type))
        with work_folder("fit", folder) as work, ReadAhead() as reader:
            caches = {"axial": EmbeddingCache(work, reader)}
            (scan,) = ScanEmbedding(ReadSettings(), SMALL.preprocessing, backbone, caches).stored(
                loaded, reader
            )
            return torch.cat([*scan.batches()])

    expected = embeddings_of(EmbeddedBackbone(torch.device("cpu")))
    order = []
    with pretended_gpu() as waits:
        backbone = EmbeddedBackbone(torch.device("cuda"))
        backbone(torch.rand(1, 64, 64))
        for owner, name in ((EmbeddedBackbone, "__call__"), (Arriving, "tensors")):
            monkeypatch.setattr(owner, name, noted(getattr(owner, name), order, name))
        waits.clear()
        got = embeddings_of(backbone)
    torch.testing.assert_close(got, expected, atol=2e-3, rtol=0)
    assert waits == {"event": n_batches, "_to_copy": 2}
    assert order == ["__call__", *["__call__", "tensors"] * (n_batches - 1), "tensors"]


def noted(function, order, name):
    def call(*args):
        order.append(name)
        return function(*args)

    return call


def test_a_cohort_is_fitted_where_memory_runs_out_around_the_network(normal_folder, caplog):
    settings = replace(SMALL, scorer="memory-bank")
    expected = fit_folder(normal_folder, settings).planes[0].members[0].scorer.bank
    with pretended_gpu(has_room=lambda name, made: name != "clamp_"):
        fitted = fit_folder(normal_folder, replace(settings, device="cuda"))
        bank = fitted.planes[0].members[0].scorer.bank.cpu()
    torch.testing.assert_close(bank, expected, atol=2e-3, rtol=0)
    assert "memory ran out" in caplog.text


def test_a_model_is_updated_there(normal_folder, tmp_path):
    model = fit_folder(normal_folder, replace(SMALL, scorer="dpmm"))
    for seed in range(10, 16):
        save_head(tmp_path / f"normal_{seed}.nii.gz", seed)
    with pretended_gpu():
        updated = update_model(model, tmp_path, FitSettings(device="cuda", calibration=SMALL.calibration))
    assert updated.calibration.n_scans == 2 * model.calibration.n_scans


@pytest.mark.parametrize(
    ("what", "is_too_much", "is_told"),
    [
        ("the body", lambda name, made: name == "_to_copy" and made.dtype is torch.bool, False),
        ("resampling", lambda name, made: name == "clamp_", True),
        ("calibrating", lambda name, made: name == "searchsorted", True),
        ("the scan's own score", lambda name, made: name == "topk" and made.ndim == 1, True),
        ("scoring", lambda name, made: name == "mm" and len(made) > PATCHES, True),
    ],
)
def test_memory_that_runs_out_around_the_network_is_dealt_with(
    patient, one_model, caplog, what, is_too_much, is_told
):
    expected = detector_of(one_model, "cpu").detect(patient)
    arrived = {}
    with pretended_gpu(has_room=lambda name, made: not is_too_much(name, made)):
        detector = detector_of(one_model, "cuda")
        found = detector.detect(
            patient, on_slices=lambda _, i, values: arrived.update(zip(i, values, strict=True))
        )
    np.testing.assert_allclose(found.anomaly_map.values, expected.anomaly_map.values, atol=5e-3)
    assert found.scan_score == pytest.approx(expected.scan_score, rel=1e-4)
    assert set(arrived) == set(found.slices)
    for index, values in arrived.items():
        np.testing.assert_array_equal(values, found.anomaly_map.values[index])
    assert ("memory ran out" in caplog.text) == is_told


def test_voxels_that_are_not_used_there_take_no_memory_there(patient, one_model, monkeypatch):
    sent, are_there = [], []

    def send(*args):
        voxels = sent_voxels(*args)
        sent.append(weakref.ref(voxels))
        return voxels

    monkeypatch.setattr(detector_module, "sent_voxels", send)
    with pretended_gpu(has_room=lambda name, made: made.dtype is not torch.bool or name != "_to_copy"):
        detector_of(one_model, "cuda").detect(
            patient, on_slices=lambda *_: are_there.append(sent[0]() is not None)
        )
    assert are_there
    assert not any(are_there)


def test_too_little_memory_is_told_with_what_to_do(patient, one_model):
    with pretended_gpu(has_room=lambda name, made: name != "mm"), pytest.raises(RuntimeError) as caught:
        detector_of(one_model, "cuda").detect(patient)
    assert "--device cpu" in str(fault_of_machine(caught.value))


def test_memory_that_pytorch_holds_for_us_is_free(patient, one_model, monkeypatch):
    """After the first scan of many the driver has little left: the scan before has left it with PyTorch."""
    with pretended_gpu(free_bytes=10**4):
        detector = detector_of(one_model, "cuda")
        prepared = detector.prepare(patient)
        assert isinstance(slices_of_planes(prepared, detector.backbone.device)[0], HostSlices)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda *_: 10**9)
        assert isinstance(slices_of_planes(prepared, detector.backbone.device)[0], DeviceSlices)


def test_nan_from_there_is_refused(model_path, patient):
    with pretended_gpu():
        detector = detector_of(model_path, "cuda")
        embed = detector.backbone.__class__.__call__

        def broken(backbone, images):
            embeddings = embed(backbone, images)
            return replace(embeddings, values=embeddings.values * float("nan"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detector.backbone.__class__, "__call__", broken)
            with pytest.raises(ScorerError, match="NaN"):
                detector.detect(patient)

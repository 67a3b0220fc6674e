"""Folders of small scans."""

from __future__ import annotations

import gc
import os

# One thread for each process, before torch and NumPy are loaded: for arrays this small, threads that wait for each
# other take three times the processor's time where other programs are at work too. Worker processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from small_heads import add_bad_scans, save_head

# Examples are the same in each run, and may take any time: a busy machine stops a process for more than the 200 ms
# after which Hypothesis takes an example for a failed one. Others are drawn by --hypothesis-profile=default.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("tests")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Leave what the modules of the tests load out of all searches for garbage: it stays, and it is the most."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def fit_cache(tmp_path_factory):
    """Keep what fits leave while they run out of the user's own cache folder."""
    folder = tmp_path_factory.mktemp("fit-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINOAD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def apart_from_the_home_folder(tmp_path_factory):
    """Leave nothing in the user's home, which need not be writable, and find no weights there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def without_openvino():
    """Compute with PyTorch, whether OpenVINO is installed or not; its own tests switch it on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINOAD_OPENVINO", "0")
        yield


@pytest.fixture(scope="session")
def normal_folder(tmp_path_factory):
    """A folder of six small normal heads."""
    folder = tmp_path_factory.mktemp("normals")
    for seed in range(6):
        save_head(folder / f"normal_{seed}.nii.gz", seed)
    return folder


@pytest.fixture(scope="session")
def patient_path(tmp_path_factory):
    """A small head with a bright lesion."""
    return save_head(tmp_path_factory.mktemp("patients") / "patient.nii.gz", 100, lesion=True)


@pytest.fixture
def messy_folder(tmp_path):
    """Three good scans beside everything that goes wrong."""
    folder = tmp_path / "messy"
    folder.mkdir()
    for seed in range(3):
        save_head(folder / f"good_{seed}.nii.gz", seed)
    add_bad_scans(folder)
    return folder

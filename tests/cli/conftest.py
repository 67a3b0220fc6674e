"""One small model for all tests of the command line."""

from __future__ import annotations

import pytest

from napari_dinoad.cli.main import main


@pytest.fixture(scope="session")
def model_path(normal_folder, tmp_path_factory):
    """A memory bank of the six small heads."""
    path = tmp_path_factory.mktemp("cli") / "m.dinoad"
    options = "--scorer memory-bank --preset mr-brain --resolution 160"
    assert main(["fit", str(normal_folder), "--out", str(path), *options.split()]) == 0
    return path

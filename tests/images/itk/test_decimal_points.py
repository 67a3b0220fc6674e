"""Where a comma stands in numbers, as Qt has it in a window in Germany, files are read all the same."""

from __future__ import annotations

import locale
import subprocess
import threading

import numpy as np
import pytest

from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.itk.decimal_points import decimal_points
from napari_dinoad.images.readers import read_volume
from patience import PATIENCE_S

GERMAN = "de_DE.UTF-8"


@pytest.fixture
def with_commas(tmp_path_factory, monkeypatch):
    """Set the process to a country that writes commas, which is made where the system does not have it."""
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        locale.setlocale(locale.LC_NUMERIC, GERMAN)
    except locale.Error:
        folder = tmp_path_factory.mktemp("locales")
        try:
            # It warns of what it lacks of other categories, with an exit status that says so.
            subprocess.run(
                ["localedef", "-i", "de_DE", "-f", "UTF-8", folder / GERMAN], capture_output=True, check=False
            )
            monkeypatch.setenv("LOCPATH", str(folder))
            locale.setlocale(locale.LC_NUMERIC, GERMAN)
        except (OSError, locale.Error):
            pytest.skip("needs the locale de_DE.UTF-8, or what it is made of (Debian's package locales)")
    assert locale.localeconv()["decimal_point"] == ","
    yield
    locale.setlocale(locale.LC_NUMERIC, before)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_sizes_and_places_are_read_with_their_decimals(tmp_path, with_commas, suffix):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    image.SetSpacing((0.75, 1.25, 2.5))
    image.SetOrigin((-10.5, 20.25, 3.125))
    with decimal_points():
        sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"))
    affine = read_volume(tmp_path / f"scan{suffix}").geometry.affine
    np.testing.assert_array_equal(affine[:3, :3], np.diag([-0.75, -1.25, 2.5]))
    np.testing.assert_array_equal(affine[:3, 3], [10.5, -20.25, 3.125])
    (scan,) = discover_scans(tmp_path).scans
    assert scan.spacing_mm == (0.75, 1.25, 2.5)
    assert locale.localeconv()["decimal_point"] == ",", "left as it was"


def test_it_holds_until_the_last_thread_that_needs_it(with_commas):
    inside, may_end = threading.Event(), threading.Event()

    def read():
        with decimal_points():
            inside.set()
            may_end.wait(PATIENCE_S)

    other = threading.Thread(target=read)
    with decimal_points():
        other.start()
        assert inside.wait(PATIENCE_S)
    assert locale.localeconv()["decimal_point"] == "."
    may_end.set()
    other.join(PATIENCE_S)
    assert locale.localeconv()["decimal_point"] == ","

"""What a machine without memory or with a damaged installation raises is told as that."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import pickle
import re
import subprocess
import sys
import tempfile

import pytest

from napari_dinoad.errors import DinoadError
from napari_dinoad.machine.faults import fault_of_machine
from patience import PATIENCE_S


def raised_by(code, name="napari_dinoad.pretended"):
    """Return what a module of ours raises when it runs."""
    try:
        exec(compile(code, "<ours>", "exec"), {"__name__": name})
    except Exception as error:  # noqa: BLE001
        return error
    pytest.fail("expected a fault")


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Return a function that writes a library of this source, and gives what a module of ours raises importing it."""

    def importing(source, name="some_library"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return raised_by(f"def work():\n    import {name}\nwork()")

    return importing


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('libx.so: undefined symbol: y')",
        "raise OSError(22, 'Error loading c10.dll or one of its dependencies')",
        "raise RuntimeError('operator does not exist')",
        "def load():\n    raise AttributeError('no x')\nload()",
    ],
)
def test_a_library_that_cannot_be_loaded(library, source):
    error = library(source)
    fault = fault_of_machine(error)
    assert isinstance(fault, DinoadError)
    assert str(fault).startswith("some_library cannot be loaded (")
    assert "pip install --force-reinstall some_library" in str(fault)
    assert fault.__cause__ is error
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)


@pytest.mark.parametrize(
    "source",
    [
        "raise MemoryError",
        "raise ImportError('libtorch_cpu.so: failed to map segment from shared object')",
        "raise OSError(1455, 'The paging file is too small for this operation to complete')",
        "raise RuntimeError('can\\'t start new thread')",
    ],
)
def test_a_library_for_which_memory_is_too_small(library, source):
    told = str(fault_of_machine(library(source)))
    assert told.startswith("some_library cannot be loaded (")
    assert "too little memory" in told
    assert "reinstall" not in told


def test_packages_are_named_as_they_are_installed(library, monkeypatch):
    monkeypatch.setattr(
        "importlib.metadata.packages_distributions", lambda: {"some_library": ["some-package"]}
    )
    assert "pip install --force-reinstall some-package" in str(
        fault_of_machine(library("raise OSError('x')"))
    )
    missing = raised_by("import no_such_library.part")
    assert str(fault_of_machine(missing)).startswith("no_such_library cannot be loaded (No module named")


@pytest.mark.parametrize(
    ("error", "is_of_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), True),
        (RuntimeError("unable to mmap 88 bytes from file <w>: Cannot allocate memory (12)"), True),
        (RuntimeError("shapes differ"), False),
        (OSError(errno.ENOENT, "cannot allocate memory card"), False),
        (ValueError("out of memory"), False),
        (ImportError("cannot import name 'x' from 'napari_dinoad'", name="napari_dinoad"), False),
        (ModuleNotFoundError("No module named 'napari_dinoad.x'", name="napari_dinoad.x"), False),
    ],
)
def test_memory_that_is_used_up_while_we_work(error, is_of_memory):
    fault = fault_of_machine(error)
    assert (fault is not None) is is_of_memory
    if fault is not None:
        assert str(fault).startswith("Memory is used up (")


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "EROFS", "ENOSPC"])
def test_a_disk_that_fails_while_we_work(name):
    """A network drive whose server is gone while embeddings are read."""
    number = getattr(errno, name)
    error = OSError(number, os.strerror(number), "/share/embeddings/ab.safetensors")
    fault = fault_of_machine(error)
    assert str(fault).startswith(
        f"/share/embeddings/ab.safetensors: {os.strerror(number)}. See whether the disk"
    )
    assert fault.__cause__ is error
    assert str(fault_of_machine(OSError(number, os.strerror(number)))).startswith(
        f"{os.strerror(number)}. See"
    )


def test_a_name_that_the_locale_cannot_write_is_no_fault_of_ours(monkeypatch):
    """Names in UTF-8 where the locale is Japanese EUC; an output or a model that is called so elsewhere."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "euc_jp")
    error = UnicodeEncodeError("euc_jp", "\x82.nii.gz", 0, 1, "illegal multibyte sequence")
    told = str(fault_of_machine(error))
    assert r"'\x82.nii.gz' cannot be written in euc_jp" in told
    assert "PYTHONUTF8=1" in told
    assert fault_of_machine(UnicodeEncodeError("ascii", "\x82", 0, 1, "ordinal not in range")) is None
    # What Python calls the encoding of the C library, which is none of its own.
    assert fault_of_machine(UnicodeEncodeError("locale", "\x82", 0, 1, "encoding error")) is None
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "utf-8")
    assert fault_of_machine(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")) is None


def test_a_name_that_a_locale_of_one_byte_a_letter_cannot_write_is_no_fault_of_ours(monkeypatch):
    """Greek in a German locale: Python says "charmap", whichever of these encodings it is."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-15")
    with pytest.raises(UnicodeEncodeError) as raised:
        "λ.nii.gz".encode("iso8859-15")
    assert r"'\u03bb.nii.gz' cannot be written in iso8859-15" in str(fault_of_machine(raised.value))
    can_be_written = UnicodeEncodeError("charmap", "ä.nii.gz", 0, 1, "of another encoding")
    assert fault_of_machine(can_be_written) is None


def test_too_many_open_files():
    fault = fault_of_machine(OSError(errno.EMFILE, os.strerror(errno.EMFILE), "x"))
    assert "ulimit -n" in str(fault)
    assert fault_of_machine(OSError(errno.EINVAL, os.strerror(errno.EINVAL), "x")) is None
    assert fault_of_machine(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None


def test_telling_that_memory_is_used_up_takes_next_to_none(library, monkeypatch):
    """A package's name would be looked for in all that is installed."""

    def used_up():
        raise MemoryError

    error = library("raise MemoryError")
    monkeypatch.setattr(importlib.metadata, "packages_distributions", used_up)
    assert str(fault_of_machine(error)).startswith("some_library cannot be loaded (")


def test_a_fault_of_ours_stays_one():
    assert fault_of_machine(raised_by("1 / 0")) is None
    assert fault_of_machine(raised_by("import json\njson.loads('{')")) is None
    assert fault_of_machine(raised_by("from json import no_such_name")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of the address space")
def test_pytorch_that_does_not_fit_into_memory_is_one_line(tmp_path):
    """It takes about 3 GB of addresses."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from napari_dinoad.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "fit", str(tmp_path), "--out", str(tmp_path / "m.dinoad")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("dinoad: torch cannot be loaded (")
    assert "too little memory" in line


def test_nowhere_for_temporary_files_is_told_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    fault = fault_of_machine(raised_by("import tempfile\ntempfile.TemporaryDirectory()"))
    assert re.search(r"No usable temporary directory.*in the environment variable TMPDIR\.$", str(fault))
    assert fault_of_machine(raised_by(f"open({str(tmp_path / 'gone')!r})")) is None

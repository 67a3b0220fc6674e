"""What the Makefile's commands would do."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def commands_of(target):
    # Named here, since the make that runs the tests may have been given another one.
    command = ["make", "-n", "VENV=.venv", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_clean_removes_all_that_the_other_commands_leave():
    left = {
        "demo-output",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".import_linter_cache",
        ".hypothesis",
    }
    left |= {".venv", ".venv-oldest", ".venv-prerelease"}
    assert left - set(commands_of("clean").split()) == set()


def test_the_oldest_versions_are_tested_by_as_many_processes_as_the_newest():
    assert "tools/run_tests.sh .venv-oldest/bin/python" in commands_of("oldest")

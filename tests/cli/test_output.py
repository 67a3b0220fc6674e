"""What a terminal is sent: progress bars, and names of files."""

from __future__ import annotations

import io
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from napari_dinoad.cli import score
from napari_dinoad.cli.output import ProgressBars, print_table, skipped_lines
from napari_dinoad.images.scan_file import SkippedFile
from napari_dinoad.machine.streams import prepare_streams
from napari_dinoad.progress import ProgressEvent

pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")


def drawn(monkeypatch, columns, rows):
    """Return what a stage of three steps draws on a terminal that is so large."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with ProgressBars() as bars:
            for done in range(4):
                bars(ProgressEvent("Embedding", done, 3))
    return all_of(ours)


def all_of(ours):
    """Return what came through a pseudo-terminal whose other end is closed."""
    text = b""
    # It comes in pieces; once the other end is closed and all has come, Linux raises and others give nothing.
    with suppress(OSError):
        while piece := os.read(ours, 4096):
            text += piece
    os.close(ours)
    return text.decode()


def test_an_event_that_is_told_again_is_no_quicker_pace(monkeypatch):
    """A fit does so while an epoch takes long."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    now_s = 0.0
    with ProgressBars() as bars:
        bars(ProgressEvent("Epochs", 0, 40))
        bars._bar._time, bars._bar.start_t, bars._bar.last_print_t = (lambda: now_s), 0.0, 0.0
        for epoch in range(3):
            for _ in range(300):
                now_s += 0.2
                bars(ProgressEvent("Epochs", epoch, 40))
            bars(ProgressEvent("Epochs", epoch + 1, 40))
        assert bars._bar.format_dict["rate"] == pytest.approx(1 / 60, rel=0.01)


@pytest.mark.parametrize(("columns", "rows"), [(0, 0), (100, 0), (0, 30), (100, 30)])
def test_a_terminal_that_does_not_say_how_large_it_is_shows_a_bar(monkeypatch, columns, rows):
    """Of pseudo-terminals without a window: expect, docker, CI."""
    monkeypatch.delenv("COLUMNS", raising=False)
    text = drawn(monkeypatch, columns, rows)
    assert "Embedding: 100%" in text
    assert "3/3" in text
    assert max(len(line.strip("\r\n")) for line in text.split("\r")) <= (columns or 80) - 1


def test_a_name_that_would_command_the_terminal_is_shown(monkeypatch):
    """Colours, titles, the clipboard; letters that run backwards. In a file or a pipe names stay as they are."""
    name = "x\x1b]0;title\x07\x1b[31mred\x9b2J\u202egnp.exe é 脳\n"
    ours, theirs = pty.openpty()
    read, write = os.pipe()
    for handle in (theirs, write):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", os.fdopen(handle, "w", encoding="utf-8"))
            prepare_streams()
            sys.stdout.write(name)
            sys.stdout.close()
    shown = r"x\x1b]0;title\x07\x1b[31mred\x9b2J\u202egnp.exe é 脳"
    assert all_of(ours) == f"{shown}\r\n"
    assert all_of(read) == name


def test_names_that_terminals_would_obey_are_spelled_out_in_tables(capsys):
    print_table(("scan", "p"), [("a\rb\n", "0.1"), ("\x1b[2Jc", "0.2"), ("ünï 日本", "0.3")])
    assert capsys.readouterr().out.splitlines() == [
        "scan        p",
        r"a\rb\n    0.1",
        r"\x1b[2Jc  0.2",
        "ünï 日本    0.3",
    ]


def test_of_many_files_that_are_skipped_the_first_few_of_each_reason_are_named():
    files = [SkippedFile(Path(f"{n}.png"), "its size") for n in range(100)]
    files[50:50] = [SkippedFile(Path("a.txt"), "a text"), SkippedFile(Path("b.txt"), "a text")]
    assert skipped_lines(files) == [
        "skipped 0.png: its size",
        "skipped 1.png: its size",
        "skipped 2.png: its size",
        "skipped 97 more: its size",
        "skipped a.txt: a text",
        "skipped b.txt: a text",
    ]
    copies = [
        SkippedFile(Path(f"{n}b.png"), f"the same content as {n}.png", kind="a copy") for n in range(100)
    ]
    assert skipped_lines([*copies, SkippedFile(Path("a.txt"), "a text")]) == [
        "skipped 0b.png: the same content as 0.png",
        "skipped 1b.png: the same content as 1.png",
        "skipped 2b.png: the same content as 2.png",
        "skipped 97 more: a copy",
        "skipped a.txt: a text",
    ]
    each_its_own = [SkippedFile(Path(f"{n}.png"), f"of {n} rows") for n in range(5000)]
    lines = skipped_lines(each_its_own)
    assert len(lines) == 21
    assert lines[-1] == "skipped 4980 more for other reasons; --json lists all."
    assert skipped_lines([]) == []


def test_names_of_many_scans_are_compared_a_few_times_each(capsys):
    class Counted(str):
        n_compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Counted.n_compared += 1
            return str.__eq__(self, other)

    names = [Counted(f"{n}.png") for n in range(1000)]
    columns = ("0.5", "1", "0", "2.0", "3 px", "0.1")
    twins = [(Counted("twin.png"), f"{folder}_twin", *columns) for folder in "ab"]
    score._print_lines([*((name, name.removesuffix(".png"), *columns) for name in names), *twins])
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["scan", *map(str, names), "a_twin", "b_twin"]
    assert Counted.n_compared < 10 * len(names)  # each with all: a million times

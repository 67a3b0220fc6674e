"""How scans are read: the options that ``fit`` and ``score`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    import argparse

__all__ = ["add_reading_arguments", "add_series_argument", "reading_from"]


def add_series_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the option that chooses among several series."""
    parser.add_argument(
        "--series",
        metavar="TEXT",
        help="of several DICOM series the one with this number, description, kernel (CT) or end of UID; of other "
        "files in folders those whose names end so (T1w of sub-01_T1w.nii.gz); with * or ? a pattern ('*mprage*')",
    )


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is meant where a file or folder could be read in several ways."""
    group = parser.add_argument_group("reading")
    add_series_argument(group)
    group.add_argument(
        "--frame", type=int, metavar="N", help="volume of a 4D scan, or page of a stack, from 0"
    )
    group.add_argument(
        "--resample",
        action="store_true",
        help="make uneven or tilted DICOM slices even by interpolation, instead of refusing them",
    )
    group.add_argument(
        "--stack-folders",
        action="store_true",
        help="the 2D images of one folder are the slices of one scan (OCT B-scans)",
    )


def reading_from(options: argparse.Namespace) -> ReadSettings:
    """Return validated settings of parsed arguments."""
    return ReadSettings(options.series, options.frame, options.resample, options.stack_folders)

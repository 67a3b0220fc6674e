"""Arguments that several verbs take; those of reading scans are in `reading`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from napari_dinoad.settings import Device

if TYPE_CHECKING:
    import argparse

__all__ = ["add_common_arguments", "add_device_argument", "add_model_argument", "add_resolution_argument"]


def add_common_arguments(parser: argparse.ArgumentParser, *, default: object = False) -> None:
    """Add what every verb takes; `argparse.SUPPRESS` where the verb above has the default."""
    parser.add_argument(
        "--json", action="store_true", default=default, help="print one JSON object and nothing else"
    )
    parser.add_argument("-v", "--verbose", action="store_true", default=default, help="log what is done")


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add the model that scans are scored with."""
    parser.add_argument(
        "--model", type=Path, required=True, metavar="M.dinoad", help="model of normal, from dinoad fit"
    )


def add_resolution_argument(parser: argparse.ArgumentParser) -> None:
    """Add how large slices are for the backbone."""
    parser.add_argument(
        "--resolution",
        type=int,
        metavar="PX",
        help="side of the model input in pixels (default: the backbone's)",
    )


def add_device_argument(parser: argparse.ArgumentParser, default: Device) -> None:
    """Add where networks run."""
    parser.add_argument(
        "--device",
        choices=get_args(Device),
        default=default,
        help="where networks run; auto takes the quickest (default: %(default)s)",
    )

"""`dinoad info`: what a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.cli.output import print_json

if TYPE_CHECKING:
    import argparse

NAME = "info"
HELP = "Tell what a model is (scorer, backbone, scans, calibration), and whether its file is whole."
EXAMPLE = "dinoad info t1.dinoad"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("model", type=Path, metavar="M.dinoad", help="model of normal, from dinoad fit")


def run(options: argparse.Namespace) -> int:
    """Print the model's card."""
    from napari_dinoad.normative_model.card import stored_card

    card = stored_card(options.model)
    if card is None:
        # Torch is loaded here, which takes seconds: for what is wrong, or was written by another version.
        from napari_dinoad.normative_model.model import NormativeModel

        card = NormativeModel.load(options.model).card()
    if options.json:
        print_json(card)
    else:
        _print_card(card)
    return 0


def _print_card(card: dict[str, Any], indent: str = "") -> None:
    for name, value in card.items():
        if isinstance(value, dict):
            print(f"{indent}{name}:")
            _print_card(value, indent + "  ")
        elif value not in ((), []):
            print(f"{indent}{name}: {_in_words(value)}")


def _in_words(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value))
    return str(value)

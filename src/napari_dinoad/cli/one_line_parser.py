"""A parser of arguments that tells what is wrong with them in one line, as all else that is wrong is told."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from napari_dinoad.errors import SettingError

__all__ = ["OneLineParser"]


class OneLineParser(argparse.ArgumentParser):
    """Raises `SettingError` where argparse prints the usage of the whole command and ends the process."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, with the command whose help explains it."""
        raise SettingError(f"{message.rstrip('.')}. '{self.prog} --help' explains.")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Refuse ``--option=--``, of which argparse before Python 3.13 makes an empty list."""
        if arg_strings == ["--"] and action.option_strings:
            raise argparse.ArgumentError(action, "expected a value, got '--'")
        return super()._get_values(action, arg_strings)

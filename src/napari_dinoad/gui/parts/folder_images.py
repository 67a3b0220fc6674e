"""The question what the 2D images of one folder are."""

from __future__ import annotations

from magicgui.widgets import ComboBox

__all__ = ["folder_images_field"]

_MEANINGS = {False: "a scan each", True: "slices of one scan"}


def folder_images_field() -> ComboBox:
    """Return the field whose value is `ReadSettings.stack_folders`."""
    field = ComboBox(
        label="Images of a folder",
        choices=[(title, is_stack) for is_stack, title in _MEANINGS.items()],
        value=False,
        tooltip="2D images of one folder are a scan each, or the slices of one scan, in the order of their names "
        "(B-scans of OCT).",
    )
    field.native.setAccessibleName(field.label)
    return field

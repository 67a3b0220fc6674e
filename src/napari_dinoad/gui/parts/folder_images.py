"""The question what the 2D images of one folder are."""

from __future__ import annotations

from magicgui.widgets import ComboBox

__all__ = ["MeantImages", "folder_images_field"]

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


class MeantImages:
    """What the 2D images of folders are taken for: what the model was fitted on, or what was chosen beside it."""

    def __init__(self) -> None:
        self._chosen: dict[bool, bool] = {}

    def proposed(self, of_model: bool) -> bool:
        """Return whether they are proposed to be the slices of one scan.

        Parameters
        ----------
        of_model : bool
            Whether those of the model's normal scans were; what is chosen holds for all models of that sort.
        """
        return self._chosen.get(of_model, of_model)

    def choose(self, stacks_folders: bool, of_model: bool) -> None:
        """Remember what was chosen beside a model."""
        self._chosen[of_model] = stacks_folders

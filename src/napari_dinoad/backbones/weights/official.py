"""The files of Meta's releases: their names, and the SHA-256 that tells whether a file is one of them.

DINOv3's file names end in the first eight characters of the file's SHA-256. DINOv2's names hold none; their hashes
are those that many public projects record for the files behind the addresses below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_dinoad.backbones.registry import BackboneSpec

__all__ = ["OfficialFile", "official_file"]

_DINOV2_FOLDER = "https://dl.fbaipublicfiles.com/dinov2"

_SHA256 = {
    "dinov2_vits14": "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    "dinov2_vits14_reg": "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb",
    "dinov2_vitb14": "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    "dinov2_vitb14_reg": "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71",
    "dinov2_vitl14": "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    "dinov2_vitl14_reg": "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
    "dinov2_vitg14": "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3",
    "dinov2_vitg14_reg": "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283",
    "dinov3_vits16": "08c60483",
    "dinov3_vits16plus": "4057cbaa",
    "dinov3_vitb16": "73cec8be",
    "dinov3_vitl16": "8aa4cbdd",
    "dinov3_vitl16_sat": "eadcf0ff",
    "dinov3_vith16plus": "7c1da9a5",
    "dinov3_vit7b16": "a955f4ea",
    "dinov3_vit7b16_sat": "a6675841",
    "dinov3_convnext_tiny": "21b726bb",
    "dinov3_convnext_small": "296db49d",
    "dinov3_convnext_base": "801f2ba9",
    "dinov3_convnext_large": "61fa432d",
}


@dataclass(frozen=True)
class OfficialFile:
    """A file of Meta's release.

    Attributes
    ----------
    name : str
    sha256 : str
        Of the file, hex: whole, or its first eight characters where only they are published.
    url : str, optional
        Where it can be downloaded by anyone; None: only after agreeing to the licence on Meta's page.
    """

    name: str
    sha256: str
    url: str | None

    def is_it(self, sha256: str) -> bool:
        """Return whether a file with this SHA-256 (hex) is this file."""
        return sha256.startswith(self.sha256)


def official_file(spec: BackboneSpec) -> OfficialFile | None:
    """Return the file of Meta's release that holds this backbone's weights, if one is known."""
    sha256 = _SHA256.get(spec.base_name)
    if sha256 is None or spec.meta_stem is None:
        return None
    if spec.family == "DINOv2":
        name = f"{spec.meta_stem}.pth"
        folder = spec.base_name.removesuffix("_reg")
        return OfficialFile(name, sha256, f"{_DINOV2_FOLDER}/{folder}/{name}")
    return OfficialFile(f"{spec.meta_stem}-{sha256}.pth", sha256, None)

"""`dinoad weights`: which weights are on this machine, and bringing some here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.cli.common_arguments import add_common_arguments
from napari_dinoad.cli.output import ProgressBars, print_json, print_table
from napari_dinoad.errors import SettingError, WeightsError

if TYPE_CHECKING:
    from napari_dinoad.backbones.registry import BackboneSpec
    from napari_dinoad.backbones.weights.matching import CheckedWeights

NAME = "weights"
HELP = "List, add, download or check the weights of backbones; where they lie."
EXAMPLE = "dinoad weights add dinov2_vits14_pretrain.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of this verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = _add_action(
        actions, "list", "every backbone, its licence, and where its weights lie", "dinoad weights list"
    )
    adding = _add_action(
        actions, "add", "check a file and copy it to where every later run finds it", EXAMPLE
    )
    adding.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="in timm's, Meta's or Transformers' layout; or the folder that holds it",
    )
    getting = _add_action(
        actions, "get", "download the weights of a backbone", "dinoad weights get dinov2_vits14"
    )
    getting.add_argument("backbone", metavar="NAME", help="as 'dinoad weights list' names it")
    path = _add_action(actions, "path", "print the settings folder for weights", "dinoad weights path")
    verifying = _add_action(
        actions, "verify", "read weights and check that they are what they should be", "dinoad weights verify"
    )
    verifying.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="file to check (default: all on this machine)"
    )
    for naming in (adding, verifying):
        naming.add_argument(
            "--backbone", metavar="NAME", help="whose weights they are (default: told by the name or content)"
        )
    for action in (listing, adding, getting, path, verifying):
        # Also before the action's name; what is given here must not be undone by the verb's own default.
        add_common_arguments(action, default=argparse.SUPPRESS)


def _add_action(actions: Any, name: str, does: str, example: str) -> argparse.ArgumentParser:
    """Add a parser whose help says what the action does, with an example."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Do the chosen action."""
    actions = {"list": _list, "add": _add, "get": _get, "path": _path, "verify": _verify}
    return actions[options.action](options)


def _list(options: argparse.Namespace) -> int:
    from napari_dinoad.backbones.weights.store import known_backbones, local_weights

    rows: list[dict[str, Any]] = []
    for spec in known_backbones():
        found, fault = None, None
        try:
            found = local_weights(spec) if spec.needs_weights else None
        except WeightsError as error:
            fault = str(error)
        rows.append(
            {
                "backbone": spec.name,
                "description": spec.description,
                "parameters": spec.parameters,
                "licence": spec.licence,
                "path": None if found is None else str(found.path),
                "source": found.source if found else None if spec.needs_weights else "built in",
                "fault": fault,
            }
        )
    if options.json:
        print_json({"backbones": rows})
        return 0
    table = [
        (
            row["backbone"],
            f"{row['parameters'] / 1e6:.0f}" if row["parameters"] else "-",
            row["licence"].split(" (")[0],
            row["source"] or ("refused" if row["fault"] else "-"),
        )
        for row in rows
    ]
    print_table(("backbone", "million weights", "licence", "weights"), table)
    for row in rows:
        if row["fault"]:
            print(f"refused: {row['fault']}")
    return 0


def _add(options: argparse.Namespace) -> int:
    from napari_dinoad.backbones.weights.matching import check_weights
    from napari_dinoad.backbones.weights.store import add_weights

    file = _file_of(options)
    checked = check_weights(_backbone_of(file, options.backbone), file)
    target = add_weights(file, checked.backbone)
    if options.json:
        print_json({**_as_json(checked), "path": str(target)})
    else:
        _print_checked(checked)
        print(f"  kept as {target}")
    return 0


def _get(options: argparse.Namespace) -> int:
    from napari_dinoad.backbones import find_backbone
    from napari_dinoad.backbones.weights.matching import check_weights
    from napari_dinoad.backbones.weights.store import find_weights

    spec = find_backbone(options.backbone)
    _require_weights_of(spec, "get")
    with ProgressBars() as progress:
        found = find_weights(spec, progress=progress)
    checked = check_weights(spec.name, found.path)
    if options.json:
        print_json({**_as_json(checked), "source": found.source, "licence": spec.licence})
    else:
        _print_checked(checked)
        print(f"  licence: {spec.licence}")
    return 0


def _path(options: argparse.Namespace) -> int:
    from napari_dinoad.backbones.weights.store import weights_folder

    folder = weights_folder()
    if options.json:
        print_json({"path": str(folder), "exists": folder.is_dir()})
    else:
        print(folder)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from napari_dinoad.backbones.weights.matching import check_weights

    files, bad = _files_to_verify(options)
    good = []
    for name, path in files:
        try:
            good.append(check_weights(name, path))
        except WeightsError as error:
            bad.append({"backbone": name, "path": str(path), "reason": str(error)})
    if options.json:
        print_json({"verified": [_as_json(checked) for checked in good], "refused": bad})
    else:
        for checked in good:
            _print_checked(checked)
        for fault in bad:
            print(f"{fault['backbone']}: REFUSED. {fault['reason']}")
        if not files and not bad:
            print("No weights are on this machine (see 'dinoad weights list').")
    return 2 if bad else 0


def _files_to_verify(
    options: argparse.Namespace,
) -> tuple[list[tuple[str, Path]], list[dict[str, str | None]]]:
    """Return the backbones and their files that are asked for, and those of which no one file can be told."""
    from napari_dinoad.backbones import find_backbone
    from napari_dinoad.backbones.weights.store import known_backbones, local_weights

    if options.file is not None:
        file = _file_of(options)
        return [(_backbone_of(file, options.backbone), file)], []
    chosen = known_backbones() if options.backbone is None else (find_backbone(options.backbone),)
    files: list[tuple[str, Path]] = []
    refused: list[dict[str, str | None]] = []
    for spec in chosen:
        if options.backbone is not None:
            _require_weights_of(spec, "verify")
        try:
            found = local_weights(spec) if spec.needs_weights else None
        except WeightsError as error:
            refused.append({"backbone": spec.base_name, "path": None, "reason": str(error)})
            continue
        if found is not None:
            files.append((spec.base_name, found.path))
        elif options.backbone is not None:
            raise WeightsError(
                f"Weights of {spec.base_name}: there are none to verify on this machine. Name a file, or get them "
                f"with 'dinoad weights get {spec.base_name}'."
            )
    return files, refused


def _require_weights_of(spec: BackboneSpec, action: str) -> None:
    if not spec.needs_weights:
        raise SettingError(
            f"Weights: the backbone {spec.name!r} has them built in; there is nothing to {action}."
        )


def _file_of(options: argparse.Namespace) -> Path:
    """Return the file that is named, or the one in the folder that is."""
    from napari_dinoad.backbones import find_backbone
    from napari_dinoad.backbones.weights.store import given_weights

    named: Path = options.file
    if not named.exists():
        raise SettingError(f"Weights: expected a file, found none at {named}. Check the path.")
    return given_weights(named, options.backbone and find_backbone(options.backbone).base_name)


def _backbone_of(file: Path, named: str | None) -> str:
    """Return the backbone that a file belongs to: as the user says, by its official name, or by its tensors."""
    if named is not None:
        return named
    from napari_dinoad.backbones.weights.matching import recognise_weights
    from napari_dinoad.backbones.weights.store import names_for_file

    fitting = names_for_file(file) or recognise_weights(file)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SettingError(
            f"Weights: {file} fits {' and '.join(fitting)}; say whose it is with --backbone NAME."
        )
    raise SettingError(
        f"Weights: {file} fits no backbone that is listed by 'dinoad weights list'. Name it with --backbone "
        "timm:<name> if it is another transformer of timm's."
    )


def _as_json(checked: CheckedWeights) -> dict[str, Any]:
    return {
        "backbone": checked.backbone,
        "path": str(checked.path),
        "layout": checked.layout,
        "weights_sha256": checked.weights_sha256,
        "file_sha256": checked.file_sha256,
        "is_official": checked.is_official,
    }


def _print_checked(checked: CheckedWeights) -> None:
    told = {True: ", the official file", False: ", not the official file byte for byte", None: ""}
    print(f"{checked.backbone}: {checked.path} fits ({checked.layout}'s layout{told[checked.is_official]})")
    print(f"  SHA-256 of the weights {checked.weights_sha256[:16]}…, of the file {checked.file_sha256[:16]}…")

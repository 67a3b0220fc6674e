"""The documentation's own links lead somewhere, and what it tells to type is understood."""

import argparse
import ast
import importlib
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from napari_dinoad.cli.fit import settings_from
from napari_dinoad.cli.verbs import build_parser
from napari_dinoad.settings import (
    MODEL_FORMAT_VERSION,
    PRESETS,
    ArCnnSettings,
    DpmmSettings,
    MemoryBankSettings,
    preset,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
ANCHOR = re.compile(r"\]\(([\w./]*)#([\w-]+)\)")
COMMAND = re.compile(r"^ {4,}dinoad (.+)$", re.MULTILINE)
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_and_pictures_exist(page):
    targets = LINK.findall(TEXTS[page])
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_headings_lead_to_one(page):
    for name, anchor in ANCHOR.findall(TEXTS[page]):
        text = TEXTS[(page.parent / name).resolve() if name else page]
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("folder", ["docs", "docs/measurements"])
def test_every_page_is_listed_by_the_entry_of_its_folder(folder):
    entry = ROOT / folder / "README.md"
    assert {page.name for page in entry.parent.glob("*.md")} - {entry.name} <= set(LINK.findall(TEXTS[entry]))


def test_links_are_found():
    assert sum(len(LINK.findall(text)) for text in TEXTS.values()) > 10


@pytest.mark.parametrize(
    "line", sorted({line for text in TEXTS.values() for line in COMMAND.findall(text)}), ids=str
)
def test_commands_are_understood(line):
    assert build_parser().parse_args(shlex.split(line, comments=True)).verb


def test_every_setting_of_the_scorers_is_named_with_its_default():
    section = TEXTS[ROOT / "docs" / "scorers.md"].split("## Settings")[1].split("\n## ")[0]
    tables = [part for part in section.split("\n\n") if part.startswith("|")]
    for settings, table in zip((DpmmSettings(), ArCnnSettings(), MemoryBankSettings()), tables, strict=True):
        told = {}
        for names, defaults in re.findall(r"^\| (`.+?) \| (.+?) \|", table, re.MULTILINE)[1:]:
            values = defaults.split(":")[0].split(", ")
            told |= dict(zip(re.findall(r"`(\w+)`", names), values, strict=True))
        assert set(told) == {item.name for item in fields(settings)} - {"seed"}
        for name, value in told.items():
            default, text = getattr(settings, name), value.strip("`").replace(",", "")
            assert text == str(default).lower() or float(text) == default


def test_every_preset_is_told_with_its_window_and_plane():
    section = TEXTS[ROOT / "docs" / "fitting.md"].split("## Presets")[1].split("\n## ")[0]
    told = {}
    for names, values, slices in re.findall(r"^\| (`.+?) \| (.+?) \| (.+?) \|", section, re.MULTILINE):
        numbers = [float(number.replace("−", "-")) for number in re.findall(r"−?\d+(?:\.\d+)?", values)]
        names = re.findall(r"`([\w-]+)`", names)
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        for place, name in enumerate(names):
            told[name] = (pairs[place] if len(names) == len(pairs) else None, slices.removeprefix("as "))
    assert set(told) == set(PRESETS)
    for name, (pair, plane) in told.items():
        scaled = PRESETS[name]
        by = {"window": scaled.window, "as-stored": None}.get(scaled.intensity, scaled.percentiles)
        assert (pair, plane) == (by, scaled.plane), name


def test_the_papers_settings_are_understood():
    page = TEXTS[ROOT / "docs" / "evaluation.md"].split("## As in the papers")[1].split("\n## ")[0]
    lines = [line for line in COMMAND.findall(page) if line.startswith("fit")]
    dpmm, standard, dilated, bank = (
        settings_from(build_parser().parse_args(shlex.split(line))) for line in lines
    )
    assert dpmm.dpmm == DpmmSettings(n_components=500, update="ema", merge=False, patience=40)
    assert (dpmm.dpmm.covariance, dpmm.dpmm.alpha0, dpmm.dpmm.epochs, dpmm.dpmm.ema_rate) == (
        "diag",
        2,
        40,
        0.2,
    )
    for settings, dilation in ((standard, 1), (dilated, 4)):
        own = settings.ar_cnn
        assert (own.network, own.context, own.dilations) == ("paper", "causal", (dilation,))
        assert (own.epochs, own.patience, own.batch_maps, own.learning_rate) == (40, 40, 64, 1e-3)
        assert (own.hidden_channels, own.noise_probability, own.noise_scale) == (256, 0.2, 0.03)
        assert not own.standardise
    assert bank.memory_bank.sample_factor == bank.memory_bank.n_neighbours == 1
    for settings in (dpmm, standard, dilated, bank):
        assert settings.preprocessing == preset("bmad")
        assert settings.resolution_px == 448


def test_snippets_import_what_is_there():
    snippets = [snippet for text in TEXTS.values() for snippet in SNIPPET.findall(text)]
    assert len(snippets) > 3
    for snippet in snippets:
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_changelog_says_nothing_twice_and_nothing_without_a_topic():
    text = next(text for page, text in TEXTS.items() if page.name == "CHANGELOG.md")
    items = [" ".join(item.split()) for item in re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)]
    # Beneath the heading "In napari" it need not be said of what an item is.
    items = [item.lower().replace("- napari: ", "- ", 1) for item in items]
    assert [item for item in items if items.count(item) > 1] == []
    assert re.search(r"^### Fixed\n- ", text, re.MULTILINE) is None


def test_the_changelog_says_which_format_models_have():
    section = TEXTS[ROOT / "CHANGELOG.md"].split("\n## ")[1]
    assert re.findall(r"Model files have format (\d+)", section) == [str(MODEL_FORMAT_VERSION)]


def test_messages_that_the_page_of_symptoms_quotes_are_told():
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    told = " ".join(re.sub(r'["\']?\s*\n\s*f?["\']', "", sources).split())
    symptoms = TEXTS[ROOT / "docs" / "help.md"].split("## Words")[0]
    quoted = [part.strip() for words in re.findall("“(.+?)”", symptoms) for part in words.split("…")]
    assert len(quoted) > 5
    assert [words for words in quoted if words not in told] == []


def parsers(parser=None, name="dinoad"):
    """Yield the parser of each verb and action, with its name."""
    parser = parser or build_parser()
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, child in action.choices.items():
                yield from parsers(child, f"{name} {verb}")


@pytest.mark.parametrize(("name", "parser"), [pytest.param(*found, id=found[0]) for found in parsers()])
def test_every_option_is_explained_in_help_and_docs(name, parser):
    docs = "\n".join(text for page, text in TEXTS.items() if page.name != "CHANGELOG.md")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        assert action.help, f"{name}: {action.dest} has no help"
        assert action.help != argparse.SUPPRESS, f"{name}: {action.dest} is hidden"
        for option in action.option_strings[:1]:
            assert option in ("-h", "--version") or re.search(rf"`[^`\n]*{option}\b", docs), (
                f"{name} {option}"
            )


@pytest.mark.parametrize("name", [found for found, _ in parsers() if found != "dinoad"])
def test_every_verb_takes_json_and_verbose(name):
    options = {
        option for found, parser in parsers() if found == name for option in parser._option_string_actions
    }
    assert {"--json", "-v", "--verbose"} <= options


@pytest.mark.parametrize(("name", "parser"), [pytest.param(*found, id=found[0]) for found in parsers()])
def test_help_says_what_a_command_does_with_an_example(name, parser):
    assert parser.description.rstrip().endswith(".")
    lines = [line.strip() for line in parser.epilog.splitlines() if line.startswith("  ")]
    assert lines
    for line in lines:
        assert line.startswith(name)
        assert build_parser().parse_args(shlex.split(line)[1:]).verb


@pytest.mark.parametrize(("name", "parser"), [pytest.param(*found, id=found[0]) for found in parsers()])
def test_help_names_places_in_capitals_and_defaults_in_one_way(name, parser):
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            takes_value = action.nargs != 0 and action.choices is None
            assert not takes_value or action.metavar, f"{name}: {action.dest} has no metavar"
            assert "default" not in action.help or re.search(r"\(default: .+\)$", action.help), action.help

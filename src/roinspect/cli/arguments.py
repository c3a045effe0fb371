"""Command-line parsers that report an error in one line and suggest the nearest known setting."""

from __future__ import annotations

import re
from argparse import Action, ArgumentError
from itertools import islice
from pathlib import Path

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from roinspect.data.names import GOOD
from roinspect.errors import UserError, nearest

BITS_HELP = "that the values of 16-bit files fill: 10, 12, 14 or 16"


def command_parser(verb: str, usage: str) -> ArgumentParser:
    """A parser for `roinspect VERB`, to be read with `parse`."""
    return ArgumentParser(
        prog=f"roinspect {verb}",
        usage=f"roinspect {verb} {usage}",
        exit_on_error=False,
        formatter_class=_Help,
    )


class _Help(DefaultHelpFormatter):
    """Types by their plain names, and no default where there is none."""

    def _expand_help(self, action: Action) -> str:
        text = re.sub(r"<class '(\w+)'>", r"\1", super()._expand_help(action))
        return text.replace(", default: null)", ")")


def add_runtime_option(parser: ArgumentParser) -> None:
    """The option of every verb that runs a model without training it."""
    from roinspect.inspection.backends import RUNTIMES

    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="auto",
        help="what runs the model: an export's runtime, or torch for the weights; "
        "auto takes the first that is exported and installed",
    )


def add_place_option(parser: ArgumentParser, remark: str = "") -> None:
    """The option of every verb whose work may be done on a Ray cluster."""
    parser.add_argument(
        "--on",
        choices=("local", "ray"),
        default="local",
        help=f"this machine, or the Ray cluster that RAY_ADDRESS names{remark}",
    )


def add_picture_options(parser: ArgumentParser) -> None:
    """The options of every verb that inspects files."""
    parser.add_argument("--overlays", type=Path, help="folder for pictures of the anomalies found")
    parser.add_argument(
        "--maps", type=Path, help="folder for the anomaly maps, 16-bit grey PNG: map = grey * map_factor"
    )


def add_result_options(parser: ArgumentParser) -> None:
    """The options of every verb that hands results to receivers."""
    parser.add_argument(
        "--results",
        type=str,
        nargs="*",
        default=[],
        help="where results go too: folder:PATH, https://HOST/PATH, mqtt://HOST/TOPIC",
    )
    parser.add_argument(
        "--spool", type=Path, default=Path("roinspect-spool"), help="folder for results not yet delivered"
    )


def add_data_options(parser: ArgumentParser) -> None:
    """The options of every verb that reads a data set."""
    parser.add_argument(
        "--roi",
        type=str,
        default="auto",
        help="regions of interest: folder, mask, annotation file (polygons.json#LABEL takes one label), "
        "column:NAME, segmenter:BUNDLE, none, or auto (the manifest's, else DATA/roi)",
    )
    parser.add_argument(
        "--columns",
        type=dict[str, str],
        default={},
        help="the manifest's own column names: --columns.label grade",
    )
    add_good_option(parser)


def add_good_option(parser: ArgumentParser) -> None:
    """The option that names good parts; `good_names` reads it."""
    parser.add_argument(
        "--good",
        type=str | list[str] | None,
        default=None,
        help=f"folders or labels of good parts, with commas or once each; {', '.join(GOOD)} by default",
    )


def good_names(given: str | list[str] | None) -> tuple[str, ...] | None:
    """The names that --good was given; None where it was not.

    Raises:
        UserError: they are empty.
    """
    if given is None:
        return None
    listed = given.split(",") if isinstance(given, str) else [str(name) for name in given]
    names = tuple(name.strip() for name in listed if name.strip())
    if not names:
        raise UserError("names nothing", where="--good", remedy="give a folder or label, such as --good OK")
    return names


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse; what the command line says goes over what a --config file says, wherever either stands.

    Raises:
        UserError: an argument or a line of a --config file is unknown or has a bad value.
    """
    try:
        return parser.parse_args(_config_first(_once(arguments, "--good")))
    except ArgumentError as error:
        text = " ".join(str(error).split())
        text = re.sub(r"<class '(\w+)'>|typing\.", r"\1", text)
        text = re.sub(r'^(Parser key )?"([\w.]+)":', r"\2:", text)
        if "Key must be a string" in text:
            raise UserError(
                "a key of the --config file is on, off, yes or no, which YAML takes for true or false",
                remedy='put it in quotes, such as "on": ray',
            ) from None
        name = _unknown_setting(text)
        if name is None:
            raise UserError(text, remedy=f"see {parser.prog} --help") from None
        # The verbs' own options have dashes; dotted names are those of settings.
        known = [
            key if "." in key else key.replace("_", "-") for key in map(str, parser.get_defaults().keys())
        ]
        raise UserError(
            f"no such setting{nearest(name, known)}", where=name, remedy=f"see {parser.prog} --help"
        ) from None


def _once(arguments: list[str], option: str) -> list[str]:
    """Put the values of an option that is given several times into one, with commas."""
    values, others, words = list[str](), list[str](), iter(arguments)
    for word in words:
        if word == option:
            values += islice(words, 1)
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
        else:
            others.append(word)
    return [*others, option, ",".join(values)] if len(values) > 1 else arguments


def _config_first(arguments: list[str]) -> list[str]:
    """Of two that set the same, jsonargparse takes the later."""
    config, others, words = list[str](), list[str](), iter(arguments)
    for word in words:
        if word == "--config":
            config += [word, *islice(words, 1)]
        else:
            (config if word.startswith("--config=") else others).append(word)
    return config + others


def _unknown_setting(text: str) -> str | None:
    if found := re.search(r"[Uu]nrecognized arguments: --([\w.-]+)", text):
        return found[1]
    if found := re.search(r"[Gg]roup '([\w.]+)' does not accept option '([\w.]+)'", text):
        return f"{found[1]}.{found[2]}"
    found = re.search(r"[Kk]ey '([\w.]+)' is not expected", text)
    return found[1] if found else None

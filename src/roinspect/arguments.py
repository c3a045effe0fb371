"""Command-line parsers whose faults are one line that names the nearest known setting."""

from __future__ import annotations

import difflib
import re
from argparse import ArgumentError
from collections.abc import Iterable
from itertools import islice

from jsonargparse import ArgumentParser, Namespace

from roinspect.errors import UserError


def command_parser(verb: str, usage: str) -> ArgumentParser:
    """A parser for `roinspect VERB`, to be read with `parse`."""
    return ArgumentParser(prog=f"roinspect {verb}", usage=f"roinspect {verb} {usage}", exit_on_error=False)


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


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse; what the command line says goes over what a --config file says, wherever either stands.

    Raises:
        UserError: an argument or a line of a --config file is unknown or has a bad value.
    """
    try:
        return parser.parse_args(_config_first(arguments))
    except ArgumentError as error:
        text = " ".join(str(error).split())
        text = re.sub(r"<class '(\w+)'>|typing\.", r"\1", text)
        text = re.sub(r'^(Parser key )?"([\w.]+)":', r"\2:", text)
        name = _unknown_setting(text)
        if name is None:
            raise UserError(text, remedy=f"see {parser.prog} --help") from None
        known = list(parser.get_defaults().keys())
        raise UserError(
            f"no such setting{nearest(name, known)}", where=name, remedy=f"see {parser.prog} --help"
        ) from None


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


def nearest(name: str, known: Iterable[str]) -> str:
    """Known names like `name`, in words, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f", did you mean {' or '.join(found)}?" if found else ""

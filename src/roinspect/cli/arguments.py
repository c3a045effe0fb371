"""Command-line parsers that report errors in one line and suggest the nearest setting, and shared options."""

from __future__ import annotations

import re
from argparse import Action, ArgumentError
from itertools import islice
from pathlib import Path
from typing import get_args

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from roinspect.data.names import GOOD
from roinspect.errors import UserError, nearest

BITS_HELP = "significant bits of 16-bit files: 10, 12, 14 or 16"


def command_parser(verb: str, usage: str) -> ArgumentParser:
    """A parser for `roinspect VERB`, for use with `parse`."""
    return ArgumentParser(
        prog=f"roinspect {verb}",
        usage=f"roinspect {verb} {usage}",
        exit_on_error=False,
        formatter_class=_Help,
    )


class _Help(DefaultHelpFormatter):
    """Shows plain type names, and no default if it is None."""

    def _expand_help(self, action: Action) -> str:
        text = re.sub(r"<class '(\w+)'>", r"\1", super()._expand_help(action))
        return re.sub(r",? ?\(?default: null\)", lambda null: ")" if null[0][0] == "," else "", text)


def add_runtime_option(parser: ArgumentParser) -> None:
    """Add the option of verbs that run a trained model."""
    from roinspect.inspection.backends import RUNTIMES

    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="auto",
        help="runtime of an export, or torch for the trained weights; auto takes the first that is exported "
        "and installed",
    )


def add_self_test_option(parser: ArgumentParser) -> None:
    """Add the option of verbs that inspect parts."""
    from roinspect.inspection.references import OnFailure

    parser.add_argument(
        "--self-test",
        choices=get_args(OnFailure),
        default="stop",
        help="inspect the bundle's reference photographs first; if they do not score as in training, stop or "
        "only warn; off runs no test",
    )


def add_drift_option(parser: ArgumentParser) -> None:
    """Add the option of verbs that inspect parts one after another."""
    from roinspect.inspection.drift import PARTS_BETWEEN

    parser.add_argument(
        "--drift-parts",
        type=int,
        default=PARTS_BETWEEN,
        help="warn of drift, with one false alarm in so many parts; 0 does not look for it",
    )


def add_place_option(parser: ArgumentParser, remark: str = "") -> None:
    """Add the option of verbs that can run on a Ray cluster."""
    parser.add_argument(
        "--on",
        choices=("local", "ray"),
        default="local",
        help=f"run on this machine, or on the Ray cluster of RAY_ADDRESS{remark}",
    )


def add_picture_options(parser: ArgumentParser) -> None:
    """Add the options of verbs that inspect files."""
    parser.add_argument(
        "--overlays", type=Path, help="folder for images with the anomalies drawn in; none by default"
    )
    parser.add_argument(
        "--maps",
        type=Path,
        help="folder for anomaly maps, 16-bit grey PNG (map = grey * map_factor); none by default",
    )


def add_result_options(parser: ArgumentParser) -> None:
    """Add the options of verbs that deliver results to receivers."""
    parser.add_argument(
        "--results",
        type=str,
        nargs="*",
        default=[],
        help="receivers of every result: folder:PATH, https://HOST/PATH, mqtt://HOST/TOPIC",
    )
    parser.add_argument(
        "--spool", type=Path, default=Path("roinspect-spool"), help="folder for results not yet delivered"
    )


def add_data_options(parser: ArgumentParser) -> None:
    """Add the options of verbs that read a data set."""
    parser.add_argument(
        "--roi",
        type=str,
        default="auto",
        help="regions of interest: folder of masks, one mask for all, annotation file (polygons.json#LABEL "
        "for one label), column:NAME, segmenter:BUNDLE, none, or auto (the manifest's, else DATA/roi, else "
        "DATA/roi.png)",
    )
    parser.add_argument(
        "--columns",
        type=dict[str, str],
        default={},
        help="column names of the manifest that differ from ours: --columns.label grade",
    )
    parser.add_argument(
        "--good",
        type=str | list[str] | None,
        default=None,
        help=f"folders or labels of good parts, separated by commas or with the option repeated; "
        f"{', '.join(GOOD)} by default",
    )


def good_names(value: str | list[str] | None) -> tuple[str, ...] | None:
    """The names in the value of --good; None if it was not given.

    Raises:
        UserError: there are none.
    """
    if value is None:
        return None
    listed = value.split(",") if isinstance(value, str) else map(str, value)
    names = tuple(name.strip() for name in listed if name.strip())
    if not names:
        raise UserError("is empty", where="--good", remedy="name a folder or label, such as --good OK")
    return names


def number_pair(text: str, option: str) -> tuple[float, float]:
    """The two numbers in "LOW,HIGH".

    Raises:
        UserError: the text is something else.
    """
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UserError(
            f"{text!r} is not a range", where=option, remedy="give two numbers LOW,HIGH such as 4,12"
        ) from None
    return low, high


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse; the command line overrides a --config file, in any order.

    Raises:
        UserError: an argument or a setting in a --config file is unknown or invalid.
    """
    try:
        return parser.parse_args(_config_first(_once(arguments, "--good")))
    except ArgumentError as error:
        options = {
            action.dest: action.option_strings[0] for action in parser._actions if action.option_strings
        }
        remedy = f"see {parser.prog} --help"
        text = " ".join(str(error).split()).removeprefix("argument ")
        text = re.sub(r"<class '(\w+)'>|typing\.", r"\1", text).replace("a int", "an int")
        text = re.sub(r'^(Parser key )?"([\w.]+)":', lambda key: f"{options.get(key[2], key[2])}:", text)
        if "Key must be a string" in text:
            raise UserError(
                "a key of the --config file is on, off, yes or no, which YAML reads as true or false",
                remedy='quote it, such as "on": ray',
            ) from None
        if missing := re.fullmatch(r".*arguments are required: (.*)", text):
            names = ", ".join(options.get(name, name.upper()) for name in missing[1].split(", "))
            raise UserError("is required", where=names, remedy=remedy) from None
        if name := _unknown_option(text):
            raise UserError(
                f"no such option{nearest(name, options.values())}", where=name, remedy=remedy
            ) from None
        raise UserError(text, remedy=remedy) from None


def require_positive(options: Namespace, *names: str) -> None:
    """Check counts.

    Raises:
        UserError: an option is less than 1.
    """
    for name in names:
        if options[name] < 1:
            raise UserError(f"must be at least 1, not {options[name]}", where=f"--{name.replace('_', '-')}")


def _once(arguments: list[str], option: str) -> list[str]:
    """Join the values of a repeated option with commas."""
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
    """Move --config to the front: jsonargparse lets later arguments override earlier ones."""
    config, others, words = list[str](), list[str](), iter(arguments)
    for word in words:
        if word == "--config":
            config += [word, *islice(words, 1)]
        else:
            (config if word.startswith("--config=") else others).append(word)
    return config + others


def _unknown_option(text: str) -> str:
    if found := re.search(r"[Uu]nrecognized arguments: (--[\w.-]+)", text):
        return found[1]
    if found := re.search(r"[Gg]roup '([\w.]+)' does not accept option '([\w.]+)'", text):
        return f"--{found[1]}.{found[2]}"
    found = re.search(r"[Kk]ey '([\w.]+)' is not expected", text)
    return f"--{found[1]}" if found else ""

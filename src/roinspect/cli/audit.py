"""`roinspect audit`."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from roinspect.cli.arguments import command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Begin, verify or print the log of what was done to models, when and by whom."""
    parser = command_parser("audit", "begin|verify|show [LOG] [--known NUMBER:HASH...] [--json]")
    parser.add_argument("verb", choices=("begin", "verify", "show"), help="what to do with the log")
    parser.add_argument(
        "log",
        type=Path,
        nargs="?",
        help="file of the log; by default the one that the environment variable ROINSPECT_AUDIT names",
    )
    parser.add_argument(
        "--known",
        type=str,
        nargs="+",
        default=[],
        help="for verify: entries as NUMBER:HASH, as an earlier verify printed them and kept elsewhere since",
    )
    parser.add_argument("--json", action="store_true", help="for verify: print one JSON object")
    options = parse(parser, arguments)

    from roinspect.audit.log import begin, entries
    from roinspect.audit.recording import VARIABLE, account, log_path

    path = options.log or log_path()
    if path is None:
        raise UserError("is required", where="LOG", remedy=f"name the file, or set {VARIABLE}")
    if options.verb == "begin":
        entry = begin(path, account(), platform.node())
        print(f"The audit log {path} is begun: {entry.number}:{entry.hash}")
        print(f"Set {VARIABLE}={path.absolute()} for everything that trains, exports and inspects.")
        return 0
    if options.verb == "show":
        for entry in entries(path):
            print(json.dumps(entry.to_dict(), default=str))
        return 0
    return _verify(path, options.known, as_json=options.json)


def _verify(path: Path, known: Sequence[str], *, as_json: bool) -> int:
    from roinspect.audit.log import verify

    by_number: dict[int, str] = {}
    for number, digits in map(_known, known):
        if by_number.setdefault(number, digits) != digits:
            raise UserError(
                f"entry {number} is named with two hashes", where="--known", remedy="name each once"
            )
    found = verify(path, by_number)
    last = found.last
    if as_json:
        content = {
            "entries": found.entries,
            "last": None if last is None else f"{last.number}:{last.hash}",
            "faults": found.faults,
            "remarks": found.remarks,
        }
        print(json.dumps(content))
        return 1 if found.faults else 0
    for fault in found.faults:
        print(f"CHANGED: {fault}.")
    for remark in found.remarks:
        print(f"Note: {remark}.")
    if last is None or found.faults:
        print(f"{path} is not as it was written.")
        return 1
    count = "1 entry" if found.entries == 1 else f"{found.entries:,} entries"
    print(f"{path} is intact: {count}, the last of {last.time}.")
    if not known:
        print("Entries that were removed at its end are found only with --known. Keep this elsewhere:")
    print(f"{last.number}:{last.hash}")
    return 0


def _known(word: str) -> tuple[int, str]:
    from roinspect.audit.log import LEAST_DIGITS

    match = re.fullmatch(rf"(\d{{1,18}}):([0-9a-f]{{{LEAST_DIGITS},64}})", word.strip().lower())
    if match is None:
        raise UserError(
            f"{word!r} is no entry",
            where="--known",
            remedy=f"write NUMBER:HASH, with at least {LEAST_DIGITS} digits of the hash",
        )
    return int(match[1]), match[2]

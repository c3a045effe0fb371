"""`roinspect release`."""

from __future__ import annotations

import shlex
from pathlib import Path

from roinspect.cli.arguments import add_runtime_option, add_self_test_option, command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Put a bundle on the line, roll back to an earlier one by name, or list them."""
    parser = command_parser("release", "[BUNDLE] --to LINE_MODEL [--name NAME | --back NAME]")
    parser.add_argument(
        "bundle", type=Path, nargs="?", help="folder of the new model; without, list or --back"
    )
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        help="folder of the model that the line uses; its releases are kept in LINE_MODEL.releases",
    )
    parser.add_argument(
        "--name",
        type=str,
        help="of the new release; the date and the version by default, such as 2026-11-28-3fa9c0d1e2b4",
    )
    parser.add_argument("--back", type=str, help="name of the release to roll back to")
    add_runtime_option(parser)
    add_self_test_option(parser)
    options = parse(parser, arguments)
    if options.back is not None and options.bundle is not None:
        raise UserError("and --back are mutually exclusive", where="BUNDLE", remedy="give one of them")
    if options.name is not None and options.bundle is None:
        raise UserError("names a new release", where="--name", remedy="give its BUNDLE too")

    from roinspect.inspection.releases import release, roll_back

    ways = {"self_test": options.self_test, "runtime": options.runtime}
    if options.bundle is not None:
        change = release(options.bundle, options.to, name=options.name, **ways)
    elif options.back is not None:
        change = roll_back(options.to, options.back, **ways)
    else:
        _list(options.to)
        return 0
    if change.present == change.former:
        print(f"{options.to}: {change.present} is already current.")
        return 0
    former = f"; before it was {change.former}" if change.former else ""
    print(f"{options.to} is now {change.present}{former}.")
    if change.former:
        print(
            "`roinspect serve` loads it by itself; restart `watch` and programs that opened the former one."
        )
        line = shlex.quote(str(options.to))
        print(f"Roll back: roinspect release --to {line} --back {shlex.quote(change.former)}")
    return 0


def _list(line: Path) -> None:
    from roinspect.inspection.release_list import releases

    rows = releases(line)
    width = max(len(row.name) for row in rows)
    print(
        f"  {'name':{width}}  {'version':12}  {'method':10}{'threshold':>11}{'MB':>8}  last kept or released"
    )
    for row in rows:
        mark = "*" if row.is_current else " "
        threshold = "" if row.threshold is None else f"{row.threshold:.4g}"
        did = (
            "" if row.note is None else f"{row.note.did} {row.note.when.replace('T', ' ')} {row.note.account}"
        )
        told = "; ".join(filter(None, (did, row.remark)))
        size = row.size / 1e6
        print(
            f"{mark} {row.name:{width}}  {row.version:12}  {row.method:10}{threshold:>11}{size:8.1f}  {told}"
        )
    if any(row.is_current for row in rows):
        print(f"* is current in {line}.")
    elif line.exists():
        print(f"{line} was changed since it was released; the next release keeps it as it is.")
    else:
        print(f"{line} is missing; put one back with --back NAME.")

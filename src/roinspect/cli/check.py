"""`roinspect check`."""

from __future__ import annotations

from pathlib import Path

from roinspect.arguments import add_data_options, command_parser, parse


def run(arguments: list[str]) -> int:
    """Look through the photographs before training."""
    parser = command_parser("check", "DATA [--roi SPEC] [--size SIZE]")
    parser.add_argument("data", type=Path, help="folder of photographs, or a manifest")
    add_data_options(parser)
    parser.add_argument(
        "--size", type=str, help="size to train at, such as 256x640; finds defects too small for it"
    )
    given = parse(parser, arguments)

    from roinspect.data.check import check, print_findings
    from roinspect.data.records import read_records
    from roinspect.pixels import parse_size
    from roinspect.predicted_roi import with_roi

    size_hw = parse_size(given.size) if given.size else None
    records = read_records(given.data, columns=given.columns)
    findings = check(with_roi(records, given.roi, given.data, columns=given.columns), size_hw)
    print_findings(findings)
    return 2 if findings.problems else 0

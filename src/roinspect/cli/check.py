"""`roinspect check`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import (
    BITS_HELP,
    add_data_options,
    command_parser,
    good_names,
    parse,
    require_positive,
)


def run(arguments: list[str]) -> int:
    """Check photographs, labels and masks before training."""
    parser = command_parser("check", "DATA [--roi SPEC] [--size SIZE] [--bits N] [--good NAME]")
    parser.add_argument("data", type=Path, help="folder of photographs, or a CSV manifest")
    add_data_options(parser)
    parser.add_argument(
        "--size",
        type=str,
        help="planned training size in pixels, such as 256x640: warns of defects that are too small for it",
    )
    parser.add_argument(
        "--min-defect-pixels",
        type=int,
        default=1,
        help="defective pixels inside the ROI that make a part defective; see --training.min_defect_pixels",
    )
    parser.add_argument("--bits", type=int, default=16, help=BITS_HELP)
    options = parse(parser, arguments)
    require_positive(options, "min_defect_pixels")

    from roinspect.data.account import account
    from roinspect.data.check import check, print_findings
    from roinspect.data.reading import read_data
    from roinspect.images.pixels import parse_size, refuse_unknown_bits
    from roinspect.segmenter.roi import with_roi

    size_hw = parse_size(options.size) if options.size else None
    refuse_unknown_bits(options.bits)
    data = read_data(options.data, options.roi, options.columns, good_names(options.good))
    records = with_roi(data)
    findings = check(
        records,
        size_hw,
        min_pixels=options.min_defect_pixels,
        files=account(data, records),
        bits=options.bits,
    )
    print_findings(findings)
    return 2 if findings.problems else 0

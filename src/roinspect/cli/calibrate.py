"""`roinspect calibrate`."""

from __future__ import annotations

import shlex
from pathlib import Path

from roinspect.cli.arguments import add_data_options, command_parser, good_names, parse, require_positive


def run(arguments: list[str]) -> int:
    """Choose another threshold for a model."""
    parser = command_parser(
        "calibrate", "BUNDLE [DATA] [--false-reject RATE | --best-f1 | --threshold X] [--split val|train]"
    )
    parser.add_argument("bundle", type=Path, help="folder of a trained model")
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="folder or CSV manifest with held-out photographs; optional with --threshold",
    )
    add_data_options(parser)
    parser.add_argument(
        "--false-reject",
        type=str,
        help="share of good parts that may be rejected, such as 0.5% or 0.005; 1% by default",
    )
    parser.add_argument(
        "--best-f1",
        action="store_true",
        help="take the threshold with the best F1 on labelled good and defective parts",
    )
    parser.add_argument("--threshold", type=float, help="set the threshold to this score")
    parser.add_argument(
        "--split",
        type=str,
        help="split to use, val or train; by default all held-out photographs",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="photographs per pass through the network")
    options = parse(parser, arguments)
    require_positive(options, "batch_size")

    from roinspect.training.recalibration import FALSE_REJECT, Way, read_rate, recalibrate

    rate = None if options.false_reject is None else read_rate(options.false_reject)
    if rate is None and not options.best_f1 and options.threshold is None:
        rate = FALSE_REJECT
    change = recalibrate(
        options.bundle,
        options.data,
        Way(rate, options.best_f1, options.threshold),
        split=options.split,
        roi=options.roi,
        columns=options.columns,
        good=good_names(options.good),
        batch_size=options.batch_size,
    )
    former, present = change.former, change.present
    print(f"Parts were rejected at scores of {former.value:.4g} or more: {former.origin}.")
    print(f"Parts are now rejected at scores of {present.value:.4g} or more: {present.origin}.")
    print("".join(f"{effect}\n" for effect in change.effects), end="")
    if change.released is not None and change.released.present != change.released.former:
        print(f"{options.bundle} is now {change.released.present}. Roll back to the former threshold:")
        back = shlex.quote(str(change.released.former))
        print(f"roinspect release --to {shlex.quote(str(options.bundle))} --back {back}")
    return 0

"""`roinspect calibrate`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import add_data_options, command_parser, good_names, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Choose a model's threshold anew."""
    parser = command_parser(
        "calibrate", "BUNDLE DATA [--false-reject RATE | --best-f1 | --threshold X] [--split val|train]"
    )
    parser.add_argument("bundle", type=Path, help="folder that training wrote")
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="held-out photographs: a folder, or a manifest; not with --threshold",
    )
    add_data_options(parser)
    parser.add_argument(
        "--false-reject",
        type=str,
        help="share of good parts that may be rejected: 0.5% or 0.005; 1% by default",
    )
    parser.add_argument("--best-f1", action="store_true", help="the best F1 on labelled parts of both kinds")
    parser.add_argument("--threshold", type=float, help="a score, set by hand")
    parser.add_argument(
        "--split", type=str, choices=("val", "train", "test"), help="which photographs; test ones are refused"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="photographs per pass")
    given = parse(parser, arguments)
    if given.batch_size < 1:
        raise UserError(f"must be at least 1, not {given.batch_size}", where="--batch-size")

    from roinspect.training.recalibration import FALSE_REJECT, Way, read_rate, recalibrate

    rate = None if given.false_reject is None else read_rate(given.false_reject)
    if rate is None and not given.best_f1 and given.threshold is None:
        rate = FALSE_REJECT
    change = recalibrate(
        given.bundle,
        given.data,
        Way(rate, given.best_f1, given.threshold),
        split=given.split,
        roi=given.roi,
        columns=given.columns,
        good=good_names(given.good),
        batch_size=given.batch_size,
    )
    former, present = change.former, change.present
    print(f"A part was rejected from score {former.value:.4g} on: {former.origin}.")
    print(f"A part is now rejected from score {present.value:.4g} on: {present.origin}.")
    print("".join(f"{effect}\n" for effect in change.effects), end="")
    return 0

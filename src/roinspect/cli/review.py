"""`roinspect review`."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roinspect.cli.arguments import add_data_options, command_parser, good_names, parse, require_positive
from roinspect.errors import UserError

if TYPE_CHECKING:
    from roinspect.review.review import Reviewed


def run(arguments: list[str]) -> int:
    """Compare what the line decided with what people found, and act on it."""
    parser = command_parser(
        "review",
        "BUNDLE RESULTS [--correct CSV --by NAME] [--since DATE] [--draw N] "
        "[--training-set FOLDER [--data DATA]]",
    )
    parser.add_argument("bundle", type=Path, help="folder of a trained model")
    parser.add_argument("results", type=Path, help="what `watch` or `predict --out` wrote, .jsonl or .csv")
    parser.add_argument(
        "--correct",
        type=Path,
        help="CSV with the columns part, truth (good, defective, or unknown to withdraw) and, if needed, "
        "kind, by, time, remark; kept in RESULTS.corrections.jsonl",
    )
    parser.add_argument("--by", type=str, help="who says so, where the CSV does not")
    parser.add_argument(
        "--since", type=str, help="first day, such as 2026-11-01, or time; UTC if it names no zone"
    )
    parser.add_argument("--until", type=str, help="last day, or time")
    parser.add_argument(
        "--false-reject",
        type=str,
        help="share of good parts that the proposed threshold may reject, such as 0.005; that of the "
        "training by default",
    )
    parser.add_argument("--draw", type=int, help="draw so many parts by chance, for people to look at")
    parser.add_argument(
        "--draw-of",
        choices=("passed", "rejected"),
        default="passed",
        help="which parts to draw from; those that people have looked at are left out",
    )
    parser.add_argument(
        "--draw-to", type=Path, help="new CSV to fill in, for --correct; by default the parts are printed"
    )
    parser.add_argument("--seed", type=int, help="of the draw; a new one by default, which is printed")
    parser.add_argument("--training-set", type=Path, help="new folder for the next training set")
    parser.add_argument("--data", type=Path, help="folder or manifest of the last training, for the next set")
    add_data_options(parser)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parse(parser, arguments)
    _check(options)

    from roinspect.files import write_whole
    from roinspect.review.review import proposal, read_review
    from roinspect.review.times import period_of
    from roinspect.review.words import as_values, proposed, summary
    from roinspect.training.recalibration import Way, read_rate

    period = period_of(options.since, options.until)
    rate = None if options.false_reject is None else Way(read_rate(options.false_reject)).false_reject
    if options.correct is not None:
        _correct(options)
    reviewed = read_review(options.bundle, options.results, period)
    _note(reviewed.remarks)
    print("\n".join(summary(reviewed, options.results)))
    found = proposal(reviewed, rate)
    print("", *proposed(found, options.bundle), sep="\n")
    if options.json is not None:
        write_whole(options.json, json.dumps(as_values(reviewed, found), indent=1))
        print(f"\nThe figures are in {options.json}.")
    if options.draw is not None:
        _draw(options, reviewed)
    if options.training_set is not None:
        _write_training_set(options, reviewed)
    return 0


def _check(options: Any) -> None:
    """Raise a UserError for options that do not fit together."""
    if options.draw is not None:
        require_positive(options, "draw")
    for option, needs in (("by", "correct"), ("draw_to", "draw"), ("data", "training_set")):
        if options[option] is not None and options[needs] is None:
            raise UserError(
                f"goes with --{needs.replace('_', '-')}",
                where=f"--{option.replace('_', '-')}",
                remedy="give both",
            )
    if options.columns and options.correct is not None and options.data is not None:
        raise UserError(
            "could be of the CSV or of the manifest",
            where="--columns",
            remedy="run --correct and --training-set one after the other",
        )


def _correct(options: Any) -> None:
    from roinspect.review.review import take
    from roinspect.review.words import counted

    taken = take(options.results, options.correct, options.by or "", options.columns)
    said = [f"{counted(taken.added, 'new correction')}"]
    said += [f"{taken.known:,} known already"] if taken.known else []
    said += [f"{counted(taken.empty, 'line')} without a truth skipped"] if taken.empty else []
    print(f"{options.correct}: {', '.join(said)}.")
    _note(taken.remarks)


def _note(remarks: Any) -> None:
    print("".join(f"Note: {remark}.\n" for remark in remarks), end="")


def _draw(options: Any, reviewed: Reviewed) -> None:
    from roinspect.review.draw import draw, name_of, write_drawn

    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    rows = draw(reviewed.not_looked_at(options.draw_of), options.draw, seed)
    names = [name_of(row, reviewed.parts) for row in rows]
    few = "" if len(rows) == options.draw else ", all that nobody has looked at"
    print(f"\nDrawn with seed {seed}: {len(rows):,} {options.draw_of} parts{few}.")
    if options.draw_to is None:
        # A terminal of UTF-8 takes no name that is not.
        text = "".join(f"{name}\n" for name in names)
        print(text.encode(errors="backslashreplace").decode(), end="")
    else:
        write_drawn(options.draw_to, names, seed)
        print(f"Fill in the truth in {options.draw_to}, then pass it as --correct.")


def _write_training_set(options: Any, reviewed: Reviewed) -> None:
    from roinspect.data.reading import read_data
    from roinspect.review.training_set import write_training_set
    from roinspect.review.words import written

    data = None
    if options.data is not None:
        data = read_data(
            options.data,
            options.roi,
            options.columns if options.correct is None else {},
            good_names(options.good),
            usual_good=reviewed.bundle.training.get("good"),
        )
    made = write_training_set(options.training_set, options.bundle, reviewed.photographs(), data)
    print("", *written(made), sep="\n")

"""`roinspect compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roinspect.cli.arguments import (
    BITS_HELP,
    add_data_options,
    add_place_option,
    command_parser,
    good_names,
    parse,
)


def run(arguments: list[str]) -> int:
    """Compare methods, ours and others', on equal terms."""
    from roinspect.comparison.compare import ALL, CompareSettings, compare, parse_budget
    from roinspect.comparison.compare_table import MARKDOWN

    parser = command_parser("compare", "DATA --roi SPEC --out FOLDER [--methods A,B] [--budget T]")
    parser.add_argument("data", type=Path, help="folder of photographs, or a CSV manifest")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    add_data_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the tables; the same command resumes an interrupted run",
    )
    parser.add_argument(
        "--methods", default=",".join(ALL), help="our methods or anomalib's, separated by commas"
    )
    parser.add_argument(
        "--arms",
        default="plain,roi-at-test",
        help="plain, roi-at-test or roi-predicted, separated by commas",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="number of trainings per method, with seeds 0, 1, ..."
    )
    parser.add_argument("--budget", default="10m", help="time per training: 90s, 10m, 1.5h")
    parser.add_argument(
        "--limit",
        type=str,
        help="time after which a training is stopped; by default 1.5 times the budget and a minute",
    )
    parser.add_argument("--size", default="256", help="HEIGHTxWIDTH in pixels, or one number for both")
    parser.add_argument("--bits", type=int, default=16, help=BITS_HELP)
    parser.add_argument("--batch-size", type=int, default=8, help="images per training step")
    parser.add_argument(
        "--textures",
        type=Path,
        help="folder of texture images for DRAEM's synthetic defects; procedural ones by default",
    )
    parser.add_argument(
        "--settings",
        type=dict[str, dict[str, Any]],
        default={},
        help="""settings by method: --settings.patchcore '{"coreset_sampling_ratio": 0.01}'""",
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel trainings on this machine")
    add_place_option(parser)
    options = parse(parser, arguments)
    settings = CompareSettings(
        methods=tuple(options.methods.split(",")),
        arms=tuple(options.arms.split(",")),
        budget_seconds=parse_budget(options.budget),
        limit_seconds=None if options.limit is None else parse_budget(options.limit, "--limit"),
        **{
            name: options[name]
            for name in ("seeds", "size", "bits", "batch_size", "textures", "settings", "jobs", "on")
        },
    )
    compare(
        options.data,
        options.out,
        settings,
        roi=options.roi,
        columns=options.columns,
        good=good_names(options.good),
        tell=print,
    )
    print((options.out / MARKDOWN).read_text(encoding="utf-8"))
    print(f"The tables and the plot are in {options.out}.")
    return 0

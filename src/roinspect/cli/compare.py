"""`roinspect compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roinspect.cli.arguments import BITS_HELP, add_data_options, command_parser, good_names, parse


def run(arguments: list[str]) -> int:
    """Measure methods, ours and others', on equal terms."""
    from roinspect.comparison.compare import ALL, CompareSettings, compare, parse_budget
    from roinspect.comparison.compare_table import MARKDOWN

    parser = command_parser("compare", "DATA --roi SPEC --out FOLDER [--methods A,B] [--budget T]")
    parser.add_argument("data", type=Path, help="folder of photographs, or a manifest")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables; a run goes on there")
    parser.add_argument("--methods", default=",".join(ALL), help="ours, or anomalib's, with commas")
    parser.add_argument("--arms", default="plain,roi-at-test", help="plain, roi-at-test, roi-predicted")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each method")
    parser.add_argument("--budget", default="10m", help="time for each training: 90s, 10m, 1.5h")
    parser.add_argument(
        "--limit",
        type=str,
        help="end a training that does not heed the budget after this; 1.5 times it by default",
    )
    parser.add_argument("--size", default="256", help="HEIGHTxWIDTH in pixels, or one number")
    parser.add_argument("--bits", type=int, default=16, help=BITS_HELP)
    parser.add_argument("--batch_size", type=int, default=8, help="images per training step")
    parser.add_argument("--textures", type=Path, help="pictures for DRAEM's defects; made up by default")
    parser.add_argument(
        "--settings",
        type=dict[str, dict[str, Any]],
        default={},
        help="""of methods: --settings.patchcore '{"coreset_sampling_ratio": 0.01}'""",
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where they run")
    given = parse(parser, arguments)
    settings = CompareSettings(
        methods=tuple(given.methods.split(",")),
        arms=tuple(given.arms.split(",")),
        budget_seconds=parse_budget(given.budget),
        limit_seconds=None if given.limit is None else parse_budget(given.limit, "--limit"),
        **{
            name: given[name]
            for name in ("seeds", "size", "bits", "batch_size", "textures", "settings", "jobs", "engine")
        },
    )
    compare(
        given.data,
        given.out,
        settings,
        roi=given.roi,
        columns=given.columns,
        good=good_names(given.good),
        tell=print,
    )
    print((given.out / MARKDOWN).read_text(encoding="utf-8"))
    print(f"The tables and the plot lie in {given.out}.")
    return 0

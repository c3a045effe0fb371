"""`roinspect export`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Write a model for PCs without torch."""
    from roinspect.inspection.targets import TARGETS

    parser = command_parser(
        "export", f"BUNDLE --to {'|'.join(TARGETS)} [--int8 DATA | --bf16 DATA] [--images FILE...]"
    )
    parser.add_argument("bundle", type=Path, help="folder that training wrote; the export goes into it")
    parser.add_argument("--to", choices=tuple(TARGETS), required=True, help="what to write")
    parser.add_argument(
        "--int8", type=Path, help="good parts of this data set the ranges for convolutions in INT8"
    )
    parser.add_argument(
        "--bf16", type=Path, help="bfloat16 where the processor has it, compared on this data"
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", default=[], help="photographs, or folders, to compare answers on"
    )
    parser.add_argument(
        "--columns",
        type=dict[str, str],
        default={},
        help="the manifest's own column names, where --int8 or --bf16 names one",
    )
    options = parse(parser, arguments)

    from roinspect.data.records import find_images
    from roinspect.exports.export import export

    images = [
        image
        for path in options.images
        for image in ((find_images(path) if path.is_dir() else None) or [path])
    ]
    file = export(
        options.bundle,
        options.to,
        int8=options.int8,
        bf16=options.bf16,
        images=images,
        columns=options.columns,
    )
    print(f"The exported model is {file}; it runs wherever the bundle {options.bundle} is copied.")
    return 0

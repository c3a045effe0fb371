"""`roinspect export`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Export a model for PCs without torch."""
    from roinspect.inspection.targets import TARGETS

    parser = command_parser(
        "export", f"BUNDLE --to {'|'.join(TARGETS)} [--int8 DATA | --bf16 DATA] [--images FILE...]"
    )
    parser.add_argument("bundle", type=Path, help="folder of a trained model; the export is written into it")
    parser.add_argument("--to", choices=tuple(TARGETS), required=True, help="format to export to")
    parser.add_argument(
        "--int8",
        type=Path,
        help="convolutions in INT8, with ranges from the good parts of this data",
    )
    parser.add_argument(
        "--bf16",
        type=Path,
        help="bfloat16 on processors that have it, if all verdicts on this data stay the same",
    )
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        default=[],
        help="photographs or folders on which to compare the export with the trained model",
    )
    parser.add_argument(
        "--columns",
        type=dict[str, str],
        default={},
        help="column names of the manifest of --int8 or --bf16 that differ from ours: --columns.label grade",
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

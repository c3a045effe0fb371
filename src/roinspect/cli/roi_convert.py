"""`roinspect roi convert`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Convert annotations or masks to another format."""
    from roinspect.data.annotations import FORMATS
    from roinspect.data.annotations.conversion import MASKS, convert

    parser = command_parser("roi convert", "IN OUT --to FORMAT [--images DATA]")
    parser.add_argument(
        "source",
        type=str,
        help="annotation file, mask, or folder of either; IN#LABEL,LABEL takes these labels only",
    )
    parser.add_argument(
        "out", type=Path, help="new file for coco, cvat and label-studio; new folder for the other formats"
    )
    parser.add_argument("--to", choices=(*FORMATS, MASKS), required=True, help="format to write")
    parser.add_argument(
        "--images",
        type=Path,
        help="folder of the photographs, for their names, and their sizes, which YOLO files lack",
    )
    parser.add_argument("--label", type=str, default="roi", help="label for shapes made from masks")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        help="pixels by which outlines made from masks may be simplified",
    )
    options = parse(parser, arguments)
    if not 0 <= options.tolerance <= 1000:
        raise UserError(f"must be in [0, 1000], not {options.tolerance:g}", where="--tolerance")

    written = convert(
        options.source,
        options.out,
        options.to,
        images=options.images,
        label=options.label.strip(),
        tolerance=options.tolerance,
    )
    shapes = sum(len(drawing.shapes) for drawing in written.images)
    print(f"{shapes:,} shapes of {len(written.images):,} images are in {options.out}.")
    return 0

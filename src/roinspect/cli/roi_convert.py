"""`roinspect roi convert`."""

from __future__ import annotations

from pathlib import Path

from roinspect.cli.arguments import command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Annotations or masks, in another format."""
    from roinspect.data.annotations import FORMATS
    from roinspect.data.annotations.conversion import MASKS, convert

    parser = command_parser("roi convert", "IN OUT --to FORMAT [--images DATA]")
    parser.add_argument(
        "source",
        type=str,
        help="annotation file, mask, or a folder of either; IN#LABEL,LABEL takes some labels only",
    )
    parser.add_argument(
        "out", type=Path, help="a new file for coco, cvat and label-studio; else a new folder"
    )
    parser.add_argument("--to", choices=(*FORMATS, MASKS), required=True, help="the format to write")
    parser.add_argument(
        "--images", type=Path, help="the photographs: drawings take their names, and sizes that YOLO lacks"
    )
    parser.add_argument("--label", type=str, default="roi", help="label of shapes that come from masks")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        help="pixels by which outlines that come from masks may be simplified",
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

"""`roinspect predict`."""

from __future__ import annotations

import json
from pathlib import Path

from roinspect.arguments import command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Inspect images: one line of JSON each."""
    parser = command_parser("predict", "BUNDLE IMAGES... [--overlays FOLDER] [--maps FOLDER]")
    parser.add_argument("bundle", type=Path, help="folder that training wrote")
    parser.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--overlays", type=Path, help="folder for pictures of what was found")
    parser.add_argument(
        "--maps", type=Path, help="folder for the anomaly maps, 16-bit grey PNG: map = grey * map_factor"
    )
    given = parse(parser, arguments)

    from roinspect.evaluation.predictions import predictions
    from roinspect.inspector import Inspector

    inspector = Inspector.load(given.bundle)
    count = read = 0
    for line in predictions(inspector, given.images, overlays=given.overlays, maps=given.maps):
        print(json.dumps(line), flush=True)
        count += 1
        read += "error" not in line
    if not read:
        raise UserError(
            f"none of {count} images could be read",
            where=", ".join(map(str, given.images[:3])),
            remedy="check the paths",
        )
    return 0

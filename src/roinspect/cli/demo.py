"""`roinspect demo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Run the whole workflow on a synthetic zipper."""
    from roinspect.cli.demonstration import SETTINGS, demo

    parser = command_parser("demo", "[--out FOLDER] [--steps N] [--overwrite]")
    parser.add_argument("--out", type=Path, default=Path("roinspect-demo"), help="new folder for all results")
    parser.add_argument(
        "--steps", type=int, default=SETTINGS.steps, help="training steps; those of the preset by default"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing demo")
    options = parse(parser, arguments)
    demo(
        options.out, training=dataclasses.replace(SETTINGS, steps=options.steps), overwrite=options.overwrite
    )
    return 0

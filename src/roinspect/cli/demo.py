"""`roinspect demo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Run the whole workflow on a synthetic zipper."""
    parser = command_parser("demo", "[--out FOLDER] [--steps N] [--overwrite]")
    parser.add_argument("--out", type=Path, default=Path("roinspect-demo"), help="new folder for all results")
    parser.add_argument("--steps", type=int, help="training steps; those of the preset by default")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing demo")
    options = parse(parser, arguments)

    from roinspect.cli.demonstration import SETTINGS, demo

    steps = SETTINGS.steps if options.steps is None else options.steps
    demo(options.out, training=dataclasses.replace(SETTINGS, steps=steps), overwrite=options.overwrite)
    return 0

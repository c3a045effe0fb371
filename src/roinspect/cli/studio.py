"""`roinspect studio`."""

from __future__ import annotations

import os
from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Run the whole workflow in the browser."""
    parser = command_parser("studio", "[FOLDER] [--port PORT] [--host HOST]")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="folder of photographs to open; chosen in the browser by default"
    )
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        help="address to listen on, 0.0.0.0 for all; access from other machines needs a token",
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on; 0 takes a free one")
    options = parse(parser, arguments)

    from roinspect.studio.app import serve

    serve(
        options.folder,
        host=options.host,
        port=options.port,
        token=os.environ.get("ROINSPECT_STUDIO_TOKEN", ""),
    )
    return 0

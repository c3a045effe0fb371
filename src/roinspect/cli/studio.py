"""`roinspect studio`."""

from __future__ import annotations

import os
from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """From photographs to a running inspection in the browser."""
    parser = command_parser("studio", "[FOLDER] [--port PORT] [--host HOST]")
    parser.add_argument("folder", type=Path, nargs="?", help="folder of photographs to open")
    parser.add_argument(
        "--host", type=str, default="127.0.0.1", help="address to listen on; other machines need the token"
    )
    parser.add_argument("--port", type=int, default=7860, help="port; 0 takes a free one")
    options = parse(parser, arguments)

    from roinspect.studio.app import serve

    serve(
        options.folder,
        host=options.host,
        port=options.port,
        token=os.environ.get("ROINSPECT_STUDIO_TOKEN", ""),
    )
    return 0

"""`roinspect studio`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from roinspect.cli.arguments import command_parser, parse


def run(arguments: list[str]) -> int:
    """Run the whole workflow in the browser."""
    parser = command_parser("studio", "[FOLDER] [--port PORT] [--host HOST] [--no-browser]")
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
    parser.add_argument(
        "--no-browser",
        action="store_true",
        help="do not open the browser; it opens only if the studio was started in a terminal with a display",
    )
    options = parse(parser, arguments)
    # Loading takes seconds. On standard error, so that the first line of the output is the address.
    print("The studio is starting ...", file=sys.stderr, flush=True)

    from roinspect.studio.app import serve

    serve(
        options.folder,
        host=options.host,
        port=options.port,
        token=os.environ.get("ROINSPECT_STUDIO_TOKEN", ""),
        opens_browser=not options.no_browser and _has_display(),
    )
    return 0


def _has_display() -> bool:
    """Whether somebody sits before this machine: a script or a service has no terminal."""
    has_screen = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return has_screen and sys.stdout.isatty()

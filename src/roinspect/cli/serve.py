"""`roinspect serve`."""

from __future__ import annotations

import os
from pathlib import Path

from roinspect.cli.arguments import command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Answer requests over HTTP until told to stop."""
    from roinspect.server.settings import ServeSettings

    parser = command_parser("serve", "[NAME=]BUNDLE... [--port PORT] [--results RECEIVER] ...")
    parser.add_argument("bundles", type=str, nargs="+", help="folders that training wrote, served by name")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address; 0.0.0.0 is every one")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--engine", type=str, default="auto", help="what runs the network")
    parser.add_argument("--threads", type=int | None, default=None, help="of the network; null is all cores")
    parser.add_argument("--providers", type=list[str], default=[], help="of ONNX Runtime, by name")
    parser.add_argument(
        "--results",
        type=str,
        nargs="*",
        default=[],
        help="where results go too: folder:PATH, https://HOST/PATH, mqtt://HOST/TOPIC",
    )
    parser.add_argument(
        "--spool", type=Path, default=Path("roinspect-spool"), help="folder for results not yet delivered"
    )
    parser.add_argument(
        "--api_key_file", type=Path, default=None, help="holds the key; without it ROINSPECT_API_KEY is read"
    )
    parser.add_class_arguments(ServeSettings, None)
    given = parse(parser, arguments)
    # OpenCV reads this once, when it is loaded: what its decoders find must not exceed what the header said.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(int(given.max_megapixels * 1e6)))

    from dataclasses import fields

    from roinspect.server.models import named
    from roinspect.server.run import serve

    serve(
        named(given.bundles),
        ServeSettings(**{field.name: given[field.name] for field in fields(ServeSettings)}),
        host=given.host,
        port=given.port,
        api_key=_api_key(given.api_key_file),
        results=given.results,
        spool=given.spool,
        engine=given.engine,
        threads=given.threads,
        providers=given.providers,
    )
    return 0


def _api_key(file: Path | None) -> str:
    if file is None:
        return os.environ.get("ROINSPECT_API_KEY", "").strip()
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        raise UserError("cannot be read", where="--api_key_file", remedy="check the path") from None
    if not key:
        raise UserError("is empty", where="--api_key_file", remedy="write a key into it")
    return key

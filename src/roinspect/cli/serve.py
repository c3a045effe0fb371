"""`roinspect serve`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from roinspect.cli.arguments import add_result_options, add_runtime_option, command_parser, parse
from roinspect.errors import UserError

LIMITS = {
    "queue": "requests that are read, wait or are worked on at once; one more is answered 429",
    "deadline_s": "seconds until a request is answered 504, or 408 where its body is late",
    "max_body_mb": "megabytes of a request's body; more is answered 413",
    "max_megapixels": "megapixels of an image, read from its header before it is decoded",
    "workers": "threads per model that decode and inspect; half of the cores by default, at least 2",
    "batch": "images that the network sees at once; more than one pays on GPUs only",
    "batch_wait_ms": "milliseconds that the first image of a batch waits for others",
    "poll_s": "seconds between two looks at the bundles; a changed one is loaded once it is stable",
}
"""The fields of `ServeSettings`."""


def run(arguments: list[str]) -> int:
    """Answer requests over HTTP until stopped."""
    from roinspect.server.settings import ServeSettings

    parser = command_parser("serve", "[NAME=]BUNDLE... [--port PORT] [--results RECEIVER] ...")
    parser.add_argument("bundles", type=str, nargs="+", help="folders that training wrote, served by name")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on; 0.0.0.0 is all")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one")
    add_runtime_option(parser)
    parser.add_argument(
        "--threads", type=int | None, default=None, help="CPU threads of the network; all cores by default"
    )
    parser.add_argument(
        "--providers",
        type=list[str],
        default=[],
        help="ONNX Runtime's execution providers by name, the preferred one first",
    )
    add_result_options(parser)
    parser.add_argument(
        "--api-key-file",
        type=Path,
        default=None,
        help="file that holds the API key; ROINSPECT_API_KEY by default",
    )
    defaults = ServeSettings()
    for name, meaning in LIMITS.items():
        value = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=meaning)
    options = parse(parser, arguments)
    # OpenCV reads this once, when it is loaded: what its decoders find must not exceed what the header said.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(int(options.max_megapixels * 1e6)))

    from roinspect.server.process import serve
    from roinspect.server.served_models import named

    serve(
        named(options.bundles),
        ServeSettings(**{field.name: options[field.name] for field in dataclasses.fields(ServeSettings)}),
        host=options.host,
        port=options.port,
        api_key=_api_key(options.api_key_file),
        results=options.results,
        spool=options.spool,
        runtime=options.runtime,
        threads=options.threads,
        providers=options.providers,
    )
    return 0


def _api_key(file: Path | None) -> str:
    if file is None:
        return os.environ.get("ROINSPECT_API_KEY", "").strip()
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        raise UserError("cannot be read", where="--api-key-file", remedy="check the path") from None
    if not key:
        raise UserError("is empty", where="--api-key-file", remedy="write a key into it")
    return key

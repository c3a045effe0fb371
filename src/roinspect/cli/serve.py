"""`roinspect serve`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from roinspect.cli.arguments import (
    add_result_options,
    add_runtime_option,
    add_self_test_option,
    command_parser,
    parse,
)
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Inspect images over HTTP until stopped."""
    from roinspect.server.settings import ServeSettings

    parser = command_parser("serve", "[NAME=]BUNDLE... [--port PORT] [--results RECEIVER...]")
    parser.add_argument(
        "bundles",
        type=str,
        nargs="+",
        help="folder of a trained model; served as NAME, by default the folder's name",
    )
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one")
    add_runtime_option(parser)
    add_self_test_option(parser)
    parser.add_argument("--threads", type=int | None, help="CPU threads of the network; all cores by default")
    parser.add_argument(
        "--providers",
        type=list[str],
        default=[],
        help="execution providers of ONNX Runtime, in order of preference; its defaults if empty",
    )
    add_result_options(parser)
    parser.add_argument(
        "--api-key-file",
        type=Path,
        help="file with the API key; by default the environment variable ROINSPECT_API_KEY, or no key",
    )
    for field in dataclasses.fields(ServeSettings):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(
            option, type=type(field.default), default=field.default, help=field.metadata["help"]
        )
    options = parse(parser, arguments)
    settings = ServeSettings(
        **{field.name: options[field.name] for field in dataclasses.fields(ServeSettings)}
    )
    # Read by OpenCV when it is imported, so that its decoders reject what an image's header may hide.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(settings.max_pixels))

    from roinspect.server.process import serve
    from roinspect.server.served_models import named

    serve(
        named(options.bundles),
        settings,
        host=options.host,
        port=options.port,
        api_key=_api_key(options.api_key_file),
        results=options.results,
        spool=options.spool,
        runtime=options.runtime,
        threads=options.threads,
        providers=options.providers,
        self_test=options.self_test,
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

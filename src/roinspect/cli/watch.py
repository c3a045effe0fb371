"""`roinspect watch`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from roinspect.cli.arguments import (
    add_picture_options,
    add_result_options,
    add_runtime_option,
    command_parser,
    parse,
)


def run(arguments: list[str]) -> int:
    """Inspect images as a camera writes them."""
    parser = command_parser("watch", "FOLDER BUNDLE --out RESULTS.jsonl [--overlays FOLDER] [--maps FOLDER]")
    parser.add_argument("folder", type=Path, help="where images arrive, in it or in folders below it")
    parser.add_argument("bundle", type=Path, help="folder that training wrote")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help=".jsonl file to append to; an image with a row there is not inspected again",
    )
    add_picture_options(parser)
    add_runtime_option(parser)
    add_result_options(parser)
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two looks at the folder")
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds until an unreadable file is reported"
    )
    options = parse(parser, arguments)

    from roinspect.inspection.bundle import bundle_version
    from roinspect.inspection.inspector import Inspector
    from roinspect.production.delivery import Delivery
    from roinspect.production.verdict_images import Pictures
    from roinspect.production.watch import Watch, WatchSettings

    inspector, version = Inspector.load(options.bundle, options.runtime), bundle_version(options.bundle)
    with Delivery(options.results, options.spool) as delivery, _Interruption() as interruption:
        watch = Watch(
            options.folder,
            inspector,
            options.out,
            Pictures(options.overlays, options.maps),
            WatchSettings(options.interval, options.patience),
            report=_report,
            deliver=lambda row: delivery.put_file(row, version),
        )
        _report(f"{options.folder} is watched; results go to {options.out}. Ctrl-C ends it.")
        count = 0
        for row in watch.run(interruption.was_asked):
            count += 1
            if "error" in row:
                _report(row["error"])
            elif row["verdict"] == "defective":
                _report(f"{row['image_path']}: rejected, score {row['pred_score']:.4g}")
            elif row["verdict"] == "not inspectable":
                _report(f"{row['image_path']}: not inspectable, {row['reason']}")
    _report(f"{count:,} images were inspected.")
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Interruption:
    """Ctrl-C, or a service manager's SIGTERM, lets the image at hand be finished; a second one does not."""

    def __init__(self) -> None:
        self._asked = False

    def was_asked(self) -> bool:
        return self._asked

    def __enter__(self) -> _Interruption:
        self._before = {name: signal.signal(name, self._ask) for name in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        self.__exit__()

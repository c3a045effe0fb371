"""`roinspect watch`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from roinspect.cli.arguments import (
    add_drift_option,
    add_picture_options,
    add_result_options,
    add_runtime_option,
    add_self_test_option,
    command_parser,
    parse,
)


def run(arguments: list[str]) -> int:
    """Inspect images as a camera writes them."""
    parser = command_parser("watch", "BUNDLE FOLDER --out RESULTS.jsonl [--overlays FOLDER] [--maps FOLDER]")
    parser.add_argument("bundle", type=Path, help="folder of a trained model")
    parser.add_argument("folder", type=Path, help="folder in which images arrive; subfolders are included")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help=".jsonl file to append results to; images with a row in it are not inspected again",
    )
    add_picture_options(parser)
    add_runtime_option(parser)
    add_self_test_option(parser)
    add_drift_option(parser)
    parser.add_argument(
        "--self-test-s",
        type=float,
        default=0.0,
        help="seconds after which the self-test is repeated; 0 for only at the start",
    )
    add_result_options(parser)
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two scans of the folder")
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds after which an unreadable file is reported"
    )
    options = parse(parser, arguments)

    from roinspect.errors import UserError
    from roinspect.inspection.bundle import bundle_version, is_bundle
    from roinspect.inspection.drift import UNKNOWN, monitor_of
    from roinspect.inspection.exported import scores_version
    from roinspect.inspection.inspector import Inspector
    from roinspect.production.delivery import Delivery
    from roinspect.production.verdict_images import Pictures
    from roinspect.production.watch import Watch, WatchSettings, check_watch

    if is_bundle(options.folder) and not is_bundle(options.bundle):
        raise UserError(
            "is a bundle, which comes first",
            where=options.folder,
            remedy=f"run: roinspect watch {options.folder} {options.bundle} ...",
        )
    settings = WatchSettings(options.interval, options.patience, options.self_test_s)
    check_watch(options.folder, options.out)
    with Delivery(options.results, options.spool) as delivery, _Interruption() as interruption:
        inspector = Inspector.load(options.bundle, options.runtime, self_test=options.self_test)
        version = bundle_version(options.bundle)
        watch = Watch(
            options.folder,
            inspector,
            options.out,
            Pictures(options.overlays, options.maps),
            settings,
            report=_report,
            deliver=lambda row: delivery.put_file(row, version),
            model_version=version,
            scores_version=scores_version(options.bundle),
            test=lambda: inspector.tested(options.bundle, options.self_test),
            drift=monitor_of(inspector.bundle.usual, options.drift_parts, options.bundle),
        )
        _report(f"{options.folder} is watched; results go to {options.out}. Ctrl-C stops it.")
        if options.drift_parts and inspector.bundle.usual is None:
            _report(f"{options.bundle}: {UNKNOWN}")
        count = 0
        for row in watch.run(interruption.was_requested):
            count += 1
            if "error" in row:
                _report(row["error"])
            elif row["verdict"] == "defective":
                _report(f"{row['image_path']}: rejected, score {row['pred_score']:.4g}")
            elif row["verdict"] == "not inspectable":
                _report(f"{row['image_path']}: not inspectable, {row['reason']}")
    _report(f"Inspected {count:,} images.")
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Interruption:
    """The first Ctrl-C or SIGTERM lets the current image finish; the second one ends at once."""

    def __init__(self) -> None:
        self._requested = False

    def was_requested(self) -> bool:
        return self._requested

    def __enter__(self) -> _Interruption:
        self._handlers = {name: signal.signal(name, self._ask) for name in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._handlers.items():
            signal.signal(name, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        self.__exit__()

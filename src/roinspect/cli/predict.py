"""`roinspect predict`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roinspect.cli.arguments import (
    add_drift_option,
    add_picture_options,
    add_place_option,
    add_result_options,
    add_runtime_option,
    add_self_test_option,
    command_parser,
    parse,
)
from roinspect.errors import UserError
from roinspect.inspection.threads import cores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roinspect.production.batch import BatchSummary, Inspect
    from roinspect.production.delivery import Delivery
    from roinspect.production.tables import Rows
    from roinspect.production.verdict_images import Pictures


def run(arguments: list[str]) -> int:
    """Inspect images and print JSON lines or write a table."""
    parser = command_parser(
        "predict", "BUNDLE IMAGES|FOLDER|CSV... [--out TABLE] [--overlays FOLDER] [--maps FOLDER]"
    )
    parser.add_argument("bundle", type=Path, help="folder of a trained model")
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        help="images, folders of images, or CSV files with a column image_path",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="table to write, .parquet, .csv or .jsonl; the same command resumes an interrupted run; by "
        "default a line of JSON per image is printed",
    )
    add_picture_options(parser)
    parser.add_argument(
        "--columns",
        type=dict[str, str],
        default={},
        help="column name of the CSV if it is not image_path: --columns.image_path file",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing table")
    add_result_options(parser)
    add_runtime_option(parser)
    add_self_test_option(parser)
    add_drift_option(parser)
    add_place_option(parser, "; ray needs --out")
    parser.add_argument("--workers", type=int, help="number of processes on Ray; one per CPU by default")
    options = parse(parser, arguments)
    if options.workers is not None and (options.workers < 1 or options.on != "ray"):
        raise UserError("must be at least 1, and needs --on ray", where="--workers")
    if options.out is None and (options.overwrite or options.on == "ray"):
        raise UserError("is required", where="--out", remedy="name a .parquet, .csv or .jsonl file to write")

    from roinspect.production.delivery import Delivery
    from roinspect.production.sources import list_images
    from roinspect.production.tables import check_table
    from roinspect.production.verdict_images import Pictures

    if options.out is not None:
        check_table(options.out)
    pictures = Pictures(options.overlays, options.maps)
    listed = list_images(options.images, columns=options.columns, ignored=pictures.owns)
    with Delivery(options.results, options.spool) as delivery:
        tally = (_table if options.out else _lines)(options, listed, pictures, delivery)
        if left := delivery.drain():
            print(
                f"roinspect: {left:,} results are not delivered yet; they are stored in {options.spool}, and "
                "the next command with the same --results and --spool delivers them",
                file=sys.stderr,
            )
    if tally.errors == tally.images:
        raise UserError(
            f"none of {tally.images} images could be read",
            where=", ".join(map(str, options.images[:3])),
            remedy="check the paths",
        )
    if tally.unseen + tally.errors == tally.images:
        raise UserError(
            f"none of {tally.images} images could be inspected",
            where=", ".join(map(str, options.images[:3])),
            remedy="see the reasons in the rows; check the camera, and that the model is of this product",
        )
    if options.out:
        print(
            f"Of {tally.images:,} images, {tally.defective:,} are rejected, {tally.unseen:,} are not "
            f"inspectable and {tally.errors:,} could not be read. The table is {options.out}."
        )
    return 0


def _lines(options: Any, listed: Mapping[str, str], pictures: Pictures, delivery: Delivery) -> BatchSummary:
    from roinspect.inspection.bundle import bundle_version
    from roinspect.inspection.drift import monitor_of
    from roinspect.inspection.inspector import Inspector
    from roinspect.production.batch import BatchSummary, named, predictions

    inspector = Inspector.load(options.bundle, options.runtime, streams=cores(), self_test=options.self_test)
    drift = monitor_of(inspector.bundle.usual, options.drift_parts, options.bundle)
    rows = predictions(inspector, named(listed, set()), pictures, drift)
    tally = BatchSummary()
    for row in tally.count(delivery.passing(rows, bundle_version(options.bundle))):
        print(json.dumps(row), flush=True)
    return tally


def _table(options: Any, listed: Mapping[str, str], pictures: Pictures, delivery: Delivery) -> BatchSummary:
    from roinspect.inspection.bundle import bundle_version
    from roinspect.inspection.drift import monitor_of
    from roinspect.inspection.inspector import Inspector
    from roinspect.production.batch import inspect_to_table, predictions, terms_of

    inspect: Inspect
    if options.on == "ray":
        from roinspect.production.on_ray import predictions_on_ray

        # Loading the model here reports its errors, and decides on one runtime for all processes.
        runtime = Inspector.load(options.bundle, options.runtime, threads=1).runtime
        inspect = partial(
            predictions_on_ray,
            options.bundle,
            runtime,
            pictures=pictures,
            workers=options.workers,
            self_test=options.self_test,
        )
    else:
        inspector = Inspector.load(
            options.bundle, options.runtime, streams=cores(), self_test=options.self_test
        )
        runtime, inspect = (
            inspector.runtime,
            partial(
                predictions,
                inspector,
                pictures=pictures,
                drift=monitor_of(inspector.bundle.usual, options.drift_parts, options.bundle),
            ),
        )
    version, terms = bundle_version(options.bundle), terms_of(options.bundle, runtime, pictures)

    def inspect_and_deliver(names: Mapping[str, str]) -> Rows:
        return delivery.passing(inspect(names), version)

    try:
        return inspect_to_table(
            listed, options.out, inspect_and_deliver, terms, pictures, overwrite=options.overwrite
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; run the same command again to resume") from None

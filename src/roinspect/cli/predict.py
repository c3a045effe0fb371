"""`roinspect predict`."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roinspect.cli.arguments import command_parser, parse
from roinspect.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roinspect.production.batch import Inspect, Tally
    from roinspect.production.pictures import Pictures


def run(arguments: list[str]) -> int:
    """Inspect images: a line of JSON each, or a table."""
    parser = command_parser(
        "predict", "BUNDLE IMAGES|FOLDER|CSV... [--out TABLE] [--overlays FOLDER] [--maps FOLDER]"
    )
    parser.add_argument("bundle", type=Path, help="folder that training wrote")
    parser.add_argument(
        "images", type=Path, nargs="+", help="images, folders of them, CSV files with a column image_path"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="table to write, .parquet, .csv or .jsonl; a run that was ended goes on there; "
        "without it, a line of JSON is printed for each image",
    )
    parser.add_argument("--overlays", type=Path, help="folder for pictures of what was found")
    parser.add_argument(
        "--maps", type=Path, help="folder for the anomaly maps, 16-bit grey PNG: map = grey * map_factor"
    )
    parser.add_argument(
        "--columns", type=dict[str, str], default={}, help="the CSV's own name: --columns.image_path file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a table that is there")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="where it runs; ray needs --out"
    )
    parser.add_argument("--workers", type=int, help="processes on Ray; as many as it has CPUs by default")
    given = parse(parser, arguments)
    if given.workers is not None and (given.workers < 1 or given.engine != "ray"):
        raise UserError("is a number of at least 1, for --engine ray", where="--workers")
    if given.out is None and (given.overwrite or given.engine == "ray"):
        raise UserError("is wanted", where="--out", remedy="name a .parquet, .csv or .jsonl file to write")

    from roinspect.production.pictures import Pictures
    from roinspect.production.sources import list_images

    pictures = Pictures(given.overlays, given.maps)
    listed = list_images(given.images, columns=given.columns, passed_over=pictures.owns)
    tally = _table(given, listed, pictures) if given.out else _lines(given, listed, pictures)
    if tally.errors == tally.images:
        raise UserError(
            f"none of {tally.images} images could be read",
            where=", ".join(map(str, given.images[:3])),
            remedy="check the paths",
        )
    if tally.unseen + tally.errors == tally.images:
        raise UserError(
            f"none of {tally.images} images could be inspected",
            where=", ".join(map(str, given.images[:3])),
            remedy="the rows say why; check the camera, or whether the model is of this product",
        )
    if given.out:
        print(
            f"Of {tally.images:,} images {tally.defective:,} are rejected, {tally.unseen:,} are not "
            f"inspectable, {tally.errors:,} could not be read. The table is {given.out}."
        )
    return 0


def _lines(given: Any, listed: Mapping[str, str], pictures: Pictures) -> Tally:
    from roinspect.inspection.inspector import Inspector
    from roinspect.production.batch import Tally, named, predictions

    tally, inspector = Tally(), Inspector.load(given.bundle, streams=os.cpu_count() or 1)
    for row in tally.count(predictions(inspector, named(listed, set()), pictures)):
        print(json.dumps(row), flush=True)
    return tally


def _table(given: Any, listed: Mapping[str, str], pictures: Pictures) -> Tally:
    from roinspect.inspection.inspector import Inspector
    from roinspect.production.batch import inspect_to_table, predictions, terms_of
    from roinspect.production.tables import refuse_table

    refuse_table(given.out)
    inspect: Inspect
    if given.engine == "ray":
        from roinspect.production.on_ray import predictions_on_ray

        # What is wrong with the model is told here, and all processes take the same engine.
        engine = Inspector.load(given.bundle, threads=1).engine
        inspect = partial(predictions_on_ray, given.bundle, engine, pictures=pictures, workers=given.workers)
    else:
        inspector = Inspector.load(given.bundle, streams=os.cpu_count() or 1)
        engine, inspect = inspector.engine, partial(predictions, inspector, pictures=pictures)
    terms = terms_of(given.bundle, engine, pictures)
    try:
        return inspect_to_table(listed, given.out, inspect, terms, pictures, overwrite=given.overwrite)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on from there") from None

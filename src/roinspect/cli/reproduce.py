"""`roinspect reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roinspect.cli.arguments import add_place_option, command_parser, parse
from roinspect.errors import UserError


def run(arguments: list[str]) -> int:
    """Measure the papers' tables, or a public data set, on your own machine."""
    from roinspect.reproduction.catalogue import listed

    parser = command_parser("reproduce", "[TABLE --data FOLDER --out FOLDER] [--seeds N] [--budget T]")
    parser.add_argument("table", type=str, nargs="?", help="name of a table; without one all are listed")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_argument(
        "--data", type=Path, help="folder that holds the data set, with a folder for each product (required)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the results (required); the same command resumes an interrupted run",
    )
    parser.add_argument("--methods", type=str, help="methods to train, separated by commas; all by default")
    parser.add_argument("--categories", type=str, help="products, separated by commas; all by default")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings each, with seeds 0, 1, ...")
    parser.add_argument(
        "--budget",
        type=str,
        help="length of each training: 90s, 10m, 1.5h or '5 epochs'; the paper's by default",
    )
    parser.add_argument(
        "--split",
        choices=("grouped", "paper"),
        default="grouped",
        help="tables of CEOD: keep copies of a photograph in one split, or draw each by itself as the paper",
    )
    parser.add_argument(
        "--roi",
        choices=("auto", "none"),
        default="none",
        help="tables of a data set: masks in PRODUCT/roi, or inspect all of every photograph",
    )
    parser.add_argument(
        "--preset", choices=("paper", "compact"), default="paper", help="settings of our methods"
    )
    parser.add_argument("--size", type=str, help="HEIGHTxWIDTH in pixels; the table's by default")
    parser.add_argument("--batch-size", type=int, help="images per training step; the preset's by default")
    parser.add_argument(
        "--settings",
        type=dict[str, dict[str, Any]],
        default={},
        help="""settings by method or training: --settings.grdnet '{"width": 32}'""",
    )
    parser.add_argument(
        "--textures",
        type=Path,
        help="folder of texture images for DRAEM's synthetic defects; procedural ones by default",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to train; auto takes a GPU"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel trainings on this machine")
    add_place_option(parser)
    options = parse(parser, arguments)
    if options.table is None:
        print(f"{listed()}\n\nroinspect reproduce TABLE --data FOLDER --out FOLDER")
        return 0
    for name in ("data", "out"):
        if options[name] is None:
            remedy = f"run: roinspect reproduce {options.table} --data FOLDER --out FOLDER"
            raise UserError("is required", where=f"--{name}", remedy=remedy)

    from roinspect.reproduction.reproduce import ReproduceSettings, parse_length, reproduce

    settings = ReproduceSettings(
        methods=_names(options.methods, "--methods"),
        categories=_names(options.categories, "--categories"),
        budget=None if options.budget is None else parse_length(options.budget),
        **{
            name: options[name]
            for name in ("seeds", "split", "roi", "preset", "size", "batch_size", "settings", "textures")
        },
        **{name: options[name] for name in ("device", "jobs", "on")},
    )
    written = reproduce(options.table, options.data, options.out, settings, tell=print)
    print(written.read_text(encoding="utf-8"))
    print(f"The table is in {written}, its figures in {written.with_suffix('.jsonl').name} beside it.")
    return 0


def _names(text: str | None, option: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError("is empty", where=option, remedy="leave it out to take all")
    return names

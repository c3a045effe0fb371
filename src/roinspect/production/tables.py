"""Verdicts as one table (Parquet, CSV or JSON Lines), written atomically."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from roinspect.errors import UserError
from roinspect.files import remove_unfinished, whole_file, writing

Row: TypeAlias = Mapping[str, Any]

Rows: TypeAlias = Generator[dict[str, Any], None, None]
"""Rows as they are computed; closing the generator stops the computation."""

COLUMNS = (
    "image_path",
    "verdict",
    "pred_score",
    "is_defect",
    "threshold",
    "reason",
    "regions",
    "overlay",
    "map",
    "map_factor",
    "error",
)
"""Of Parquet and CSV; missing values are null, or empty fields."""

SUFFIXES = (".parquet", ".csv", ".jsonl")

_GROUP = 4096
"""Rows in memory at a time, and in a Parquet row group."""


def check_table(path: Path) -> None:
    """Check the path of a table before any work is done.

    Raises:
        UserError: the suffix is not in `SUFFIXES`, the path is a folder, or pyarrow is required but missing.
    """
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise UserError(
            "is not a table", where=f"--out {path}", remedy=f"name a file that ends in {', '.join(SUFFIXES)}"
        )
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            "Parquet needs pyarrow, which is not installed",
            where=f"--out {path}",
            remedy='run: pip install "roinspect[scale]", or write .csv or .jsonl',
        )


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write rows of `Verdict.to_dict` in the format of the suffix; replaces an existing table.

    In CSV, `regions` is JSON text and booleans are `true` or `false`.

    Raises:
        UserError: `check_table` raises it, or the file cannot be written.
    """
    check_table(path)
    write = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_lines}[path.suffix.lower()]
    with writing(path), whole_file(path, durable=True) as partial:
        remove_unfinished(path.parent, path.name)
        write(partial, rows)


def _write_lines(file: Path, rows: Iterable[Row]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        opened.writelines(json.dumps(row) + "\n" for row in rows)


def _write_csv(file: Path, rows: Iterable[Row]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(COLUMNS)
        writer.writerows([_field(row.get(name)) for name in COLUMNS] for row in rows)


def _field(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool | list) else _text(value)


def _text(value: Any) -> Any:
    """Write bytes that are not UTF-8, as in file names on old disks, as backslash escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _write_parquet(file: Path, rows: Iterable[Row]) -> None:
    import pyarrow
    import pyarrow.parquet

    number, text = pyarrow.float64(), pyarrow.string()
    region = pyarrow.struct(
        [
            ("polygon_xy", pyarrow.list_(pyarrow.list_(number))),
            ("box_xyxy", pyarrow.list_(number)),
            ("area", number),
            ("score", number),
        ]
    )
    types = {
        "pred_score": number,
        "is_defect": pyarrow.bool_(),
        "threshold": number,
        "regions": pyarrow.list_(region),
        "map_factor": number,
    }
    schema = pyarrow.schema([(name, types.get(name, text)) for name in COLUMNS])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(rows):
            plain = [{name: _text(value) for name, value in row.items()} for row in group]
            writer.write_table(pyarrow.Table.from_pylist(plain, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while group := list(islice(remaining, _GROUP)):
        yield group

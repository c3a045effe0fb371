"""List the images to inspect, from files, folders and CSV files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from roinspect.data.records import find_images, manifest_path, manifest_rows
from roinspect.errors import UserError


def list_images(
    sources: Iterable[Path],
    *,
    columns: Mapping[str, str] | None = None,
    ignored: Callable[[Path], bool] = lambda path: False,
) -> dict[str, str]:
    """Every image once, in order, readable or not.

    Args:
        sources: images; folders, searched recursively; CSV files with a column `image_path`, whose paths are
            absolute or relative to the CSV's folder.
        columns: the CSV's own name for that column: {"image_path": "file"}.
        ignored: whether to skip an image in a folder.

    Returns:
        Image paths, each with a name for its pictures: the path below its source, without suffix and with
        forward slashes. Names may repeat.

    Raises:
        UserError: a CSV cannot be read or lacks the column, columns are given without a CSV, or no image is
            found.
    """
    listed: dict[str, str] = {}
    seen: set[str] = set()
    has_csv = False
    for path in sources:
        if path.suffix.lower() == ".csv" and path.is_file():
            has_csv = True
            images, root = _csv_images(path, columns or {}), path.parent
        elif path.is_dir():
            inside = [image for image in find_images(path) if not ignored(image)]
            # An empty folder gets a row with an error.
            images, root = iter(inside or [path]), path
        else:
            images, root = iter((path,)), path.parent
        for image in images:
            if (spelling := one_spelling(image)) in seen:
                continue
            seen.add(spelling)
            relative = image.relative_to(root) if image.is_relative_to(root) else Path(image.name)
            # Pictures must stay in their folder.
            relative = Path(image.name) if ".." in relative.parts else relative
            listed[str(image)] = (relative.parent / relative.stem).as_posix()
    if columns and not has_csv:
        raise UserError(
            "applies to CSV files only", where="--columns", remedy="remove it, or name a CSV file"
        )
    if not listed:
        raise UserError(
            "no images found",
            where=", ".join(map(str, sources)),
            remedy="name images, a folder of them, or a CSV with a column image_path",
        )
    return listed


def one_spelling(path: Path | str) -> str:
    """A path in one spelling: absolute and normalised; links are not resolved.

    Example:
        >>> one_spelling("in/../in/a.png") == one_spelling(Path.cwd() / "in" / "a.png")
        True
    """
    return os.path.normpath(Path(path).absolute())


def _csv_images(file: Path, columns: Mapping[str, str]) -> Iterator[Path]:
    for line, row in manifest_rows(file, columns):
        if not row["image_path"]:
            raise UserError(
                "no image path", where=f"{file}, line {line}", remedy="fill it in or remove the line"
            )
        yield manifest_path(file.parent, row["image_path"])

"""List the images to inspect: files, folders, and CSV files that name them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from roinspect.data.records import find_images, manifest_path, manifest_rows
from roinspect.errors import UserError


def list_images(
    given: Iterable[Path],
    *,
    columns: Mapping[str, str] | None = None,
    passed_over: Callable[[Path], bool] = lambda path: False,
) -> dict[str, str]:
    """Every image once, in order, whether it can be read or not.

    Args:
        given: images; folders, which stand for the images below them; CSV files with a column `image_path`,
            whose paths are absolute or relative to the CSV's folder.
        columns: the CSV's own name for that column: {"image_path": "file"}.
        passed_over: whether an image in a folder is not to be inspected.

    Returns:
        The image's path, and what its pictures may be called: its place below what was given, without suffix
        and with forward slashes. Several may have one name.

    Raises:
        UserError: a CSV cannot be read, has no such column, or columns are named without a CSV; no image.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    has_csv = False
    for path in given:
        if path.suffix.lower() == ".csv" and path.is_file():
            has_csv = True
            images, root = _named_in(path, columns or {}), path.parent
        elif path.is_dir():
            inside = [image for image in find_images(path) if not passed_over(image)]
            # A folder without any gets a row that says so.
            images, root = iter(inside or [path]), path
        else:
            images, root = iter((path,)), path.parent
        for image in images:
            if (same := one_spelling(image)) in seen:
                continue
            seen.add(same)
            place = image.relative_to(root) if image.is_relative_to(root) else Path(image.name)
            # Pictures stay in their folder, wherever the photographs lie.
            place = Path(image.name) if ".." in place.parts else place
            found[str(image)] = (place.parent / place.stem).as_posix()
    if columns and not has_csv:
        raise UserError("are a CSV's, and none is given", where="--columns", remedy="drop them")
    if not found:
        raise UserError(
            "no images found",
            where=", ".join(map(str, given)),
            remedy="name images, a folder of them, or a CSV with a column image_path",
        )
    return found


def one_spelling(path: Path | str) -> str:
    """A path however it is written: absolute, without detours; links stay what they are.

    Example:
        >>> one_spelling("in/../in/a.png") == one_spelling(Path.cwd() / "in" / "a.png")
        True
    """
    return os.path.normpath(Path(path).absolute())


def _named_in(file: Path, columns: Mapping[str, str]) -> Iterator[Path]:
    for line, row in manifest_rows(file, columns):
        if not row["image_path"]:
            raise UserError(
                "no image path", where=f"{file}, line {line}", remedy="fill it in or remove the line"
            )
        yield manifest_path(file.parent, row["image_path"])

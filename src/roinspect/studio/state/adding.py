"""Add images to the data set, or change their label, together with their masks and drawings."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, count
from pathlib import Path, PurePosixPath

from roinspect.data.annotations.drawn import DrawnMask, drawn_in_folder
from roinspect.data.names import NO_CATEGORY, SPLITS, is_good
from roinspect.data.records import Record, manifest_path
from roinspect.errors import UserError
from roinspect.files import whole_file, writing
from roinspect.images.pixels import image_size, read_image, write_image
from roinspect.studio.state.project import Project
from roinspect.studio.state.proposals import carry_proposal
from roinspect.studio.state.regions import drawing_file, mask_file, note_file, own_file, set_aside
from roinspect.studio.state.store import move_file, remove_file, write_csv

_KIND = re.compile(r"[\w][\w .-]{0,39}")
_NO_KIND = NO_CATEGORY | SPLITS.keys()
"""Names that mean something other than a kind of defect."""


def add(
    project: Project,
    source: Path,
    *,
    label: int,
    kind: str = "",
    split: str = "train",
    name: str = "",
    first: Callable[[str], object] = str,
) -> str:
    """Copy a photograph into the data set.

    Args:
        project: the folder.
        source: the photograph.
        label: 0 good, 1 defective.
        kind: of defect, used as folder name or label; "" means "defect".
        split: "train" or "test"; ignored in folders without splits.
        name: of the new file; defaults to the source's name.
        first: called with the new key before anything is changed; its error stops that.

    Returns:
        The new photograph's key.

    Raises:
        UserError: the photograph cannot be read, the kind is not a valid name, or a file cannot be written.
    """
    read_image(source)
    with project.lock:
        manifest = project.folder / "manifest.csv"
        category = category_of(project, label, kind)
        folder = project.folder / "added" if manifest.is_file() else _folder(project, split, category)
        target = place_for(project, folder, category, Path(name or source.name), label)
        key = target.relative_to(project.folder).as_posix()
        first(key)
        with writing(target), whole_file(target) as partial:
            shutil.copyfile(source, partial)
        if manifest.is_file():
            _rewrite(
                manifest, lambda rows: rows.append({"image_path": key, "split": split, "label": category})
            )
        project.forget()
    return key


def move(
    project: Project,
    key: str,
    *,
    label: int,
    kind: str = "",
    split: str = "train",
    first: Callable[[str], object] = str,
) -> str:
    """Change the label or split of a photograph: its row in the manifest, or its folder.

    Its drawing, its region and, if it stays defective, its defect mask move along.

    Args:
        project: the folder.
        key: of the photograph.
        label: 0 good, 1 defective.
        kind: of defect; "" for that of before.
        split: "train" or "test"; ignored in folders without splits.
        first: see `add`.

    Returns:
        The photograph's new key.

    Raises:
        UserError: see `add`; or regions are being proposed right now.
    """
    with project.lock:
        record = project.record(key)
        manifest = project.folder / "manifest.csv"
        category = category_of(project, label, kind or (record.category if record.label == 1 else ""))
        if manifest.is_file():

            def change(rows: list[dict[str, str]]) -> None:
                for row in rows:
                    if manifest_path(project.folder, row.get("image_path", "").strip()) == record.image_path:
                        row |= {"split": split, "label": category}

            first(key)
            _rewrite(manifest, change)
            project.forget()
            return key
        folder = _folder(project, split, category)
        if folder == record.image_path.parent:
            first(key)
            return key
        target = place_for(project, folder, category, record.image_path, label, moved=record)
        new = target.relative_to(project.folder).as_posix()
        first(new)
        _carry(project, record, target, new, category, label)
        project.forget()
    return new


def _carry(project: Project, record: Record, target: Path, key: str, category: str, label: int) -> None:
    """Move a photograph with its files. They are copied first, so that a failure changes nothing."""
    copies = [(file(project, record.key), file(project, key)) for file in (drawing_file, note_file)]
    mask, tree, pixels, retired = mask_file(project, record), project.folder / "roi", None, list[Path]()
    new_mask = (tree / PurePosixPath(key)).with_suffix(".png")
    if isinstance(mask, Path) and mask.is_relative_to(tree):
        copies.append((mask, new_mask.with_suffix(mask.suffix)))
    if isinstance(mask, DrawnMask) and mask.path.is_relative_to(tree):
        # An annotation file would still name the old photograph.
        retired += [mask.path] if own_file(mask) else []
        if own_file(mask) or not _still_named(project, record, key):
            pixels = mask.pixels(image_size(record.image_path))
    defect = own_file(record.mask_path)
    if defect and defect.is_relative_to(project.folder):
        home = project.folder / defect.relative_to(project.folder).parts[0] / category
        copies += [(defect, home / f"{target.stem}_mask{defect.suffix}")] if label else []
        retired += [] if label else [defect]
    copies = [(old, new) for old, new in copies if old != new and old.is_file()]
    carry_proposal(project, record.key, key)
    try:
        if pixels is not None:
            write_image(new_mask, 255 * pixels)
        with writing(target):
            for old, new in copies:
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(old, new)
        move_file(record.image_path, target)
    except UserError:
        with suppress(OSError, UserError):
            carry_proposal(project, key, record.key)
            for new in [new_mask] * (pixels is not None) + [new for _, new in copies]:
                new.unlink(missing_ok=True)
        raise
    for old, _ in copies:
        remove_file(old)
    for file in retired:
        set_aside(project, file)


def _still_named(project: Project, record: Record, key: str) -> bool:
    """Whether the annotation files below roi/ match a photograph under its new key too."""
    keys = [key if other == record.key else other for other in project.records()]
    return key in drawn_in_folder(project.folder / "roi", None, keys, lambda: keys)


def category_of(project: Project, label: int, kind: str) -> str:
    """The folder name or label text."""
    if label == 0:
        records = dict[str, Record]()
        with suppress(UserError):
            records = project.records()
        usual = (project.good() or ["good"])[0]
        return next((record.category for record in records.values() if record.label == 0), usual)
    kind = kind.strip() or "defect"
    if not _KIND.fullmatch(kind) or kind.lower() in _NO_KIND or is_good(kind):
        remedy = "use letters and digits, not a word for a split or a good part; for example: scratch"
        raise UserError("is not a valid name for a kind of defect", where=kind, remedy=remedy)
    return kind


def _folder(project: Project, split: str, category: str) -> Path:
    folders = {path.name.lower(): path for path in project.folder.iterdir() if path.is_dir()}
    if not SPLITS.keys() & folders.keys():
        return project.folder / category
    return folders.get(split, project.folder / split) / category


def place_for(
    project: Project, folder: Path, category: str, name: Path, label: int = 1, moved: Record | None = None
) -> Path:
    """An unused path in the folder, for a new photograph or one that is moved.

    The stem of a defective part is unique in its category, as masks are found by category and stem.
    """
    taken = {path.stem for path in folder.glob("*")} if folder.is_dir() else set()
    with suppress(UserError):
        others = [r for r in project.records().values() if label and r != moved and r.category == category]
        taken |= {r.image_path.stem for r in others}
    stems = chain([name.stem], (f"{name.stem}_{number}" for number in count(2)))
    return folder / f"{next(stem for stem in stems if stem not in taken)}{name.suffix}"


def _rewrite(manifest: Path, change: Callable[[list[dict[str, str]]], object]) -> None:
    """Change a manifest's rows, keeping its other columns and its delimiter."""
    try:
        text = manifest.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "cannot be read as UTF-8 text", where=manifest, remedy="save it as UTF-8 CSV"
        ) from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    rows = list(reader)
    if "split" not in columns:
        # The default of a row without a split, so that the new column changes nothing.
        rows = [{**row, "split": "train"} for row in rows]
    change(rows)
    columns += [name for name in ("split", "label") if name not in columns]
    write_csv(manifest, columns, rows, delimiter)

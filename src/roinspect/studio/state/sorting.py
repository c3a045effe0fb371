"""Sort several photographs at once, take in new ones, and set some aside for testing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from roinspect.data.annotations.drawn import MaskPieces, MaskSource
from roinspect.data.manifests import named, row_of, write_manifest
from roinspect.data.names import SPLITS
from roinspect.data.records import Record
from roinspect.data.splits import hold_out
from roinspect.errors import UserError
from roinspect.files import whole_file, writing
from roinspect.images.pixels import read_image
from roinspect.studio.state.adding import add, category_of, move, place_for
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import move_file

TEST_SHARE = 0.2
"""Share of the good and of the defective photographs that is proposed for testing."""


class Place(NamedTuple):
    """Where photographs belong."""

    label: int | None
    """0 good, 1 defective; None: not sorted yet."""
    kind: str = ""
    """Of defect; "" means "defect"."""
    split: str = "train"
    """"train" or "test"."""


def take_in(project: Project, source: Path, place: Place) -> str:
    """Copy a photograph into the folder; returns its key.

    Raises:
        UserError: see `add`; or it is not sorted, but the folder has a manifest.
    """
    if place.label is not None:
        return add(project, source, label=place.label, kind=place.kind, split=place.split)
    read_image(source)
    with project.lock:
        if (project.folder / "manifest.csv").exists():
            remedy = "say whether they are good or defective"
            raise UserError("lists every photograph with its label", where="manifest.csv", remedy=remedy)
        target = place_for(project, project.folder, "", source)
        with writing(target), whole_file(target) as partial:
            shutil.copyfile(source, partial)
    return target.name


def sort(project: Project, keys: Sequence[str], place: Place) -> int:
    """Give photographs a label and a split, those directly in the folder too; returns their number.

    Raises:
        UserError: see `move`; those before the one that failed are sorted.
    """
    if place.label is None:
        raise UserError("is not chosen", where="good or defective", remedy="choose one of the two")
    with project.lock:
        if place.split == "test" and not _has_splits(project) and _is_sorted(project):
            _list_all(project)
        for key in keys:
            loose = {path.name: path for path in project.loose()}
            if key in loose and key not in _records(project):
                _sort_loose(project, loose[key], place)
            else:
                move(project, key, label=place.label, kind=place.kind, split=place.split)
        project.forget()
    return len(keys)


def _sort_loose(project: Project, path: Path, place: Place) -> None:
    if (project.folder / "manifest.csv").exists():
        add(project, path, label=int(place.label or 0), kind=place.kind, split=place.split)
        move_file(path, project.state / "replaced" / path.name)
        return
    category = category_of(project, int(place.label or 0), place.kind)
    home = project.folder / place.split if not _is_sorted(project) or _has_splits(project) else project.folder
    move_file(path, place_for(project, home / category, category, path))
    project.forget()


def proposed_test(project: Project) -> list[Record]:
    """Photographs to set aside for testing: a share of good and of defective ones, whole groups together.

    Empty if some are for testing already, or too few would be left to train on.
    """
    records = list(_records(project).values())
    if any(record.split == "test" for record in records):
        return []
    trained_on = [record for record in records if record.split == "train" and record.label is not None]
    try:
        aside = hold_out(trained_on, "all", TEST_SHARE, 0, project.folder)[1]
    except UserError:
        return []
    if not any(record.label == 1 for record in aside):
        # Too few for a share: every second, as a test without defective parts shows no escapes.
        aside += [record for record in trained_on if record.label == 1 and not record.group][::2]
    return aside


def set_test_aside(project: Project) -> int:
    """Mark the photographs of `proposed_test` as those to test with; returns their number.

    This is written to FOLDER/manifest.csv, which the command line reads too. No file is moved.

    Raises:
        UserError: a defect's mask cannot be named in a manifest, or a file cannot be written.
    """
    with project.lock:
        aside = proposed_test(project)
        if not _has_splits(project):
            _list_all(project)
        for record in aside:
            kind = record.category if record.label == 1 else ""
            move(project, record.key, label=int(record.label or 0), kind=kind, split="test")
        project.forget()
    return len(aside)


def _records(project: Project) -> dict[str, Record]:
    try:
        return project.records()
    except UserError:
        return {}


def _is_sorted(project: Project) -> bool:
    return bool(_records(project))


def _has_splits(project: Project) -> bool:
    """Whether a split can be written: there is a manifest, or there are folders of splits."""
    if (project.folder / "manifest.csv").exists():
        return True
    return any(path.name.lower() in SPLITS for path in project.folder.iterdir() if path.is_dir())


def _list_all(project: Project) -> None:
    """List all photographs in a manifest, with their labels and masks of defects."""
    rows = [
        row_of(record, project.folder) | {"mask_path": _named(project, record.mask_path)}
        for record in project.records().values()
    ]
    write_manifest(project.folder / "manifest.csv", rows)
    # The labels in the manifest are the usual ones.
    project.use_good([])


def _named(project: Project, mask: MaskSource | None) -> str:
    """A mask as a manifest names it."""
    if mask is None:
        return ""
    if isinstance(mask, MaskPieces):
        remedy = "sort the photographs into train/ and test/ yourself, or make one mask of each"
        raise UserError("a manifest cannot name a mask in several files", where=mask, remedy=remedy)
    path = mask if isinstance(mask, Path) else mask.path
    return named(path, project.folder)

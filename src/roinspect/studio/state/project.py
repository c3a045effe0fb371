"""A folder of images in the studio, and the recently opened folders.

All state of a folder is stored in the folder:

    FOLDER/.roinspect/            hidden, so it is never taken for photographs
      drawings/KEY.json           the drawing over a photograph
      masks/KEY.json              what the mask of a photograph was made from
      replaced/                   one backup of each file that the studio replaced
      shared.json                 the region of all photographs without one of their own
      region-finder               the network that proposes regions
      good.json                   names of the folders of good parts, if chosen
      models/NAME                 trained models, with NAME.run and NAME.evaluation
      jobs/ID/                    background jobs
"""

from __future__ import annotations

import csv
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from platformdirs import user_config_path

from roinspect.data.annotations.drawn import DrawnMask, drawn_in_folder
from roinspect.data.manifests import write_manifest
from roinspect.data.reading import Data, read_data
from roinspect.data.records import Record, find_images, read_records
from roinspect.data.roi import ONE_FOR_ALL, attach_roi
from roinspect.errors import UserError
from roinspect.files import sha256
from roinspect.images.pixels import IMAGE_SUFFIXES
from roinspect.segmenter.tree import TABLE
from roinspect.studio.state.store import read_json, write_json

STATE = ".roinspect"
RECENT = 8


class Project:
    """A folder of photographs.

    Args:
        folder: absolute.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / STATE
        # Requests use the id, so that they never contain a path.
        self.id = sha256(str(folder))[:12]
        # Hold it while changing files of the folder.
        self.lock = threading.RLock()
        self._records: dict[str, Record] | None = None
        self._drawn: dict[str, DrawnMask] | None = None
        self._masks: dict[Path, list[Path]] | None = None

    def records(self) -> dict[str, Record]:
        """Photographs by key, in order; cached until `forget`.

        Raises:
            UserError: the folder is missing, or its layout cannot be read.
        """
        if not self.folder.is_dir():
            remedy = "connect the drive or bring the folder back, then reload; or open another on page 1"
            raise UserError("the folder is not there any more", where=self.folder, remedy=remedy)
        with self.lock:
            if self._records is None:
                listed = read_records(self.folder, good=self.good())
                self._records = {record.key: record for record in listed}
            return self._records

    def good(self) -> list[str] | None:
        """Names of the folders or labels of good parts; None for the usual ones."""
        saved = read_json(self.state / "good.json")
        return [str(name) for name in saved] if isinstance(saved, list) and saved else None

    def use_good(self, names: Sequence[str]) -> None:
        """Remember which folders or labels mean good parts; none for the usual ones."""
        with self.lock:
            write_json(self.state / "good.json", list(names))
            self.forget()

    def data(self, roi: str) -> Data:
        """The folder as training reads it.

        Raises:
            UserError: see `read_data`.
        """
        return read_data(self.folder, roi, usual_good=self.good())

    def forget(self) -> None:
        """Clear the caches, so that the folder is read again."""
        with self.lock:
            self._records = self._drawn = self._masks = None

    def drawn_regions(self) -> dict[str, DrawnMask]:
        """Regions in annotation files below FOLDER/roi, by key; empty if training would reject them."""
        records = self.records()
        with self.lock:
            if self._drawn is None:
                self._drawn = {}
                with suppress(UserError):
                    self._drawn = drawn_in_folder(self.folder / "roi", None, records, lambda: list(records))
            return self._drawn

    def masks(self) -> dict[Path, list[Path]]:
        """Mask files below FOLDER/roi by path without suffix; cached until `forget`."""
        with self.lock:
            if self._masks is None:
                self._masks = {}
                for path in find_images(self.folder / "roi"):
                    self._masks.setdefault(path.with_suffix(""), []).append(path)
            return self._masks

    def confidences(self) -> dict[str, float]:
        """The network's confidence in each proposed region, in [0, 1], by the photograph's key."""
        file = self.folder / "roi" / TABLE
        with suppress(OSError):
            return _confidences(file, file.stat().st_mtime_ns)
        return {}

    def record(self, key: str) -> Record:
        """One photograph. Only files that `records` lists are ever read.

        Raises:
            UserError: there is no such photograph, or `records` fails.
        """
        record = self.records().get(key)
        if record is None:
            raise UserError("no such photograph in this folder", where=key, remedy="reload the page")
        return record

    def roi(self) -> str:
        """The value for `--roi`: the saved regions, else "auto" if the folder has its own, else "none"."""
        saved = read_json(self.state / "roi.json")
        if isinstance(saved, str) and (self.folder / saved).exists():
            return str(self.folder / saved)
        has_own = (self.folder / "roi").is_dir()
        with suppress(UserError):
            has_own = has_own or any(record.roi_path for record in self.records().values())
        return "auto" if has_own else "none"

    def use_roi(self, name: str) -> None:
        """Remember where the regions were saved, by name within the folder."""
        write_json(self.state / "roi.json", name)

    def with_roi(self, records: Sequence[Record]) -> list[Record]:
        """Records with their regions, or all without one if some have none."""
        try:
            return attach_roi(self.data(self.roi()), records)
        except UserError:
            return [replace(record, roi_path=None) for record in records]

    def photograph(self, key: str) -> Path:
        """The file of a photograph, sorted or directly in the folder.

        Raises:
            UserError: see `record`.
        """
        loose = next((path for path in self.loose() if path.name == key), None) if "/" not in key else None
        return loose or self.record(key).image_path

    def loose(self) -> list[Path]:
        """Photographs directly in the folder, in no category."""
        with suppress(OSError):
            images = [path for path in self.folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
            return sorted(path for path in images if path.name[0] != "." and path.name != ONE_FOR_ALL)
        return []

    def adopt_loose(self) -> int:
        """List the loose photographs as good ones to train on, in a manifest.csv; no file is moved.

        Returns:
            The number of photographs.

        Raises:
            UserError: a manifest exists, or it cannot be written.
        """
        manifest = self.folder / "manifest.csv"
        if manifest.exists():
            raise UserError("exists already", where=manifest, remedy="add the photographs to it")
        rows = [{"image_path": path.name, "split": "train", "label": "good"} for path in self.loose()]
        write_manifest(manifest, rows)
        self.forget()
        return len(rows)

    def summary(self) -> list[tuple[str, str, str, int]]:
        """Split, category, label in words and number of photographs; no photograph is opened."""
        names = {0: "good", 1: "defective", None: "not labelled"}
        counted = Counter((r.split, r.category, names[r.label]) for r in self.records().values())
        order = ("train", "val", "test")
        return [(*kind, counted[kind]) for kind in sorted(counted, key=lambda kind: order.index(kind[0]))]


class NotYetError(UserError):
    """An earlier step is still to be done. That is no fault, and is not shown as one."""


class Projects:
    """The open folders.

    Args:
        first: the folder to show first, if any.
        confined_to: only this folder and its subfolders can be opened; None allows all.
        recent_file: JSON file with the recently opened folders.
    """

    def __init__(self, first: Path | None, *, confined_to: Path | None, recent_file: Path) -> None:
        self._confined_to = confined_to.resolve() if confined_to else None
        start = first if first and first.is_dir() else Path.cwd()
        self.places = [self._confined_to] if self._confined_to else [Path.home().resolve(), start.resolve()]
        """Folders that may be looked through, with those in them."""
        self._recent_file = recent_file
        self._open: dict[str, Project] = {}
        self.latest: Project | None = None
        """The folder opened last, shown to a browser whose address names none."""
        for path in reversed(self.recent()):
            with suppress(UserError):
                self.open(str(path), remember=False)
        self.latest = None
        if first is not None:
            self.open(str(first))

    def open(self, text: str, *, remember: bool = True) -> Project:
        """Open a folder by the path that a user typed.

        Raises:
            UserError: see `folder`.
        """
        folder = self.folder(text)
        project = Project(folder)
        project = self._open.setdefault(project.id, project)
        project.forget()
        self.latest = project
        if remember:
            with suppress(UserError):
                write_json(self._recent_file, [str(path) for path in [folder, *self.recent()]][:RECENT])
        return project

    def folder(self, text: str) -> Path:
        """The folder that a user typed.

        Raises:
            UserError: it is not a folder, or must not be opened.
        """
        typed = text.strip().strip("\"'")
        if not typed:
            raise UserError("is empty", where="the path", remedy="type where your photographs are")
        try:
            folder = Path(typed).expanduser().resolve()
            is_folder = folder.is_dir()
        except (OSError, RuntimeError, ValueError):
            raise UserError("is not a path", where=typed, remedy="copy it from your file manager") from None
        if self._confined_to and not folder.is_relative_to(self._confined_to):
            remedy = f"choose one in {self._confined_to}, or start the studio with another"
            raise UserError("lies outside the folder that this studio may open", where=typed, remedy=remedy)
        if not is_folder:
            remedy = "it is a file: type the folder it lies in" if folder.is_file() else "check the spelling"
            raise UserError("there is no such folder", where=typed, remedy=remedy)
        return folder

    def get(self, id: str) -> Project:
        """An open folder by its id.

        Raises:
            UserError: no open folder has this id, for example after a restart.
        """
        if id not in self._open:
            raise NotYetError("No folder is open yet", remedy="open one on page 1, Data")
        return self._open[id]

    def recent(self) -> list[Path]:
        """Recently opened folders that still exist, latest first."""
        saved = read_json(self._recent_file)
        paths = [Path(text) for text in saved if isinstance(text, str)] if isinstance(saved, list) else []
        if self._confined_to:
            paths = [path for path in paths if path.resolve().is_relative_to(self._confined_to)]
        return [path for path in dict.fromkeys(paths) if path.is_dir()]


def default_recent_file() -> Path:
    """The JSON file with this user's recently opened folders."""
    return user_config_path("roinspect", appauthor=False, roaming=True) / "studio.json"


@lru_cache(maxsize=4)
def _confidences(file: Path, _changed: int) -> dict[str, float]:
    with file.open(encoding="utf-8", newline="") as opened:
        rows = csv.DictReader(opened)
        return {row["key"]: float(row["confidence"]) for row in rows if row.get("confidence")}

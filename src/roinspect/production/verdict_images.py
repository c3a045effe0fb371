"""Overlay images and anomaly maps of verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from roinspect.files import sha256
from roinspect.images.overlay import grey_map, overlay
from roinspect.images.pixels import write_image
from roinspect.inspection.inspector import Verdict

# Never a photograph's own name: the pictures may go into the photographs' folder.
_OVERLAY, _MAP = "_overlay.png", "_map.png"

LONGEST_NAME = 255
"""Bytes of a file's name, on nearly all disks."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where pictures go.

    Attributes:
        overlays: folder for pictures of what was found, `NAME_overlay.png`; None writes none.
        maps: folder for the anomaly maps at the images' own sizes, `NAME_map.png`, 16-bit grey; None writes
            none.
    """

    overlays: Path | None = None
    maps: Path | None = None

    def write(self, verdict: Verdict, name: str) -> dict[str, Any]:
        """Write the pictures of an image that was inspected; an image in error has none.

        Args:
            verdict: of the image.
            name: the pictures' own, without suffix; folders in it are made.

        Returns:
            What belongs into its row: `overlay` and `map` (paths) where they were asked for, and
            `map_factor`: the map's value is the grey value times that.

        Raises:
            UserError: a picture cannot be written.
        """
        written: dict[str, Any] = {}
        if verdict.image is None or verdict.anomaly_map is None:
            return written
        if self.overlays:
            path = _picture(self.overlays, name, _OVERLAY)
            write_image(path, overlay(verdict.image, verdict.anomaly_map, level=verdict.map_level))
            written["overlay"] = str(path)
        if self.maps:
            path = _picture(self.maps, name, _MAP)
            grey, factor = grey_map(verdict.anomaly_map)
            write_image(path, grey)
            written |= {"map": str(path), "map_factor": factor}
        return written

    def owns(self, file: Path) -> bool:
        """Whether a file is such a picture, which nobody wants inspected."""
        places = ((self.overlays, _OVERLAY), (self.maps, _MAP))
        return any(
            folder
            and file.name.endswith(end)
            and real_folder(file.parent).is_relative_to(real_folder(folder))
            for folder, end in places
        )

    def names_in(self, row: Mapping[str, Any]) -> Iterable[str]:
        """The pictures' name, without suffix, in a row that tells of them."""
        if self.overlays and "overlay" in row:
            yield _name(row["overlay"], self.overlays, _OVERLAY)
        if self.maps and "map" in row:
            yield _name(row["map"], self.maps, _MAP)


@lru_cache(maxsize=4096)
def real_folder(folder: Path) -> Path:
    """Where a folder really is; remembered, as a watched one is asked for at every look, for each picture."""
    return folder.resolve()


def _picture(folder: Path, name: str, end: str) -> Path:
    """Where a picture goes; a name that leaves no room for the end is cut, and told apart by its digest."""
    path = folder / (name + end)
    if len(os.fsencode(path.name)) <= LONGEST_NAME:
        return path
    digest = sha256(os.fsencode(name))[:12]
    whole = os.fsencode(path.name)[: LONGEST_NAME - len(end) - len(digest) - 1].decode("utf-8", "ignore")
    return path.with_name(f"{whole}~{digest}{end}")


def _name(path: str, folder: Path, end: str) -> str:
    return PurePath(path).relative_to(folder).as_posix().removesuffix(end)


def free_name(wanted: str, taken: set[str]) -> str:
    """The name, or the first of `wanted_2`, `wanted_3`... that is not taken; takes it.

    Example:
        >>> taken = {"a"}
        >>> free_name("a", taken), free_name("a", taken), free_name("b", taken)
        ('a_2', 'a_3', 'b')
    """
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name

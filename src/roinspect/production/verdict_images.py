"""Overlay images and anomaly maps of verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from roinspect.files import sha256
from roinspect.images.overlay import grey_map
from roinspect.images.pixels import write_image
from roinspect.inspection.inspector import Verdict

# Distinct from photographs' names: pictures may be written into the photographs' folder.
_OVERLAY, _MAP = "_overlay.png", "_map.png"

LONGEST_NAME = 255
"""Bytes of a file name, on nearly all file systems."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where pictures are written.

    Attributes:
        overlays: folder for overlay images, `NAME_overlay.png`; None writes none.
        maps: folder for anomaly maps at the images' own sizes, `NAME_map.png`, 16-bit grey; None writes none.
    """

    overlays: Path | None = None
    maps: Path | None = None

    def write(self, verdict: Verdict, name: str) -> dict[str, Any]:
        """Write the pictures of an inspected image; an image with an error has none.

        Args:
            verdict: of the image.
            name: of the pictures, without suffix; folders in it are created.

        Returns:
            Values for the image's row: `overlay` and `map` (paths) if they are written, and `map_factor`: a
            map's value is the grey value times this.

        Raises:
            UserError: a picture cannot be written.
        """
        written: dict[str, Any] = {}
        if verdict.image is None or verdict.anomaly_map is None:
            return written
        if self.overlays:
            path = _picture(self.overlays, name, _OVERLAY)
            write_image(path, verdict.overlay())
            written["overlay"] = str(path)
        if self.maps:
            path = _picture(self.maps, name, _MAP)
            grey, factor = grey_map(verdict.anomaly_map)
            write_image(path, grey)
            written |= {"map": str(path), "map_factor": factor}
        return written

    def owns(self, file: Path) -> bool:
        """Whether a file is such a picture."""
        outputs = ((self.overlays, _OVERLAY), (self.maps, _MAP))
        return any(
            folder
            and file.name.endswith(end)
            and real_folder(file.parent).is_relative_to(real_folder(folder))
            for folder, end in outputs
        )

    def names_in(self, row: Mapping[str, Any]) -> Iterable[str]:
        """Names, without suffix, of the pictures in a row."""
        if self.overlays and "overlay" in row:
            yield _name(row["overlay"], self.overlays, _OVERLAY)
        if self.maps and "map" in row:
            yield _name(row["map"], self.maps, _MAP)


@lru_cache(maxsize=4096)
def real_folder(folder: Path) -> Path:
    """A folder with links resolved; cached, because `watch` asks for it for every file of every scan."""
    return folder.resolve()


def _picture(folder: Path, name: str, end: str) -> Path:
    """The path of a picture; a name that is too long is cut and gets a digest."""
    path = folder / (name + end)
    if len(os.fsencode(path.name)) <= LONGEST_NAME:
        return path
    digest = sha256(os.fsencode(name))[:12]
    start = os.fsencode(path.name)[: LONGEST_NAME - len(end) - len(digest) - 1].decode("utf-8", "ignore")
    return path.with_name(f"{start}~{digest}{end}")


def _name(path: str, folder: Path, end: str) -> str:
    return PurePath(path).relative_to(folder).as_posix().removesuffix(end)


def free_name(base: str, taken: set[str]) -> str:
    """`base`, or the first of `base_2`, `base_3`... that is not taken; adds it to `taken`.

    Example:
        >>> taken = {"a"}
        >>> free_name("a", taken), free_name("a", taken), free_name("b", taken)
        ('a_2', 'a_3', 'b')
    """
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name

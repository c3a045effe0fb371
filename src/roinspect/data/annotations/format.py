"""The interface of an annotation format, implemented by each format module."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from roinspect.data.annotations.document import Node, read_json
from roinspect.data.annotations.polygons import Annotations, ImageShapes
from roinspect.errors import UserError
from roinspect.images.pixels import IMAGE_SUFFIXES

_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class AnnotationFile:
    """A file of unknown format.

    Attributes:
        data: its content.
        path: its path, also for errors.
        folder: folder of the file relative to the folder being read; image names of LabelMe and YOLO are
            relative to it.
    """

    data: bytes
    path: Path
    folder: str = ""

    @cached_property
    def head(self) -> bytes:
        """The first bytes, without zero bytes, byte order mark and leading whitespace."""
        head = self.data[:256].replace(b"\0", b"")
        for mark in _MARKS:
            head = head.removeprefix(mark)
        return head.lstrip()

    @property
    def is_xml(self) -> bool:
        """Whether it starts like XML."""
        return self.head.startswith(b"<")

    @cached_property
    def json(self) -> Node | None:
        """The JSON document; None if the file does not start like one.

        Raises:
            UserError: it is malformed.
        """
        return read_json(self.data, str(self.path)) if self.head.startswith((b"{", b"[")) else None


class Format(Protocol):
    """An annotation format."""

    @property
    def SUFFIX(self) -> str:  # noqa: N802
        """Suffix of its files, in lower case with the dot."""

    @property
    def IS_ONE_FILE(self) -> bool:  # noqa: N802
        """Whether one file holds the drawings of all images, instead of one file per image."""

    def read_file(self, file: AnnotationFile) -> Annotations | None:
        """The drawings of a file; None if its content is of another format.

        Raises:
            UserError: the file is damaged or violates the format.
        """

    def write_files(self, annotations: Annotations) -> dict[str, str]:
        """The text of each file by name; a single file has the name "".

        Raises:
            UserError: the format needs the size of an image, but it is unknown.
        """


def by_file(annotations: Annotations, suffix: str) -> dict[str, ImageShapes]:
    """The drawings by file name: the image's name with the given suffix.

    Raises:
        UserError: two images would share a file.
    """
    files: dict[str, ImageShapes] = {}
    for drawing in annotations.images:
        name = PurePosixPath(drawing.name)
        stem = name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name
        if f"{stem}{suffix}" in files:
            raise UserError(
                f"and another file would both be called {stem}{suffix}",
                where=drawing.name,
                remedy="give one of them another name",
            )
        files[f"{stem}{suffix}"] = drawing
    return files

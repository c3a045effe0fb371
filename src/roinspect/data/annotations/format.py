"""The contract of an annotation format, which each module of a format fulfils as a whole."""

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
    """A file that may be of any format.

    Attributes:
        data: its content.
        path: where it is; names it in errors.
        folder: its place in a folder that is read as a whole: LabelMe and YOLO count image names from there.
    """

    data: bytes
    path: Path
    folder: str = ""

    @cached_property
    def head(self) -> bytes:
        """The first characters that are no blanks, without byte order marks."""
        head = self.data[:256].replace(b"\0", b"")
        for mark in _MARKS:
            head = head.removeprefix(mark)
        return head.lstrip()

    @property
    def is_xml(self) -> bool:
        """Whether it begins like XML."""
        return self.head.startswith(b"<")

    @cached_property
    def json(self) -> Node | None:
        """The JSON document; None where it does not begin like one.

        Raises:
            UserError: it is not sound.
        """
        return read_json(self.data, str(self.path)) if self.head.startswith((b"{", b"[")) else None


class Format(Protocol):
    """An annotation format."""

    @property
    def SUFFIX(self) -> str:  # noqa: N802
        """Of its files."""

    @property
    def IS_ONE_FILE(self) -> bool:  # noqa: N802
        """Whether one file holds the drawings of all images; else there is one for each."""

    def read_file(self, file: AnnotationFile) -> Annotations | None:
        """The drawings of a file; None where its content is of another format.

        Raises:
            UserError: the file is damaged, or does not hold what the format says.
        """

    def write_files(self, annotations: Annotations) -> dict[str, str]:
        """The texts of files by their names; of the only file, "".

        Raises:
            UserError: the format needs the size of an image, which is not known.
        """


def by_file(annotations: Annotations, suffix: str) -> dict[str, ImageShapes]:
    """The drawings by the names of their files, which are those of the images with another suffix.

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

"""TIFF directories, classic and BigTIFF: find the photograph's page and read its tags."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PAGES = 1000
"""Maximum number of pages searched for one that is not a preview."""
_MOST_ENTRIES = 4096
_CODES = {1: "B", 2: "c", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_SIZES = {5: 8, 10: 8, 11: 4, 12: 8, 17: 8}

NEW_SUBFILE, SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION = 254, 255, 256, 257, 258, 259
PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, CHANNELS, ROWS = 262, 266, 273, 274, 277, 278
STRIP_COUNTS, MAX_SAMPLE, PLANAR, PREDICTOR, COLOUR_MAP = 279, 281, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_DIRECTORIES = 322, 323, 324, 325, 330
EXTRA_SAMPLES, SAMPLE_FORMAT, S_MAX_SAMPLE, JPEG_TABLES = 338, 339, 341, 347


@dataclass(frozen=True, slots=True)
class _Layout:
    """Binary layout of a file: byte order, and whether it is BigTIFF."""

    order: str
    is_big: bool

    @property
    def entry_size(self) -> int:
        return 20 if self.is_big else 12


@dataclass(frozen=True, slots=True)
class TiffPage:
    """The tags of a page.

    Attributes:
        order: "<" or ">".
        entries: (type, count, offset) of the values by tag.
        data: the file.
    """

    order: str
    entries: dict[int, tuple[int, int, int]]
    data: bytes

    def values(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of a tag; empty if the tag is missing.

        Raises:
            struct.error: they lie beyond the end of the file, or are not of an integer type.
        """
        if tag not in self.entries:
            return ()
        kind, count, offset = self.entries[tag]
        code = _CODES.get(kind)
        if code is None or code == "c" or count * struct.calcsize(code) > len(self.data):
            raise struct.error(f"tag {tag} holds no whole numbers")
        return struct.unpack_from(f"{self.order}{count}{code}", self.data, offset)

    def value(self, tag: int, default: int = 0) -> int:
        """The first whole number of a tag.

        Raises:
            struct.error: same as `values`.
        """
        numbers = self.values(tag)
        return numbers[0] if numbers else default

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag."""
        if tag not in self.entries:
            return b""
        _, count, offset = self.entries[tag]
        return self.data[offset : offset + count]

    @property
    def is_preview(self) -> bool:
        """Whether the page is a reduced copy or the transparency mask of another one."""
        return bool(self.value(NEW_SUBFILE) & 5) or self.value(SUBFILE) == 2


def photograph_page(data: bytes) -> TiffPage:
    """The first page that is not a preview, else the first page.

    Raises:
        struct.error: a directory lies beyond the end of the file or is broken.
    """
    layout = _Layout("<" if data.startswith(b"II") else ">", data[2:4] in (b"+\0", b"\0+"))
    (offset,) = struct.unpack_from(f"{layout.order}{'8xQ' if layout.is_big else '4xI'}", data)
    first = None
    for page in _pages(data, layout, offset):
        if not page.is_preview:
            return page
        first = first or page
    if first is None:
        raise struct.error("no directory")
    return first


def _pages(data: bytes, layout: _Layout, offset: int) -> Iterator[TiffPage]:
    """The pages, each followed by its subpages, which raw files have."""
    pending, seen = [offset], set[int]()
    while pending and len(seen) < _MOST_PAGES:
        position = pending.pop(0)
        if not position or position in seen:
            continue
        seen.add(position)
        page, end = _page(data, layout, position)
        yield page
        inner = list(page.values(SUB_DIRECTORIES))[:_MOST_PAGES]
        (following,) = struct.unpack_from(f"{layout.order}{'Q' if layout.is_big else 'I'}", data, end)
        pending = [*inner, following, *pending]


def _page(data: bytes, layout: _Layout, position: int) -> tuple[TiffPage, int]:
    order, is_big = layout.order, layout.is_big
    if position >= len(data):
        raise struct.error("a directory lies beyond the end")
    (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, position)
    if count > _MOST_ENTRIES:
        raise struct.error("a directory of too many entries")
    start = position + (8 if is_big else 2)
    inline = 8 if is_big else 4
    entries: dict[int, tuple[int, int, int]] = {}
    for entry in range(start, start + count * layout.entry_size, layout.entry_size):
        tag, kind, number = struct.unpack_from(f"{order}HH{'Q' if is_big else 'I'}", data, entry)
        if not tag:
            raise struct.error("a directory holds zeros")
        value = entry + layout.entry_size - inline
        size = number * (struct.calcsize(_CODES[kind]) if kind in _CODES else _SIZES.get(kind, 1))
        if size > inline:
            (value,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, value)
            value = min(value, len(data))
        entries.setdefault(tag, (kind, number, value))
    return TiffPage(order, entries, data), start + count * layout.entry_size

"""TIFF directories, classic and BigTIFF: find the photograph's page and read its tags."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PAGES = 1000
"""That are looked through for one that is no preview."""
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
    """How a file's numbers are packed: byte order, an offset, a count of entries, an entry."""

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
        entries: kind of value, count and place of the values, by tag.
        data: the file.
    """

    order: str
    entries: dict[int, tuple[int, int, int]]
    data: bytes

    def values(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of a tag; none where it is not there.

        Raises:
            struct.error: they lie beyond the file's end, or are of no kind that holds whole numbers.
        """
        if tag not in self.entries:
            return ()
        form, count, place = self.entries[tag]
        code = _CODES.get(form)
        if code is None or code == "c" or count * struct.calcsize(code) > len(self.data):
            raise struct.error(f"tag {tag} holds no whole numbers")
        return struct.unpack_from(f"{self.order}{count}{code}", self.data, place)

    def value(self, tag: int, default: int = 0) -> int:
        """The first whole number of a tag.

        Raises:
            struct.error: as `values`.
        """
        found = self.values(tag)
        return found[0] if found else default

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag."""
        if tag not in self.entries:
            return b""
        _, count, place = self.entries[tag]
        return self.data[place : place + count]

    @property
    def is_preview(self) -> bool:
        """The page is a smaller copy of another one, or its transparency."""
        return bool(self.value(NEW_SUBFILE) & 5) or self.value(SUBFILE) == 2


def photograph_page(data: bytes) -> TiffPage:
    """The first page that is no preview; where all are, the first.

    Raises:
        struct.error: a directory lies beyond the file's end or is broken.
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
    """The pages, and behind each the ones that it holds, as raw files do."""
    ahead, seen = [offset], set[int]()
    while ahead and len(seen) < _MOST_PAGES:
        place = ahead.pop(0)
        if not place or place in seen:
            continue
        seen.add(place)
        page, end = _page(data, layout, place)
        yield page
        inner = list(page.values(SUB_DIRECTORIES))[:_MOST_PAGES]
        (following,) = struct.unpack_from(f"{layout.order}{'Q' if layout.is_big else 'I'}", data, end)
        ahead = [*inner, following, *ahead]


def _page(data: bytes, layout: _Layout, place: int) -> tuple[TiffPage, int]:
    order, is_big = layout.order, layout.is_big
    if place >= len(data):
        raise struct.error("a directory lies beyond the end")
    (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, place)
    if count > _MOST_ENTRIES:
        raise struct.error("a directory of too many entries")
    start = place + (8 if is_big else 2)
    inline = 8 if is_big else 4
    entries: dict[int, tuple[int, int, int]] = {}
    for at in range(start, start + count * layout.entry_size, layout.entry_size):
        tag, form, number = struct.unpack_from(f"{order}HH{'Q' if is_big else 'I'}", data, at)
        if not tag:
            raise struct.error("a directory holds zeros")
        value = at + layout.entry_size - inline
        size = number * (struct.calcsize(_CODES[form]) if form in _CODES else _SIZES.get(form, 1))
        if size > inline:
            (value,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, value)
            value = min(value, len(data))
        entries.setdefault(tag, (form, number, value))
    return TiffPage(order, entries, data), start + count * layout.entry_size

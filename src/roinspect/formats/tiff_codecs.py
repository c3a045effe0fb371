"""What TIFF files pack a strip or a tile with, undone to an exact number of bytes or not at all."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Callable

from roinspect.formats.account import DamagedError, UnsupportedError

NONE, HUFFMAN, FAX3, FAX4, LZW, OLD_JPEG, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA = (
    1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925
)  # fmt: skip
BILEVEL = (HUFFMAN, FAX3, FAX4)
_NAMES = {
    OLD_JPEG: "old-style JPEG",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGILog",
    34677: "SGILog",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy DNG",
    34933: "PNG",
    34934: "PNG",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
REMEDY = "save it as PNG, or as TIFF with LZW or no compression"
_LAST_ZEROS = 4
"""Zero bytes at the end of a strip whose compression has an end code: it was reserved and never written."""


def refuse_unknown(compression: int) -> None:
    """Raise the UnsupportedError for a compression that is not read."""
    if compression not in _CODECS and compression not in (NONE, JPEG, *BILEVEL):
        name = _NAMES.get(compression, f"TIFF's number {compression} as")
        raise UnsupportedError(f"{name} compression", REMEDY)


def unpacked(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """The rows * row_bytes bytes that a strip or tile of several bits a pixel holds.

    Raises:
        DamagedError: it holds fewer, or breaks off.
    """
    size = rows * row_bytes
    found = _CODECS[compression](packed, rows, row_bytes)
    if len(found) < size:
        raise DamagedError("a strip is cut off")
    return found[:size]


def unpacked_bilevel(
    packed: bytes, compression: int, rows: int, width: int, options: int, order: int
) -> bytes:
    """The rows of a strip of fax pages, 1 bit a pixel: 0 as the file's own zero.

    Raises:
        DamagedError: it breaks off.
    """
    if compression != HUFFMAN and order == 1:
        _refuse_zeros(packed)
    more = {266: order}
    if compression == FAX3:
        more[292] = options
    return _by_libtiff(packed, compression, rows, width, 1, more)


def _inflated(packed: bytes, rows: int, row_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    size = rows * row_bytes
    try:
        found = stream.decompress(packed, size + 1)
        # The checksum stands behind the last byte: only at the end is it looked at.
        if len(found) <= size and not stream.eof:
            found += stream.decompress(stream.unconsumed_tail, size + 1 - len(found))
    except (zlib.error, ValueError):
        raise DamagedError("a strip is damaged") from None
    if len(found) <= size and not stream.eof:
        raise DamagedError("a strip is cut off")
    return found


def _unpacked_lzma(packed: bytes, rows: int, row_bytes: int) -> bytes:
    stream = lzma.LZMADecompressor()
    try:
        found = stream.decompress(packed, rows * row_bytes + 1)
    except (lzma.LZMAError, EOFError):
        raise DamagedError("a strip is damaged") from None
    if len(found) <= rows * row_bytes and not stream.eof:
        raise DamagedError("a strip is cut off")
    return found


def _unpacked_lzw(packed: bytes, rows: int, row_bytes: int) -> bytes:
    if packed[:1] == b"\0" and packed[1:2] and packed[1] & 1:
        raise UnsupportedError("old-style LZW compression", REMEDY)
    if packed[:1] != b"\x80":
        raise DamagedError("a strip does not begin with a clear code")
    _refuse_zeros(packed)
    return _by_libtiff(packed, LZW, rows, row_bytes, 8, {})


def _unpacked_bits(packed: bytes, rows: int, row_bytes: int) -> bytes:
    return _by_libtiff(packed, PACKBITS, rows, row_bytes, 8, {})


_CODECS: dict[int, Callable[[bytes, int, int], bytes]] = {
    DEFLATE: _inflated,
    OLD_DEFLATE: _inflated,
    LZMA: _unpacked_lzma,
    LZW: _unpacked_lzw,
    PACKBITS: _unpacked_bits,
}


def _refuse_zeros(packed: bytes) -> None:
    if len(packed) >= _LAST_ZEROS and not any(packed[-_LAST_ZEROS:]):
        raise DamagedError("a strip ends in zeros")


def _by_libtiff(
    packed: bytes, compression: int, rows: int, width: int, bits: int, more: dict[int, int]
) -> bytes:
    """Unpack by way of a grey TIFF of this one strip: Pillow's libtiff is strict, and writes to no one."""
    from PIL import TiffImagePlugin

    tags = {
        256: width,
        257: rows,
        258: bits,
        259: compression,
        262: 1,
        277: 1,
        278: rows,
        279: len(packed),
    } | more
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    tags[273] = start
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    file = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + packed
    try:
        with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
            image.load()
            return image.tobytes()
    except (OSError, ValueError, SyntaxError, struct.error, MemoryError):
        raise DamagedError("a strip is damaged") from None

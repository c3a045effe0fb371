"""What a header claims is what the decoder would make room for."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roinspect.errors import UserError
from roinspect.images.containers import identify
from roinspect.images.pixel_limit import check_pixels, claimed_pixels
from roinspect.images.pixels import read_image

KINDS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WebP", ".tif": "TIFF"}


def encoded(suffix: str, size_hw: tuple[int, int], *options: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), np.uint8)
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


@pytest.mark.parametrize("suffix", KINDS)
@given(st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_the_claim_is_the_size(suffix: str, size_hw: tuple[int, int]) -> None:
    assert claimed_pixels(encoded(suffix, size_hw), KINDS[suffix]) == size_hw[0] * size_hw[1]


def test_lossless_webp_and_a_large_one() -> None:
    quality = (cv2.IMWRITE_WEBP_QUALITY, 101)
    assert claimed_pixels(encoded(".webp", (30, 41), *quality), "WebP") == 30 * 41
    # An extended header's canvas: 24 bits a side.
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\x00\x0f\x00\x00"
    assert claimed_pixels(b"RIFF\x16\0\0\0WEBP" + canvas, "WebP") == 65536 * 16


@pytest.mark.parametrize("suffix", KINDS)
def test_one_pixel_decides(suffix: str) -> None:
    data = encoded(suffix, (30, 40))
    check_pixels(data, 1200)
    with pytest.raises(UserError, match="megapixels, more than"):
        check_pixels(data, 1199)


def test_a_second_small_frame_hides_nothing() -> None:
    data = encoded(".jpg", (300, 400))
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 1, 1, 3) + bytes(9)
    with pytest.raises(UserError, match="megapixels"):
        check_pixels(data[:-2] + frame + data[-2:], 1000)


def test_tiles_count_as_well() -> None:
    entries = [(256, 4, 10), (257, 4, 10), (322, 4, 60000), (323, 4, 60000)]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)
    assert claimed_pixels(data, "TIFF") == 60000**2
    big = b"".join(struct.pack(">HHQQ", tag, 16, 1, value) for tag, _, value in entries[:2])
    data = b"MM\0+\0\x08\0\0" + struct.pack(">QQ", 16, 2) + big + bytes(8)
    assert claimed_pixels(data, "TIFF") == 100


def test_a_size_that_is_hidden_is_refused() -> None:
    hidden = b"II*\0" + bytes(20)
    check_pixels(hidden, 1000)
    with pytest.raises(UserError, match="cut off or damaged"):
        read_image(hidden)


def test_the_page_that_is_decoded_counts_and_not_its_preview() -> None:
    def page(following: int, preview: int, side: int) -> bytes:
        entries = [(254, preview), (256, side), (257, side)]
        packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)

    first = page(8 + 2 + 36 + 4, 1, 10)
    assert claimed_pixels(b"II*\0" + struct.pack("<I", 8) + first + page(0, 0, 5000), "TIFF") == 5000**2


@pytest.mark.parametrize("suffix", KINDS)
def test_real_files_have_few_scans(suffix: str) -> None:
    for options in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if suffix == ".jpg" else ()):
        check_pixels(encoded(suffix, (300, 400), *options), 120_000)


def test_a_picture_drawn_a_thousand_times_is_refused() -> None:
    data = encoded(".jpg", (30, 40), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data[data.rindex(b"\xff\xda") : -2]
    for more, is_whole in ((80, True), (1000, False)):
        bomb = data[:-2] + more * last + data[-2:]
        found = identify(bomb)
        assert found is not None and found.whole == is_whole
    with pytest.raises(UserError, match="more than 100 scans"):
        check_pixels(bomb, 50_000_000)
    with pytest.raises(UserError):
        read_image(bomb)


CHUNK = struct.pack(">I", 0) + b"tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
HOSTILE = {
    ".png": (33, CHUNK),
    ".jpg": (2, b"\xff\x01"),
    ".webp": (12, b"XXXX\0\0\0\0"),
}


@pytest.mark.parametrize("suffix", HOSTILE)
def test_a_file_of_a_hundred_thousand_parts_is_damaged(suffix: str) -> None:
    data, (place, part) = encoded(suffix, (30, 40)), HOSTILE[suffix]
    for count, is_whole in ((4000, True), (100_000, False)):
        hostile = bytearray(data[:place] + part * count + data[place:])
        if suffix == ".webp":
            struct.pack_into("<I", hostile, 4, len(hostile) - 8)
        found = identify(bytes(hostile))
        assert found is not None and found.whole == is_whole


def test_what_follows_the_end_is_not_walked() -> None:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 60000, 60000, 3) + bytes(9)
    assert claimed_pixels(encoded(".jpg", (30, 40)) + frame, "JPEG") == 1200
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    assert claimed_pixels(encoded(".webp", (30, 40)) + extended, "WebP") == 1200


@given(st.sampled_from(sorted(KINDS.values())), st.binary(max_size=200))
def test_no_header_breaks_it(kind: str, data: bytes) -> None:
    assert (claimed_pixels(data, kind) or 0) >= 0

"""Every kind of image file that can be written here is read right or refused by its name, and never wrong."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from pixel_files import bmp, jpeg, png, tiff, webp
from pixel_files.made import encoded, picture
from pixel_formats import harmed, outcome

from roinspect.errors import UserError
from roinspect.images.containers import identify
from roinspect.images.pixels import read_image, read_mask

FORMATS = {"PNG": png, "JPEG": jpeg, "WebP": webp, "BMP": bmp, "TIFF": tiff}
LEAST_RIGHT = {"PNG": 300, "JPEG": 120, "WebP": 80, "BMP": 190, "TIFF": 700}
REMEDY = "save it as PNG, or as TIFF with LZW or no compression"


def tiff_of(pixels: np.ndarray, **how: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **how)
    return buffer.getvalue()


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian classic TIFF with another short value of a tag."""
    place = data.index(struct.pack("<HHI", tag, 3, 1))
    return data[: place + 8] + struct.pack("<H", value) + data[place + 10 :]


@pytest.mark.parametrize("name", FORMATS)
def test_no_file_is_read_wrong_and_no_intact_one_is_called_damaged(name: str) -> None:
    made = list(FORMATS[name].files())
    found = [outcome(one) for one in made]
    faults = [
        one.name for one, is_what in zip(made, found, strict=True) if is_what in ("wrong", "called damaged")
    ]
    assert faults == []
    assert Counter(found)["right"] >= LEAST_RIGHT[name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_off_is_never_read(name: str) -> None:
    for number, made in enumerate(FORMATS[name].files()):
        if number % 7 or outcome(made) != "right":
            continue
        for harm, data in harmed(made.data, number):
            if harm == "cut off" or name == "PNG":
                with pytest.raises(UserError):
                    read_image(data)


def test_a_compressed_tiff_whose_end_was_never_written_is_never_read() -> None:
    packed = ("zlib", "lzw", "packbits", "lzma", "deflate", "OpenCV's uint8, 3 channels, 5")
    count = 0
    for number, made in enumerate(tiff.files()):
        # Of a palette at the end of the file, zeros may be meant.
        if number % 3 or not any(word in made.name for word in packed) or "Pillow's P" in made.name:
            continue
        if outcome(made) != "right":
            continue
        for harm, data in harmed(made.data, number):
            if harm == "tail of zeros":
                count += 1
                try:
                    read = read_image(data)
                except UserError:
                    continue
                assert np.array_equal(read, read_image(made.data)), made.name
    assert count > 100


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 3])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_breaks_off_before_an_end_marker_is_refused(
    progressive: bool, restarts: int, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    image = Image.fromarray(picture(np.uint8, 96, 128, 3)).convert(mode)
    whole = encoded(image, "JPEG", progressive=progressive, restart_marker_blocks=restarts)
    first = whole.index(b"\xff\xda") + 20
    for share in (0.1, 0.4, 0.7, 0.9, 0.97):
        with pytest.raises(UserError, match="the JPEG file is cut off or damaged"):
            read_image(whole[: int(first + (len(whole) - first) * share)] + b"\xff\xd9")
    assert capfd.readouterr().err == ""


def test_a_lost_piece_between_two_restarts_is_found() -> None:
    image = Image.fromarray(picture(np.uint8, 96, 128, 3))
    whole = encoded(image, "JPEG", restart_marker_blocks=4)
    lost = whole.index(b"\xff\xd3")
    for data in (whole[: lost - 30] + whole[lost:], whole[:lost] + whole[lost + 2 :]):
        with pytest.raises(UserError, match="cut off or damaged"):
            read_image(data)


@pytest.mark.parametrize("quality", [30, 80, 100])
def test_a_webp_whose_end_was_never_written_is_refused(quality: int) -> None:
    whole = encoded(Image.fromarray(picture(np.uint8, 120, 160, 3)), "WEBP", quality=quality)
    for share in (0.4, 0.6, 0.8):
        kept = int(len(whole) * share)
        with pytest.raises(UserError, match="its end is all zeros"):
            read_image(whole[:kept] + bytes(len(whole) - kept))


@pytest.mark.parametrize("flat", [0, 128, 255])
@pytest.mark.parametrize("method", [0, 4])
def test_a_flat_webp_may_end_in_zeros(flat: int, method: int) -> None:
    pixels = np.full((500, 700, 3), flat, np.uint8)
    pixels[:160] = picture(np.uint8, 160, 700, 3)
    data = encoded(Image.fromarray(pixels), "WEBP", quality=80, method=method)
    assert read_image(data).shape == (500, 700, 3)


@pytest.mark.parametrize(
    ("number", "name"),
    [(50000, "ZSTD"), (34712, "JPEG 2000"), (34933, "PNG"), (50001, "WebP"), (50002, "JPEG XL"), (4, "fax"),
     (34887, "LERC"), (6, "old-style JPEG"), (12345, "TIFF's number 12345 as")],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_compression_that_is_not_read_is_named(number: int, name: str, read: object) -> None:
    data = with_tag(tiff_of(picture(np.uint8, 20, 20), photometric="minisblack"), 259, number)
    with pytest.raises(UserError) as caught:
        read(data)  # type: ignore[operator]
    assert str(caught.value) == f"image bytes: {name} compression is not supported; {REMEDY}"


@pytest.mark.parametrize(
    ("dtype", "words"),
    [(np.int16, "16-bit signed integers"), (np.float32, "32-bit floating point"),
     (np.uint32, "32-bit unsigned integers"), (np.int8, "8-bit signed integers")],
)  # fmt: skip
def test_a_depth_that_no_photograph_has_is_named_but_serves_as_a_mask(dtype: type, words: str) -> None:
    mask = picture(np.uint8, 20, 30) % 2
    data = tiff_of(mask.astype(dtype), photometric="minisblack")
    with pytest.raises(
        UserError, match=f"pixels of {words} are not supported; save it as unsigned 8 or 16 bit"
    ):
        read_image(data)
    assert np.array_equal(read_mask(data), mask)


def test_planes_of_sixteen_bits_are_the_picture_at_every_read() -> None:
    pixels = picture(np.uint16, 48, 64, 3)
    data = tiff_of(np.moveaxis(pixels, 2, 0), photometric="rgb", planarconfig="separate")
    expected = ((pixels.astype(int) + 128) // 257).astype(np.uint8)
    for _ in range(3):
        assert np.array_equal(read_image(data), expected)


def test_a_big_tiff_that_counts_from_white_is_as_the_classic_one() -> None:
    mask = np.zeros((20, 20), np.uint16)
    mask[5:10, 5:10] = 65535
    for big in (False, True):
        data = tiff_of(65535 - mask, photometric="miniswhite", bigtiff=big)
        assert int(read_mask(data).sum()) == 25 and read_image(data)[7, 7, 0] == 255


@pytest.mark.parametrize("kind", ["JPEG", "lossy WebP", "JPEG in a TIFF"])
def test_a_mask_of_any_lossy_kind_counts_from_half_brightness_on(kind: str) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[11:31, 13:33] = 1
    image = Image.fromarray(mask * 255).convert("RGB")
    if kind == "JPEG in a TIFF":
        data = encoded(image.convert("L"), "TIFF", compression="jpeg", quality=60)
    else:
        data = encoded(image, "JPEG" if kind == "JPEG" else "WEBP", quality=60)
    assert (read_image(data)[..., 0] > 0).sum() > 400
    assert np.array_equal(read_mask(data), mask)


def test_the_still_picture_of_an_animated_png_counts() -> None:
    samples = picture(np.uint16, 16, 16, 3) >> 8
    still = png.write(samples, 2, 8)
    for is_in_animation in (False, True):
        animated = png.write(samples, 2, 8, animation=is_in_animation)
        assert np.array_equal(read_image(animated), read_image(still))


def test_a_transparent_grey_is_black() -> None:
    grey = picture(np.uint8, 12, 17)
    data = encoded(Image.fromarray(grey), "PNG", transparency=int(grey[3, 4]))
    assert np.array_equal(read_image(data)[..., 0], np.where(grey == grey[3, 4], 0, grey))
    assert not read_mask(data)[grey == grey[3, 4]].any()


def test_chunks_beside_the_picture_say_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    samples = picture(np.uint16, 16, 16, 3) >> 8
    beside = ((b"iCCP", b"x\0\0ab"), (b"gAMA", b"12"), (b"cHRM", b""), (b"sBIT", b"\x09"), (b"hIST", b"x"))
    broken = png.write(samples, 2, 8, beside)
    assert np.array_equal(read_image(broken), samples)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_deflate", "packbits", None])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_damaged_tiff_is_refused_without_a_word(
    packing: str | None, channels: int, capfd: pytest.CaptureFixture[str]
) -> None:
    pixels = picture(np.uint8, 37, 51, *((3,) if channels == 3 else ()))
    whole = encoded(Image.fromarray(pixels), "TIFF", compression=packing)
    assert np.array_equal(read_image(whole), pixels if channels == 3 else np.dstack([pixels] * 3))
    for share in (0.2, 0.5, 0.9):
        with pytest.raises(UserError, match="the TIFF file is cut off or damaged"):
            read_image(whole[: int(len(whole) * share)])
    assert capfd.readouterr().err == ""


def test_what_claims_to_be_whole_but_unpacks_to_less_is_damaged() -> None:
    samples = picture(np.uint16, 16, 16, 3) >> 8
    whole = png.write(samples, 2, 8)
    raw = zlib.compress(bytes(100))
    short = whole[:33] + png.chunk(b"IDAT", raw) + png.chunk(b"IEND", b"")
    with pytest.raises(UserError, match="the PNG file is cut off or damaged"):
        read_image(short)


def test_run_lengths_coded_with_their_padding_are_read() -> None:
    indices = np.repeat(np.arange(13, dtype=np.uint8)[:, None] % 7, 61, axis=1)
    indices[:, 20:] += 5
    runs = b"".join(bytes([20, row[0], 41 + 3, row[20], 0, 0]) for row in indices[::-1]) + b"\0\1"
    palette = picture(np.uint8, 1, 256, 3)[0]
    rows = np.frombuffer(runs, np.uint8)[None]
    data = bmp.write(rows, 61, 8, 40, palette=palette, compression=1, height=13)
    assert np.array_equal(read_image(data), palette[indices])


@pytest.mark.parametrize(
    ("runs", "words"),
    [(b"\x05\x01\0\0", "break off"), (b"\xff\x01\0\1", "leaves the picture"), (b"\x05\x01\0\1", "end before"),
     (b"\0\x09ab", "break off"), (b"\x05\x63\0\0\x05\x63\0\1", "not in its palette")],
)  # fmt: skip
def test_run_lengths_that_do_not_fill_the_picture_are_damage(runs: bytes, words: str) -> None:
    rows = np.frombuffer(runs, np.uint8)[None]
    data = bmp.write(rows, 5, 8, 40, palette=picture(np.uint8, 1, 16, 3)[0], compression=1, height=2)
    with pytest.raises(UserError, match=words):
        read_image(data)


def test_a_strip_that_would_unpack_to_far_more_than_the_picture_is_bounded() -> None:
    entries = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (273, 0), (277, 1), (278, 64), (279, 0)]
    bomb = zlib.compress(bytes(1 << 26), 9)
    places = {273: 8 + 2 + 12 * len(entries) + 4, 279: len(bomb)}
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, places.get(tag, value)) for tag, value in entries)
    data = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + packed + bytes(4) + bomb
    tracemalloc.start()
    with pytest.raises(UserError, match="cut off or damaged"):
        read_image(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_jpeg_strip_that_claims_more_than_its_page_is_not_decoded() -> None:
    data = encoded(Image.fromarray(picture(np.uint8, 40, 40)), "TIFF", compression="jpeg")
    frame = data.index(b"\xff\xc0", data.index(b"\xff\xd8"))
    assert read_image(data).shape == (40, 40, 3)
    hostile = data[: frame + 5] + struct.pack(">HH", 65000, 65000) + data[frame + 9 :]
    with pytest.raises(UserError, match="a strip is of another size than the header says"):
        read_image(hostile)


@pytest.mark.parametrize("name", FORMATS)
def test_a_header_that_claims_anything_is_an_error_and_never_a_crash(name: str) -> None:
    random = np.random.default_rng(0)
    for made in list(FORMATS[name].files())[::5]:
        data = bytearray(made.data)
        for _ in range(3):
            place = int(random.integers(min(len(data) - 4, 400)))
            data[place : place + 2] = random.integers(0, 256, 2, np.uint8).tobytes()
        container = identify(bytes(data))
        # A picture of a billion pixels takes its time.
        if container is None or container.size_hw is None or max(container.size_hw) > 2000:
            continue
        try:
            read = read_image(bytes(data))
        except UserError:
            continue
        assert read.ndim == 3 and read.dtype == np.uint8


def test_ordinary_files_are_read_as_opencv_reads_them() -> None:
    pixels = picture(np.uint8, 97, 131, 3)
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        data = cv2.imencode(suffix, pixels)[1]
        assert np.array_equal(read_image(data.tobytes()), cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])

"""Whatever camera and software wrote a file, the pixels come out the same, or an error names the file."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from roinspect.errors import UserError
from roinspect.images.containers import identify
from roinspect.images.pixels import (
    image_size,
    parse_size,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
    write_image,
)

LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF", ".bmp": "BMP", ".webp": "WEBP"}
quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
sides = st.integers(1, 24)
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, *shape: int, dtype: type = np.uint8) -> NDArray[np.generic]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours, which JPEG keeps, with one bright corner that shows every turn."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([40 + 100 * y / height, 60 + 80 * x / width, np.full((height, width), 90.0)], axis=2)
    image[: height // 4, : width // 3] = 250
    return image.astype(np.uint8)


def encode(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def cv_encode(suffix: str, pixels: NDArray[np.generic]) -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


@quick
@given(seed=seeds, height=sides, width=sides, suffix=st.sampled_from(LOSSLESS), grey=st.booleans())
def test_what_is_written_is_read(
    seed: int, height: int, width: int, suffix: str, grey: bool, tmp_path: Path
) -> None:
    image = noise(seed, height, width, *(() if grey else (3,)))
    path = tmp_path / f"made/on/the/way{suffix}"
    write_image(path, image)
    expected = np.repeat(image[..., None], 3, axis=2) if grey else image
    assert np.array_equal(read_image(path), expected)
    assert np.array_equal(read_image(path.read_bytes()), expected)
    assert image_size(path) == (height, width)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


@quick
@given(seed=seeds, height=sides, width=sides, suffix=st.sampled_from((".png", ".tif")), grey=st.booleans())
def test_sixteen_bits_are_divided_by_257_and_rounded(
    seed: int, height: int, width: int, suffix: str, grey: bool
) -> None:
    pixels = noise(seed, height, width, *(() if grey else (3,)), dtype=np.uint16)
    read = read_image(cv_encode(suffix, pixels))
    expected = np.rint(pixels / 257).astype(np.uint8)
    assert np.array_equal(read, np.repeat(expected[..., None], 3, axis=2) if grey else expected[..., ::-1])


def test_a_picture_widened_to_sixteen_bits_reads_as_itself() -> None:
    image = noise(1, 9, 7, 3)
    assert np.array_equal(read_image(cv_encode(".png", image[..., ::-1].astype(np.uint16) * 257)), image)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "deep PNG", "deep TIFF", "grey PNG"])
@quick
@given(seed=seeds, height=sides, width=sides)
def test_alpha_lays_the_picture_over_black(kind: str, seed: int, height: int, width: int) -> None:
    rgba = noise(seed, height, width, 4)
    rgba[: height // 2, :, 3] = 255
    rgba[0, 0, 3] = 0
    if kind.startswith("grey"):
        rgba[..., :3] = rgba[..., :1]
        grey_alpha = Image.merge("LA", [Image.fromarray(rgba[..., channel].copy()) for channel in (0, 3)])
        data = encode(grey_alpha, "PNG")
    elif kind.startswith("deep"):
        deep = rgba.astype(np.uint16) * 257
        data = cv_encode(".png", deep[..., [2, 1, 0, 3]]) if kind == "deep PNG" else straight_alpha_tiff(deep)
    else:
        how = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        data = encode(Image.fromarray(rgba), kind, **how)
    expected = rgba[..., :3] * (rgba[..., 3:] / 255)
    assert np.abs(read_image(data) - expected).max() <= 1
    opaque = (rgba[..., 3] == 255) | (rgba[..., 3] == 0)
    assert np.array_equal(read_image(data)[opaque], expected[opaque])
    assert np.array_equal(read_mask(data)[opaque], expected.any(axis=2)[opaque])


def straight_alpha_tiff(rgba: NDArray[np.uint16]) -> bytes:
    """The smallest sixteen-bit TIFF that declares its fourth channel as alpha not multiplied in."""
    height, width, _ = rgba.shape
    pixels = rgba.astype("<u2").tobytes()
    bits = 8 + 2 + 12 * 9 + 4
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 4, bits), (262, 3, 1, 2),
               (273, 4, 1, bits + 8), (277, 3, 1, 4), (278, 4, 1, height), (279, 4, 1, len(pixels)),
               (338, 3, 1, 2)]  # fmt: skip
    directory = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8) + directory + struct.pack("<4H", 16, 16, 16, 16) + pixels


def test_the_fourth_byte_of_a_bitmap_is_padding() -> None:
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + 24, 0, 0, 54, 40, 3, -2, 1, 32, 0, 24, 0, 0, 0, 0)
    bgrx = noise(4, 2, 3, 4)
    bgrx[..., 3] = 0
    assert np.array_equal(read_image(header + bgrx.tobytes()), bgrx[..., 2::-1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_mode_keeps_the_picture(mode: str, kind: str) -> None:
    picture = Image.fromarray(photograph(20, 31))
    if mode == "I;16":
        grey = np.asarray(picture.convert("L"))
        stored, expected = Image.fromarray(grey.astype(np.uint16) * 257), Image.fromarray(grey).convert("RGB")
    else:
        stored = picture.convert(mode)
        expected = stored.convert("RGB")
    read = read_image(encode(stored, kind))
    assert read.shape == (20, 31, 3) and read.dtype == np.uint8 and read.flags.c_contiguous
    assert np.array_equal(read, np.asarray(expected))


def test_a_palette_with_a_transparent_colour_turns_black_there() -> None:
    palette = Image.fromarray((np.arange(12, dtype=np.uint8) % 3).reshape(3, 4))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    read = read_image(encode(palette, "PNG", transparency=1))
    expected = np.array([[255, 0, 0], [0, 0, 0], [0, 0, 255]])[np.asarray(palette)]
    assert np.array_equal(read, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_exif_turns_the_picture_upright(orientation: int, kind: str, mode: str, tmp_path: Path) -> None:
    if (kind, mode) == ("JPEG", "RGBA"):
        mode = "CMYK"
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    exif[0x0112] = orientation
    stored = Image.fromarray(photograph(40, 64)).convert(mode)
    how: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    data = encode(stored, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else how))
    turns = {2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (4,), 7: (6,), 8: (2,)}  # PIL's transpositions
    upright = stored.convert("RGB")
    for turn in turns.get(orientation, ()):
        upright = upright.transpose(Image.Transpose(turn))
    read = read_image(data)
    assert read.shape == (upright.height, upright.width, 3)
    tolerance = 12 if kind == "JPEG" else 0
    assert np.abs(read.astype(int) - np.asarray(upright)).mean() <= tolerance / 4
    (tmp_path / "image").write_bytes(data)
    assert image_size(tmp_path / "image") == read.shape[:2]
    assert read_mask(data).shape == read.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_turns_sixteen_bit_pictures_too(orientation: int, kind: str) -> None:
    grey = photograph(20, 32)[..., 0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = encode(Image.fromarray(grey.astype(np.uint16) * 257), kind, exif=exif)
    assert np.array_equal(read_image(deep), read_image(encode(Image.fromarray(grey), kind, exif=exif)))


@pytest.mark.parametrize("order", ["<", ">"])
@quick
@given(junk=st.binary(max_size=80))
def test_a_broken_exif_block_is_passed_over(order: str, junk: bytes) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    picture = photograph(16, 24)
    for block in (junk, mark + junk, mark + struct.pack(f"{order}I", 8) + junk):
        data = encode(Image.fromarray(picture), "PNG", exif=block)
        assert sorted(read_image(data).shape) == [3, 16, 24]


def test_multi_page_and_animated_files_give_their_first_picture() -> None:
    pages = [Image.fromarray(noise(seed, 12, 18, 3)) for seed in range(3)]
    for kind, how in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = encode(pages[0], kind, save_all=True, append_images=pages[1:], **how)
        assert np.array_equal(read_image(data), np.asarray(pages[0])), kind


@quick
@given(fraction=st.floats(0, 1, exclude_max=True), suffix=st.sampled_from(sorted(FORMATS)), big=st.booleans())
def test_a_file_cut_off_anywhere_is_an_error_that_names_it(
    fraction: float, suffix: str, big: bool, tmp_path: Path
) -> None:
    size = (150, 200) if big else (9, 11)
    whole = encode(Image.fromarray(noise(3, *size, 3)), FORMATS[suffix])
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * fraction)])
    for read in (read_image, read_mask, image_size):
        with pytest.raises(UserError) as caught:
            read(path)
        assert caught.value.where == str(path) and caught.value.remedy and "\n" not in str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 3, 10, 50, 300, 1000])
def test_a_jpeg_cut_off_late_is_found_even_with_a_whole_thumbnail_inside(
    progressive: bool, missing: int
) -> None:
    thumbnail = encode(Image.fromarray(photograph(20, 30)), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 1
    whole = encode(
        Image.fromarray(noise(5, 120, 160, 3)),
        "JPEG",
        progressive=progressive,
        exif=exif.tobytes() + thumbnail,
        comment=b"\xff\xd9",
    )
    assert read_image(whole).shape == (120, 160, 3)
    with pytest.raises(UserError, match="cut off or damaged"):
        read_image(whole[:-missing])
    with pytest.raises(UserError, match="cut off or damaged"):
        read_image(whole[:-missing] + bytes(missing))


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_trailing_bytes_do_no_harm(suffix: str) -> None:
    whole = encode(Image.fromarray(photograph(30, 40)), FORMATS[suffix])
    for trailing in (b"\0" * 40, b"maker's notes", b"\xff\xd8\xff", b"\xff\xd9" * 4):
        assert np.array_equal(read_image(whole + trailing), read_image(whole))


@quick
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_in_a_png_is_found(position: float, bit: int) -> None:
    whole = bytearray(encode(Image.fromarray(photograph(20, 30)), "PNG"))
    whole[int(position * len(whole))] ^= 1 << bit
    with pytest.raises(UserError):
        read_image(bytes(whole))


@quick
@given(
    data=st.binary(max_size=300),
    kind=st.sampled_from([b"", *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM", b"II*\0")]),
)
def test_junk_is_an_error_and_never_a_crash(data: bytes, kind: bytes) -> None:
    identify(kind + data)
    with pytest.raises(UserError, match="image bytes"):
        read_image(kind + data)


@quick
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
       suffix=st.sampled_from(sorted(FORMATS)))  # fmt: skip
def test_a_damaged_file_gives_an_image_or_an_error(flips: list[tuple[float, int]], suffix: str) -> None:
    whole = bytearray(encode(Image.fromarray(photograph(30, 40)), FORMATS[suffix]))
    for position, value in flips:
        whole[int(position * len(whole))] = value
    try:
        image = read_image(bytes(whole))
    except UserError:
        return
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


def test_a_huge_size_in_the_header_is_an_error() -> None:
    whole = bytearray(encode(Image.fromarray(photograph(4, 4)), "PNG"))
    header = struct.pack(">II", 2**31 - 1, 2**31 - 1) + bytes(whole[24:29])
    whole[16:29] = header
    whole[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(UserError, match="2,147,483,647 x 2,147,483,647 pixels are more than can be decoded"):
        read_image(bytes(whole))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_values_that_count_from_white_are_turned(depth: type[np.uint8] | type[np.uint16]) -> None:
    most = np.iinfo(depth).max
    grey = np.linspace(0, most, 12 * 16).astype(depth).reshape(12, 16)
    from_black = cv_encode(".tif", grey)
    tag = from_black.index(struct.pack("<HHI", 0x0106, 3, 1)) + 8
    from_white = from_black[:tag] + struct.pack("<H", 0) + from_black[tag + 2 :]
    assert np.array_equal(read_image(from_white), read_image(cv_encode(".png", most - grey)))


def test_every_sixteen_bit_value_is_rounded() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(read_image(cv_encode(".png", values))[..., 0], (values.astype(int) + 128) // 257)


def test_a_path_that_can_be_none_is_told() -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_image("a\0b.png")


@pytest.mark.parametrize("what", ["missing", "folder", "empty", "text", "gif", "float"])
def test_what_is_no_image_is_named(what: str, tmp_path: Path) -> None:
    path = tmp_path / "part.tif"
    if what == "folder":
        path.mkdir()
    elif what == "float":
        path.write_bytes(cv_encode(".tif", np.ones((4, 4), np.float32)))
    elif what != "missing":
        gif = encode(Image.fromarray(photograph(4, 4)), "GIF")
        path.write_bytes({"empty": b"", "text": b"not a picture", "gif": gif}[what])
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert caught.value.where == str(path) and caught.value.remedy


def test_reading_says_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in FORMATS.values():
        whole = encode(Image.fromarray(noise(7, 60, 60, 3)), kind)
        for part in (whole, whole[: len(whole) // 2], whole[:-1]):
            with contextlib.suppress(UserError):
                read_image(part)
    assert capfd.readouterr().err == ""


@quick
@given(seed=seeds, value=st.integers(1, 65535), suffix=st.sampled_from((".png", ".tif")))
def test_any_value_above_zero_marks_a_mask_at_any_depth(seed: int, value: int, suffix: str) -> None:
    mask = noise(seed, 7, 9, dtype=np.uint8) % 2
    assert np.array_equal(read_mask(cv_encode(suffix, mask.astype(np.uint16) * value)), mask)
    coloured = np.zeros((7, 9, 3), np.uint8)
    coloured[..., seed % 3] = mask * max(value % 256, 1)
    assert np.array_equal(read_mask(cv_encode(suffix, coloured)), mask)


def test_masks_with_palette_alpha_or_floats() -> None:
    mask = noise(2, 8, 8) % 2
    palette = Image.fromarray(mask)
    palette.putpalette([0, 0, 0, 128, 0, 0])
    assert np.array_equal(read_mask(encode(palette, "PNG")), mask)
    white = np.concatenate([np.full((8, 8, 3), 255, np.uint8), mask[..., None] * 255], axis=2)
    assert np.array_equal(read_mask(encode(Image.fromarray(white), "PNG")), mask)
    assert np.array_equal(read_mask(cv_encode(".tif", mask.astype(np.float32) * 0.25)), mask)
    assert np.array_equal(read_mask(encode(Image.fromarray(mask * 255).convert("1"), "PNG")), mask)


def test_jpeg_halos_are_no_mask() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:41, 11:39] = 1
    assert np.array_equal(read_mask(encode(Image.fromarray(mask * 255), "JPEG", quality=90)), mask)


@quick
@given(seed=seeds, height=sides, width=sides, target=st.tuples(sides, sides), grey=st.booleans())
def test_resizing_keeps_range_type_and_flat_colours(
    seed: int, height: int, width: int, target: tuple[int, int], grey: bool
) -> None:
    image = noise(seed, height, width, *(() if grey else (3,)))
    resized = resize_image(image, target)
    assert resized.shape == target + image.shape[2:] and resized.dtype == np.uint8
    assert image.min() <= resized.min() and resized.max() <= image.max()
    flat = np.full_like(image, seed % 256)
    assert (resize_image(flat, target) == seed % 256).all()


@quick
@given(
    seed=seeds,
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    times=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_shrinking_is_the_mean_of_the_area(
    seed: int, height: int, width: int, times: tuple[int, int]
) -> None:
    image = noise(seed, height * times[0], width * times[1])
    blocks = image.reshape(height, times[0], width, times[1]).mean(axis=(1, 3))
    assert np.abs(resize_image(image, (height, width)) - blocks).max() <= 0.51
    mask = image % 2
    share = mask.reshape(height, times[0], width, times[1]).mean(axis=(1, 3))
    expected = share >= 0.5 if (share >= 0.5).any() else share > 0
    assert np.array_equal(resize_mask(mask, (height, width)), expected)


def test_shrinking_one_axis_while_the_other_grows_does_not_alias() -> None:
    stripes = np.tile(np.array([[0], [255]], np.uint8), (32, 8))
    assert np.abs(resize_image(stripes, (4, 16)).astype(int) - 128).max() <= 1


@quick
@given(seed=seeds, height=sides, width=sides, target=st.tuples(sides, sides), count=st.integers(0, 3))
def test_a_mask_never_vanishes_nor_appears(
    seed: int, height: int, width: int, target: tuple[int, int], count: int
) -> None:
    mask = np.zeros(height * width, np.uint8)
    mask[np.random.default_rng(seed).integers(0, mask.size, count)] = 1
    resized = resize_mask(mask.reshape(height, width), target)
    assert resized.shape == target and resized.dtype == np.uint8 and set(np.unique(resized)) <= {0, 1}
    assert resized.any() == mask.any()
    assert resize_mask(np.ones((height, width), np.uint8), target).all()


@given(height=st.integers(1, 16384), width=st.integers(1, 16384), sign=st.sampled_from("xX"))
def test_sizes_are_height_by_width(height: int, width: int, sign: str) -> None:
    assert parse_size(f"{height}{sign}{width}") == (height, width)
    assert parse_size(f" {height} ") == (height, height)


@pytest.mark.parametrize(
    "text", ["", "x", "0", "256x", "x256", "-4x8", "12x0", "1x2x3", "3.5", "99999", "a", "²"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize("name", ["a", "a.txt", "a.jpg/b.png"])
def test_writing_where_it_cannot_be_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a file, no folder")
    with pytest.raises(UserError):
        write_image(tmp_path / name, photograph(4, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_format_that_cannot_hold_the_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PNG"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 2), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, photograph(4, 4))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="No space left"):
        write_image(path, photograph(8, 8))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_threads_may_write_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    threads = [threading.Thread(target=write_image, args=(path, photograph(40, 40))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(read_image(path), photograph(40, 40)) and list(tmp_path.iterdir()) == [path]

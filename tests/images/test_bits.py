"""Values of 10, 12 or 14 bits in 16-bit files: read in full where the file or the user says so."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from roinspect import Inspector, UserError
from roinspect.images.pixels import read_image, read_mask, write_image
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.prediction import Prediction

HW = (64, 64)
SENSORS = (10, 12, 14)


def ramp(bits: int) -> NDArray[np.uint16]:
    """Every value that 12 bits hold once, or as evenly over more or fewer bits."""
    return np.linspace(0, (1 << bits) - 1, 4096).round().astype(np.uint16).reshape(HW)


def png(pixels: NDArray[np.uint16], sbit: bytes = b"") -> bytes:
    data = bytes(cv2.imencode(".png", pixels)[1].tobytes())
    content = b"sBIT" + sbit
    chunk = struct.pack(">I", len(sbit)) + content + struct.pack(">I", zlib.crc32(content))
    # Behind the header.
    return data[:33] + chunk + data[33:] if sbit else data


def tiff(pixels: NDArray[np.uint16], *tags: tuple[int, str, int, object], **how: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, extratags=[(*tag, True) for tag in tags], **how)
    return buffer.getvalue()


def levels(image: NDArray[np.uint8]) -> int:
    return len(np.unique(image))


# -- what the user says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", SENSORS)
@pytest.mark.parametrize("write", [png, tiff])
def test_the_highest_of_so_many_bits_is_white_and_all_grey_levels_are_there(write, bits: int) -> None:  # type: ignore[no-untyped-def]
    data = write(ramp(bits))
    assert levels(read_image(data)) == (5, 17, 65)[SENSORS.index(bits)]
    read = read_image(data, bits)
    assert levels(read) == 256 and (read.min(), read.max()) == (0, 255)
    exact = np.rint(ramp(bits) * (255 / ((1 << bits) - 1)))
    assert np.array_equal(read, np.repeat(exact[..., None], 3, axis=2))


def test_colours_are_read_alike() -> None:
    colours = np.dstack([ramp(12), ramp(12)[::-1], ramp(12).T])
    read = read_image(png(colours), 12)
    grey = read_image(png(ramp(12)), 12)[..., 0]
    assert np.array_equal(read, np.dstack([grey.T, grey[::-1], grey]))


def test_files_of_eight_bits_are_read_as_ever() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*HW, 3)).astype(np.uint8)
    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp"):
        data = cv2.imencode(suffix, image)[1].tobytes()
        assert np.array_equal(read_image(data, 12), read_image(data))


@pytest.mark.parametrize("opaque", [4095, 65535])
def test_alpha_fills_the_bits_of_the_colours_or_all(opaque: int) -> None:
    colours = np.dstack([ramp(12)] * 3)
    clear = np.full(HW, opaque, np.uint16)
    clear[:, :9] = 0
    read = read_image(png(np.dstack([colours, clear])), 12)
    assert not read[:, :9].any()
    assert np.array_equal(read[:, 9:], read_image(png(colours), 12)[:, 9:])


def test_a_higher_value_is_refused_by_the_files_name(tmp_path: Path) -> None:
    pixels = ramp(12)
    pixels[3, 4] = 4096
    write_image(tmp_path / "part.png", pixels)
    with pytest.raises(
        UserError, match=r"part\.png: a value of 4,096 is more than 12 bits hold \(4,095\).*--bits"
    ):
        read_image(tmp_path / "part.png", 12)
    assert read_image(tmp_path / "part.png", 14).max() == 64
    # What the file says does not make up for it: the user has said something else.
    with pytest.raises(UserError, match="a value of 4,096 is more than 12 bits hold"):
        read_image(tiff(pixels, (281, "H", 1, 16383)), 12)


# -- what the file says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", SENSORS)
@pytest.mark.parametrize("tag", [281, 341])
@pytest.mark.parametrize("form", ["H", "I"])
@pytest.mark.parametrize("how", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"compression": "zlib"}])
def test_a_tiffs_highest_value_is_believed(bits: int, tag: int, form: str, how: dict[str, object]) -> None:
    data = tiff(ramp(bits), (tag, form, 1, (1 << bits) - 1), **how)
    assert np.array_equal(read_image(data), read_image(tiff(ramp(bits)), bits))


def test_so_it_is_of_colours_that_are_told_alike() -> None:
    colours = np.dstack([ramp(12), ramp(12)[::-1], ramp(12).T])
    plain = tiff(colours, photometric="rgb")
    for told, is_believed in (((4095,) * 3, True), ((4095, 4095, 1023), False)):
        data = tiff(colours, (281, "H", 3, told), photometric="rgb")
        assert np.array_equal(read_image(data), read_image(plain, 12 if is_believed else 16))


@pytest.mark.parametrize(
    "tags",
    [
        [(281, "H", 1, 3000)],
        [(281, "H", 1, 65535)],
        [(281, "H", 1, 1023)],
        [(281, "H", 1, 0)],
        [(341, "f", 1, 4095.0)],
        [(281, "s", 4, "4095")],
        [(281, "H", 9, (4095,) * 9)],
    ],
)
def test_another_number_in_a_tiff_says_nothing(tags: list[tuple[int, str, int, object]]) -> None:
    assert np.array_equal(read_image(tiff(ramp(12), *tags)), read_image(tiff(ramp(12))))


@pytest.mark.parametrize("bits", SENSORS)
def test_an_sbit_is_believed_where_the_values_are_evidently_right_aligned(bits: int) -> None:
    assert np.array_equal(read_image(png(ramp(bits), bytes([bits]))), read_image(png(ramp(bits)), bits))
    colours = np.dstack([ramp(bits)] * 3)
    assert np.array_equal(read_image(png(colours, bytes([bits] * 3))), read_image(png(colours), bits))


def scaled(values: NDArray[np.uint16], bits: int) -> list[NDArray[np.uint16]]:
    """The three ways of the standard: by a shift, by repeating the highest bits, by the ratio."""
    wide = values.astype(np.uint64)
    return [
        way.astype(np.uint16)
        for way in (
            wide << 16 - bits,
            wide << 16 - bits | wide >> 2 * bits - 16,
            np.rint(wide * (65535 / ((1 << bits) - 1))),
        )
    ]


@pytest.mark.parametrize("bits", SENSORS)
@pytest.mark.parametrize("is_dark", [False, True])
def test_a_left_aligned_png_is_read_as_ever_however_dark(bits: int, is_dark: bool) -> None:
    # A dark one has no value above what the bits hold at the low end.
    values = ramp(bits) >> 16 - bits if is_dark else ramp(bits)
    for pixels in scaled(values, bits):
        assert not is_dark or pixels.max() < 1 << bits
        assert np.array_equal(read_image(png(pixels, bytes([bits]))), read_image(png(pixels)))


@pytest.mark.parametrize(
    ("pixels", "sbit"),
    [
        (ramp(16), b"\x0c"),
        (ramp(12), b"\x0b"),
        (ramp(12), b"\x10"),
        (ramp(12), b"\0"),
        (ramp(12), b"\xff"),
        (np.dstack([ramp(12)] * 3), b"\x0c\x0c\x0a"),
        (np.dstack([ramp(12)] * 4), b"\x0c\x0c\x0c\x0c"),
    ],
)
def test_another_sbit_says_nothing(pixels: NDArray[np.uint16], sbit: bytes) -> None:
    assert np.array_equal(read_image(png(pixels, sbit)), read_image(png(pixels)))


def test_a_mask_marks_what_is_above_zero_whatever_the_file_says() -> None:
    data = tiff(ramp(12), (281, "H", 1, 4095))
    assert np.array_equal(read_mask(data), (ramp(12) > 0).astype(np.uint8))


# -- the same for a model, wherever its photographs come from ------------------------------------------------


def brightness(images: NDArray[np.uint8]) -> Prediction:
    maps = images.mean(axis=3, dtype=np.float32) / np.float32(255)
    nothing = np.zeros(len(maps), np.float32)
    return Prediction(maps.max(axis=(1, 2)), maps, np.ones((len(maps), 1, 1), np.float32), nothing)


def manifest(bits: int) -> Bundle:
    return Bundle("fake", {}, HW, Threshold(0.5, "chosen"), bits=bits)


@pytest.mark.parametrize("write", [png, tiff])
def test_a_file_its_bytes_and_its_pixels_get_one_verdict(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data, path = write(ramp(12)), tmp_path / "part"
    path.write_bytes(data)
    inspector = Inspector(manifest(12), brightness)
    verdicts = [inspector.inspect(given) for given in (path, data, read_image(path, 12))]
    verdicts += inspector.inspect_many([path, data])
    assert {verdict.pred_score for verdict in verdicts} == {1.0}
    assert all(verdict.is_defect for verdict in verdicts)
    # Without, the brightest part passes for a dark one.
    assert Inspector(manifest(16), brightness).inspect(path).is_defect is False


def test_over_http_too(tmp_path: Path) -> None:
    for needed in ("fastapi", "prometheus_client", "httpx"):
        pytest.importorskip(needed)
    from fastapi.testclient import TestClient

    from roinspect.server.app import create_app
    from roinspect.server.served_models import ServedModel
    from roinspect.server.service import Service
    from roinspect.server.settings import ServeSettings

    (tmp_path / "bundle.json").write_text("a")
    model = ServedModel("a", tmp_path, lambda copy: Inspector(manifest(12), brightness))
    with TestClient(create_app(Service({"a": model}, ServeSettings(workers=1)))) as client:
        for data in (png(ramp(12)), tiff(ramp(12))):
            row = client.post("/inspect", content=data).json()
            assert row["pred_score"] == pytest.approx(1.0) and row["is_defect"]
        refused = client.post("/inspect", content=png(ramp(16)))
        assert refused.status_code == 422 and "more than 12 bits hold" in refused.text

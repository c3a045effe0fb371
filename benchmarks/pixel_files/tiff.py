"""TIFF as tifffile, Pillow and OpenCV write it: every layout, depth, compression, byte order, orientation."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from itertools import product
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from pixel_files.made import Made, encoded, picture, pillows, shown

HAS_CODECS = importlib.util.find_spec("imagecodecs") is not None
ORIENTATION = 274
PREDICTED = ("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
_EVERY = (None, *PREDICTED, "packbits", "zstd", "lzma")
# Supported compressions by mode: Pillow's memory is corrupted if libtiff rejects one.
PACKINGS = {
    "1": (*_EVERY, "group3", "group4", "tiff_ccitt"),
    "L": (*_EVERY, "jpeg"),
    "RGB": (*_EVERY, "jpeg"),
    "": _EVERY,
}


def files() -> Iterator[Made]:
    yield from _by_tifffile()
    yield from _by_pillow()
    yield from _by_opencv()
    yield from _previews()


def _written(pixels: NDArray[Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **how)
    return buffer.getvalue()


def _by_tifffile() -> Iterator[Made]:
    hw = 37, 50
    packings = [None, "zlib", "lzma"] + (["lzw", "packbits", "zstd"] if HAS_CODECS else [])
    layouts: dict[str, dict[str, Any]] = {
        "one strip": {},
        "strips": {"rowsperstrip": 5},
        "tiles": {"tile": (16, 32)},
    }
    for dtype, channels, planar, packing, layout, order, big in product(
        (np.uint8, np.uint16), (1, 3, 4), ("contig", "separate"), packings, layouts, "<>", (False, True)
    ):
        if planar == "separate" and channels == 1:
            continue
        pixels = picture(dtype, *hw, *((channels,) if channels > 1 else ()))
        stored = np.moveaxis(pixels, 2, 0) if planar == "separate" else pixels
        how: dict[str, Any] = {"photometric": "minisblack" if channels == 1 else "rgb", "byteorder": order}
        if channels > 1:
            how["planarconfig"] = planar
        if channels == 4:
            how["extrasamples"] = ["unassalpha"]
        colours = pixels[..., :3] if channels > 1 else pixels
        truth = shown(np.ascontiguousarray(colours), pixels[..., 3] if channels == 4 else None)
        name = f"{dtype.__name__}, {channels} channels, {planar}, {packing}, {layout}, {order}"
        name += ", BigTIFF" * big
        predictors = (False, True) if packing and HAS_CODECS else (False,)
        for predictor in predictors:
            data = _written(
                stored, compression=packing, bigtiff=big, predictor=predictor, **how, **layouts[layout]
            )
            yield Made("TIFF", f"{name}{', predictor' * predictor}", data, truth, int(channels == 4))
    for dtype, photometric, big, order, layout in product(
        (np.uint8, np.uint16), ("minisblack", "miniswhite"), (False, True), "<>", layouts
    ):
        pixels = picture(dtype, *hw)
        right = pixels if photometric == "minisblack" else np.iinfo(dtype).max - pixels
        data = _written(pixels, photometric=photometric, bigtiff=big, byteorder=order, **layouts[layout])
        yield Made(
            "TIFF",
            f"{dtype.__name__} {photometric}, {layout}, {order}{', BigTIFF' * big}",
            data,
            shown(right),
        )
    for dtype, channels, orientation in product((np.uint8, np.uint16), (1, 3), range(1, 9)):
        pixels = picture(dtype, *hw, *((channels,) if channels > 1 else ()))
        data = _written(pixels, photometric="minisblack" if channels == 1 else "rgb", metadata=None,
                        extratags=[(ORIENTATION, 3, 1, orientation, True)])  # fmt: skip
        truth = shown(pixels, None, orientation)
        yield Made("TIFF", f"{dtype.__name__}, {channels} channels, orientation {orientation}", data, truth)
    for dtype, alpha, channels in product(
        (np.uint8, np.uint16), ("unassalpha", "assocalpha", "unspecified"), (2, 4)
    ):
        pixels = picture(dtype, *hw, channels)
        kind = "minisblack" if channels == 2 else "rgb"
        data = _written(pixels, photometric=kind, extrasamples=[alpha], planarconfig="contig")
        colours = np.ascontiguousarray(pixels[..., 0] if channels == 2 else pixels[..., :3])
        truth = shown(colours, pixels[..., -1] if alpha == "unassalpha" else None)
        yield Made("TIFF", f"{dtype.__name__}, {channels} channels, {alpha}", data, truth, 1)
    for dtype in (np.int8, np.int16, np.uint32, np.int32, np.float16, np.float32, np.float64):
        pixels = (picture(np.uint8, *hw) // 2).astype(dtype)
        for packing in (None, "zlib"):
            yield Made("TIFF", f"{dtype.__name__}, {packing}", _written(pixels, compression=packing), None)
    for size in (5, 6):
        pixels = picture(np.uint8, *hw, size)
        data = _written(pixels, photometric="minisblack", planarconfig="contig")
        yield Made("TIFF", f"{size} channels", data, shown(np.ascontiguousarray(pixels[..., 0])))
    palette = picture(np.uint16, 1, 256, 3, seed=3)[0]
    indices = picture(np.uint8, *hw)
    data = _written(indices, photometric="palette", colormap=palette.T)
    yield Made("TIFF", "palette", data, (palette >> 8).astype(np.uint8)[indices])
    if HAS_CODECS:
        for packing, dtype in product(
            ("jpeg2000", "png", "webp", "jpegxl", "lerc", "jpeg"), (np.uint8, np.uint16)
        ):
            pixels = picture(dtype, *hw, 3)
            if (packing, dtype) in (("webp", np.uint16), ("jpeg", np.uint16)):
                continue
            data = _written(pixels, photometric="rgb", compression=packing)
            truth = shown(tifffile.imread(io.BytesIO(data)))
            yield Made("TIFF", f"{dtype.__name__}, {packing} compression", data, truth, 0)


def _by_pillow() -> Iterator[Made]:
    rgb = Image.fromarray(picture(np.uint8, 37, 51, 3))
    rgba = Image.fromarray(picture(np.uint8, 37, 51, 4))
    modes = {
        "1": rgb.convert("1"),
        "L": rgb.convert("L"),
        "LA": rgba.convert("LA"),
        "P": rgb.quantize(64),
        "RGB": rgb,
        "RGBA": rgba,
        "CMYK": rgb.convert("CMYK"),
        "YCbCr": rgb.convert("YCbCr"),
        "I;16": Image.fromarray(picture(np.uint16, 37, 51)),
    }
    packings = dict.fromkeys(packing for some in PACKINGS.values() for packing in some)
    for (mode, image), packing, rows, predictor, big in product(
        modes.items(), packings, (0, 8), (1, 2), (False, True)
    ):
        if packing not in PACKINGS.get(mode, PACKINGS[""]) or (predictor == 2 and packing not in PREDICTED):
            continue
        if predictor == 2 and mode == "1":
            continue
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        if predictor == 2:
            tags[317] = 2
        if rows:
            tags[278] = rows
        try:
            data = encoded(image, "TIFF", compression=packing, tiffinfo=tags, big_tiff=big)
        except (OSError, RuntimeError, ValueError, KeyError):
            continue  # This build of libtiff cannot write such files.
        if mode == "I;16":
            truth = shown(np.asarray(image))
        elif packing == "jpeg":
            truth = pillows(data)
        else:
            wide = np.asarray(image.convert("RGBA"))
            truth = shown(wide[..., :3], wide[..., 3])
        name = f"Pillow's {mode}, {packing}{', predictor' * (predictor == 2)}"
        name += ", strips" * bool(rows) + ", BigTIFF" * big
        yield Made("TIFF", name, data, truth, int(mode in ("RGBA", "LA", "CMYK")))


def _by_opencv() -> Iterator[Made]:
    for dtype, channels, packing, predictor, rows in product(
        (np.uint8, np.uint16), (1, 3, 4), (1, 5, 8, 32773, 32946), (1, 2), (3, 100)
    ):
        pixels = picture(dtype, 37, 51, *((channels,) if channels > 1 else ()))
        stored = pixels if channels == 1 else np.ascontiguousarray(pixels[..., [2, 1, 0, 3][:channels]])
        how = [cv2.IMWRITE_TIFF_COMPRESSION, packing, cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows]
        if packing in (5, 8, 32946):
            how += [cv2.IMWRITE_TIFF_PREDICTOR, predictor]
        elif predictor == 2:
            continue
        written, data = cv2.imencode(".tif", stored, how)
        if not written:
            continue
        # OpenCV declares no alpha, so the fourth channel is not alpha.
        truth = shown(np.ascontiguousarray(pixels[..., :3] if channels > 1 else pixels))
        name = (
            f"OpenCV's {dtype.__name__}, {channels} channels, {packing}, predictor {predictor}, {rows} rows"
        )
        yield Made("TIFF", name, data.tobytes(), truth)


def _previews() -> Iterator[Made]:
    for dtype, big, count in product((np.uint8, np.uint16), (False, True), (1, 3)):
        pixels = picture(dtype, 37, 50, 3)
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer, bigtiff=big) as file:
            for _ in range(count):
                file.write(np.ascontiguousarray(pixels[::4, ::4]), photometric="rgb", subfiletype=1)
            file.write(pixels, photometric="rgb")
        name = f"{dtype.__name__}, {count} previews first{', BigTIFF' * big}"
        yield Made("TIFF", name, buffer.getvalue(), shown(pixels))
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer, bigtiff=big) as file:
            file.write(np.ascontiguousarray(pixels[::4, ::4]), photometric="rgb", subfiletype=1, subifds=1)
            file.write(pixels, photometric="rgb")
        yield Made(
            "TIFF", f"{dtype.__name__}, below a preview{', BigTIFF' * big}", buffer.getvalue(), shown(pixels)
        )

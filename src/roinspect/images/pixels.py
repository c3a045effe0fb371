"""Decode, resize and write images, for training and production alike.

Supports 8-bit and 16-bit PNG, JPEG, TIFF, BMP and WebP files in grey, RGB, with a palette or with alpha, and
applies the EXIF orientation. Of an animation the still image or else the first frame is used, of a file with
several pages the first page that is not a preview.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.files import read_file, write_whole
from roinspect.images.containers import (
    MOST_PIXELS,
    Container,
    DamagedError,
    UnsupportedError,
    decode,
    identify,
)
from roinspect.images.formats.container import Decoded, Pixels
from roinspect.images.formats.significant import SENSOR_BITS

Value = TypeVar("Value", bound=np.integer[Any] | np.floating[Any])

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp"})

BITS = (*SENSOR_BITS, 16)
"""Possible numbers of significant bits in 16-bit files."""


MOST_SIDE = 16384
"""Longest side of a size to which images are resized."""


class SixteenBit(NamedTuple):
    """Range of a 16-bit image: its highest colour value, and the number of bits it declares."""

    highest: int
    bits: int


# A damaged file raises a UserError that names it; OpenCV's own messages on stderr do not name the file.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_image(source: Path | str | bytes, bits: int = 16, *, name: object = None) -> NDArray[np.uint8]:
    """Read an image as RGB.

    16-bit values are divided by 257 and rounded; values with fewer significant bits are scaled likewise, so
    that their maximum becomes 255. Transparent areas become black; the fourth byte of a BMP and the alpha of
    a grey TIFF are ignored.

    Args:
        source: a path, or the content of an encoded file as bytes.
        bits: number of significant bits in a 16-bit file, one of `BITS`; with 16 the file's own declaration
            applies if its values are consistent with it. 8-bit files are not affected.
        name: name of the file in errors; None takes the source.

    Returns:
        Array (H, W, 3), uint8 in [0, 255], RGB, upright.

    Raises:
        UserError: the file cannot be read, is truncated or damaged, has an unsupported format or depth, or a
            value does not fit into `bits`.
    """
    where = _name(source) if name is None else str(name)
    pixels, _, declared = _decode(_read(source), where, bits)
    if pixels.dtype not in (np.uint8, np.uint16):
        what = {"i": "signed integers", "u": "unsigned integers"}.get(pixels.dtype.kind, "floating point")
        raise UserError(
            f"pixels of {8 * pixels.dtype.itemsize}-bit {what} are not supported",
            where=where,
            remedy="save it as unsigned 8 or 16 bit",
        )
    if pixels.dtype == np.uint16:
        if bits < 16:
            _refuse_above(pixels, bits, where)
        maximum = (1 << (bits if bits < 16 else declared)) - 1
        # Rounds (there are no ties), in a single pass because the image may be large.
        pixels = cv2.convertScaleAbs(np.ascontiguousarray(pixels), alpha=255 / maximum)
    image = np.ascontiguousarray(pixels, np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8) if image.ndim == 2 else image


def read_mask(source: Path | str | bytes, name: object = None) -> NDArray[np.uint8]:
    """Read a mask: 1 wherever any colour channel is above zero at the file's own depth.

    Transparent areas are 0. Lossy compression (JPEG, lossy WebP, JPEG inside a TIFF) blurs the edges of a
    mask into faint halos; in such files a pixel is 1 from half brightness.

    Args:
        source: a path, or the content of an encoded file as bytes.
        name: name of the file in errors; None takes the source.

    Returns:
        Array (H, W), uint8 in {0, 1}, upright.

    Raises:
        UserError: same as `read_image`, but every depth is supported.
    """
    pixels, is_lossy, _ = _decode(_read(source), _name(source) if name is None else str(name))
    marked = pixels >= 128 if is_lossy else pixels != 0
    return np.ascontiguousarray(marked if marked.ndim == 2 else marked.any(axis=2), np.uint8)


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of the result of `read_image`; PNG and JPEG files are not decoded.

    Raises:
        UserError: the file cannot be read, is truncated or is not an image.
    """
    data = _read(path)
    declared = declared_size(data)
    if declared is None:
        height, width = _decode(data, _name(path))[0].shape[:2]
        return height, width
    return declared


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Height and width that a PNG or JPEG file declares, upright; None for other files and damaged ones."""
    container = identify(data)
    if (
        container is None
        or container.kind not in ("PNG", "JPEG")
        or not container.whole
        or container.size_hw is None
    ):
        return None
    height, width = container.size_hw
    return (width, height) if container.orientation >= 5 else (height, width)


def sixteen_bit(source: Path | str | bytes) -> SixteenBit | None:
    """Range of a 16-bit image; None for other depths, which are not decoded.

    Raises:
        UserError: same as `read_image`.
    """
    data = _read(source)
    container = identify(data)
    if container is None or container.depth != 16:
        return None
    pixels, _, bits = _decode(data, _name(source))
    # The colours of a palette have 8 bits, whatever the depth of its indices.
    return SixteenBit(int(pixels.max()), bits) if pixels.dtype == np.uint16 else None


def resize_image(image: NDArray[Value], size_hw: tuple[int, int]) -> NDArray[Value]:
    """Resize (H, W) or (H, W, C): area-averaged along shrinking axes, interpolated along growing ones.

    Returns:
        Array of the input's type; the input itself if it already has the size.
    """
    height, width = size_hw
    # Two passes, because OpenCV's area mode does not average along one axis if the other grows.
    shrunk_hw = (min(height, image.shape[0]), min(width, image.shape[1]))
    for target_hw, how in ((shrunk_hw, cv2.INTER_AREA), (size_hw, cv2.INTER_LINEAR)):
        if image.shape[:2] != target_hw:
            image = cv2.resize(image, target_hw[::-1], interpolation=how).astype(image.dtype, copy=False)
    return image


def resize_mask(mask: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a mask (H, W) in {0, 1}: a pixel is set if at least half of its area is set.

    If that would leave no pixel, every touched pixel is set, so that a non-empty mask never becomes empty.

    Returns:
        Array `size_hw`, uint8 in {0, 1}; the input itself if it already has the size.
    """
    if mask.shape == size_hw:
        return mask
    area = resize_image(mask.astype(np.float32), size_hw)
    # The tolerance makes exact halves independent of rounding in the area weights.
    resized = area >= 0.5 - 1e-4
    return (resized if resized.any() else area > 0).astype(np.uint8)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from "HEIGHTxWIDTH", or from one number for a square.

    Raises:
        UserError: the text is neither, or a side is outside [1, 16384].

    Example:
        >>> parse_size("256x640"), parse_size("256")
        ((256, 640), (256, 256))
    """
    match = re.fullmatch(r"\s*([0-9]{1,5})(?:[xX]([0-9]{1,5}))?\s*", text)
    size_hw = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(1 <= side <= MOST_SIDE for side in size_hw):
        raise UserError(
            f"{text!r} is not an image size",
            where="--size",
            remedy="give HEIGHTxWIDTH in pixels such as 256x640, or one number for a square",
        )
    return size_hw


def refuse_unknown_bits(bits: int, where: str = "--bits") -> None:
    """Raise a UserError that names `where` if `bits` is not in `BITS`."""
    if bits not in BITS:
        raise UserError(
            f"must be {', '.join(map(str, BITS[:-1]))} or {BITS[-1]}, not {bits}",
            where=where,
            remedy="give the bits that the camera's values fill; leave it out for 8-bit files",
        )


def write_image(path: Path | str, image: Pixels) -> None:
    """Write RGB (H, W, 3) or grey (H, W), uint8 or uint16, in the format of the suffix, atomically.

    Missing folders are created.

    Raises:
        UserError: same as `encode_image`, or the file cannot be written.
    """
    path = Path(path)
    write_whole(path, encode_image(image, path.suffix, path))


def encode_image(image: Pixels, suffix: str, where: object) -> bytes:
    """The bytes of an image file.

    Args:
        image: RGB (H, W, 3) or grey (H, W), uint8 or uint16.
        suffix: determines the format.
        where: the file name for errors.

    Raises:
        UserError: the suffix is not an image suffix, or the format cannot hold the array.
    """
    if suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(
            "not an image suffix", where=where, remedy=f"use one of {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    try:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
        written, encoded = cv2.imencode(suffix.lower(), np.ascontiguousarray(pixels))
    except cv2.error:
        written = False
    if not written:
        raise UserError(
            f"{suffix} cannot hold {image.dtype} pixels of shape {image.shape}",
            where=where,
            remedy="write a PNG",
        )
    return encoded.tobytes()


def _name(source: Path | str | bytes) -> str:
    return "image bytes" if isinstance(source, bytes) else str(source)


def _read(source: Path | str | bytes) -> bytes:
    return source if isinstance(source, bytes) else read_file(source)


def _refuse_above(pixels: Pixels, bits: int, where: str) -> None:
    highest, maximum = int(pixels.max()), (1 << bits) - 1
    if highest > maximum:
        raise UserError(
            f"a value of {highest:,} is more than {bits} bits hold ({maximum:,}), as --bits {bits} says",
            where=where,
            remedy="train with the --bits that the camera writes, or without where it writes all 16",
        )


def _decode(data: bytes, where: str, bits: int = 16) -> tuple[Pixels, bool, int]:
    """Decode to upright pixels over black at the file's depth, (H, W) or (H, W, 3) RGB.

    Returns the pixels, whether the compression is lossy, and the significant bits declared by the file.
    `bits` are the significant bits given by the user.
    """
    if not data:
        raise UserError("the file is empty", where=where, remedy="take or copy the photograph again")
    container = identify(data)
    if container is None:
        raise UserError(
            "not a PNG, JPEG, TIFF, BMP or WebP image", where=where, remedy="convert or remove it"
        )
    if container.size_hw and math.prod(container.size_hw) > MOST_PIXELS:
        height, width = container.size_hw
        raise UserError(
            f"{width:,} x {height:,} pixels are more than can be decoded",
            where=where,
            remedy="cut it into parts, or save it smaller",
        )
    decoded = _decoded(data, container, where)
    pixels = _upright(_over_black(decoded.pixels, bits), container.orientation)
    return pixels, decoded.is_lossy, decoded.bits


def _decoded(data: bytes, container: Container, where: str) -> Decoded:
    try:
        return decode(data, container)
    except UnsupportedError as error:
        raise UserError(str(error), where=where, remedy=error.remedy) from None
    except DamagedError as error:
        detail = f" ({error})" if str(error) else ""
        raise UserError(
            f"the {container.kind} file is cut off or damaged{detail}", where=where, remedy="copy it again"
        ) from None
    except (cv2.error, MemoryError):
        raise UserError(
            f"the {container.kind} file cannot be decoded",
            where=where,
            remedy="copy it again, or save it again",
        ) from None


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation: transpose for 5 to 8, then flip none, one or both of the axes."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _over_black(pixels: Pixels, bits: int) -> Pixels:
    """Multiply colours by the alpha channel, if there is one.

    16-bit alpha uses all 16 bits, or `bits` if its values fit into them.
    """
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    if pixels.dtype in (np.uint8, np.uint16):
        opaque = 255 if pixels.dtype == np.uint8 else 65535
        if bits < 16 and int(alpha.max()) < 1 << bits:
            opaque = min(opaque, (1 << bits) - 1)
        wide = colours.astype(np.uint32) * alpha.astype(np.uint32)
        colours = ((wide + opaque // 2) // opaque).astype(pixels.dtype)
    else:
        colours = np.where(alpha > 0, colours, np.zeros_like(colours))
    return colours[..., 0] if colours.shape[2] == 1 else colours

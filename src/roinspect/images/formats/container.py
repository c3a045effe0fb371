"""What an image file's header declares, what its decoder returns, and the two errors a decoder raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.integer[Any] | np.floating[Any]]


class DamagedError(Exception):
    """The file breaks off, or contradicts itself. The text says where; it may be empty."""


class UnsupportedError(Exception):
    """The file may be intact, but uses something that no decoder here is right for.

    Args:
        feature: what that is, such as "ZSTD compression".
        remedy: what to do instead.
    """

    def __init__(self, feature: str, remedy: str = "save it as PNG") -> None:
        super().__init__(f"{feature} is not supported")
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Container:
    """What a file's header declares.

    Attributes:
        kind: "PNG", "JPEG", "TIFF", "BMP" or "WebP".
        size_hw: stored height and width before any turn; None where only decoding tells.
        orientation: EXIF orientation, 1 to 8.
        depth: bits of a stored sample; 0 where only decoding tells.
        scans: of a JPEG, no further than to one more than `MOST_SCANS`.
        whole: False where the file ends early, a checksum fails, or it is cut up as no encoder does.
    """

    kind: str
    size_hw: tuple[int, int] | None = None
    orientation: int = 1
    depth: int = 0
    scans: int = 0
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoder's result.

    Attributes:
        pixels: (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha, at the file's
            depth, as stored: not turned. Alpha is there only where the colours are not multiplied by it.
        is_lossy: the compression blurs, so that a mask's zeros may come back slightly above zero.
        bits: that the values of 16-bit samples fill from below, where the file says so and the values agree.
    """

    pixels: Pixels
    is_lossy: bool = False
    bits: int = 16


def most_parts(data: bytes) -> int:
    """With more chunks or segments a file is damaged: no encoder cuts so small, and each costs time."""
    return 4096 + len(data) // 256

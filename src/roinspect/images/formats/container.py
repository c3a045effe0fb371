"""Types for the header and the decoded pixels of an image file, and the two errors of decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.integer[Any] | np.floating[Any]]


class DamagedError(Exception):
    """The file is truncated or inconsistent. The text gives details; it may be empty."""


class UnsupportedError(Exception):
    """The file may be intact, but uses a feature that no decoder here supports.

    Args:
        feature: the feature, such as "ZSTD compression".
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
        size_hw: stored height and width, before applying the orientation; None if not in the header.
        orientation: EXIF orientation, 1 to 8.
        depth: bits per stored sample; 0 if not in the header.
        scans: number of scans of a JPEG; counting stops at `MOST_SCANS` + 1.
        whole: False if the file ends early, a checksum fails, or it has too many parts (see `most_parts`).
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
            depth, before applying the orientation. Alpha is present only if colours are not premultiplied.
        is_lossy: the compression is lossy, so zeros of a mask may become slightly positive.
        bits: significant bits of 16-bit samples, if the file declares them and the values are consistent.
    """

    pixels: Pixels
    is_lossy: bool = False
    bits: int = 16


def most_parts(data: bytes) -> int:
    """Maximum number of chunks or segments: no encoder writes more, and each takes time to parse."""
    return 4096 + len(data) // 256

"""Image files of every kind that can be written here, each with its expected pixels.

For lossless files these are the pixels that were written, for lossy ones those that Pillow reads.
"""

from __future__ import annotations

from collections.abc import Iterator

from pixel_files.made import Made


def every_file() -> Iterator[Made]:
    """All of them, always in the same order."""
    from pixel_files import bmp, jpeg, png, tiff, webp

    for module in (png, jpeg, webp, bmp, tiff):
        yield from module.files()

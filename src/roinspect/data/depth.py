"""Values of 10, 12 or 14 bits in 16-bit files: read as they are, they leave a nearly black photograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from roinspect.errors import UserError
from roinspect.images.pixels import highest_value
from roinspect.inspection.threads import in_threads

_SENSOR_BITS = (10, 12, 14)


def shallow_warnings(images: Sequence[Path], *, workers: int = 2) -> Iterable[str]:
    """A line where no value of all 16-bit photographs needs more than 14 bits, as many cameras store them.

    Files of 8 bits are not decoded.

    Args:
        images: photographs; what cannot be read is passed over.
        workers: decoding threads.
    """

    def look(path: Path) -> int | None:
        try:
            return highest_value(path)
        except UserError:
            return None

    found = zip(images, in_threads(look, images, workers=workers, ahead=16), strict=True)
    deep = {path: value for path, value in found if value is not None}
    most = max(deep.values(), default=0)
    bits = next((bits for bits in _SENSOR_BITS if 0 < most < 1 << bits), None)
    if bits is None:
        return
    factor = 1 << 16 - bits
    first = next(iter(deep))
    others = f" ({len(deep)} such images)" if len(deep) > 1 else ""
    yield (
        f"{first}: values of {bits} bits in a 16-bit file{others}, none above {most:,}, so that at most "
        f"{256 // factor} of 256 grey levels are left; multiply them by {factor}, here and on the line, or "
        "let the camera write them left-aligned or in 8 bits"
    )

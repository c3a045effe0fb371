"""Values of 10, 12 or 14 bits in 16-bit files: read as they are, they leave a nearly black photograph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

_SENSOR_BITS = (10, 12, 14)


def shallow_warnings(values: Mapping[Path, int]) -> Iterable[str]:
    """A line where no value of all 16-bit photographs needs more than 14 bits, as many cameras store them.

    Args:
        values: the highest one of each 16-bit photograph, as `highest_value`.
    """
    most = max(values.values(), default=0)
    bits = next((bits for bits in _SENSOR_BITS if 0 < most < 1 << bits), None)
    if bits is None:
        return
    factor = 1 << 16 - bits
    first = next(iter(values))
    others = f" ({len(values)} such images)" if len(values) > 1 else ""
    yield (
        f"{first}: values of {bits} bits in a 16-bit file{others}, none above {most:,}, so that at most "
        f"{256 // factor} of 256 grey levels are left; multiply them by {factor}, here and on the line, or "
        "let the camera write them left-aligned or in 8 bits"
    )

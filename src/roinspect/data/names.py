"""Meanings of folder and file names in a data set: splits, masks, good parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

SPLITS: Final = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "test_public": "test",
}
"""Splits by their folders' names, in lower case; `test_public` is MVTec AD 2's."""

MASK_FOLDERS: Final = ("ground_truth", "masks", "mask")
"""Folders of defect masks, in lower case, wherever they lie."""

NO_CATEGORY: Final = frozenset({"roi", *MASK_FOLDERS})
IMAGE_FOLDERS: Final = frozenset({"img", "imgs", "image", "images"})
"""Folders within a category that hold its photographs, in lower case."""

MASKS_BESIDE_IMAGES: Final = frozenset({*MASK_FOLDERS, "label", "labels", "anomaly_mask"})
"""Folders of masks beside a folder of photographs within a category, as in BMAD."""

MASK_ENDINGS: Final = ("_mask", "_gt", "_label", "-mask")

GOOD: Final = ("good", "ok", "normal", "defect_free", "mt_free")
"""Names of good parts' folders or labels, unless others are given."""

_NEUTRAL = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "parts", "part", "images", "image"}
)


def is_good(name: str, good: Sequence[str] | None = None) -> bool:
    """Whether a category's name says that its parts are good, whatever its case.

    Beside a name of good parts it may hold numbers and words that say nothing of the part, as `normal_test`
    and `good-2` do. "0" always means good.

    Args:
        name: of a folder, or a label.
        good: names of good parts; None takes `GOOD`.

    Example:
        >>> [is_good(name) for name in ("Good", "normal_test", "abnormal", "not_good")]
        [True, True, False, False]
    """
    words = _words(name)
    if words == ["0"]:
        return True
    for known in GOOD if good is None else good:
        if name.strip().lower() == known.strip().lower():
            return True
        wanted = _words(known)
        for start in range(len(words) - len(wanted) + 1) if wanted else ():
            others = words[:start] + words[start + len(wanted) :]
            if words[start : start + len(wanted)] == wanted and all(
                word in _NEUTRAL or word.isdigit() for word in others
            ):
                return True
    return False


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+|(?<=[^\W\d_])(?=\d)", name.lower()) if word]


def split_of_good(name: str) -> str:
    """The split in a good folder's name, where no folder of splits says one: `normal_test` is for tests."""
    return next((SPLITS[word] for word in _words(name) if word in SPLITS), "train")


def stems_of_mask(stem: str) -> Iterator[str]:
    """What the image of a mask may be called, less its suffix: like the mask, or without its ending.

    Example:
        >>> list(stems_of_mask("pit/000_mask"))
        ['pit/000_mask', 'pit/000']
    """
    yield stem
    for ending in MASK_ENDINGS:
        if stem.lower().endswith(ending) and len(PurePosixPath(stem).name) > len(ending):
            yield stem[: -len(ending)]

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
"""Folders of defect masks, in lower case, at any level."""

NO_CATEGORY: Final = frozenset({"roi", *MASK_FOLDERS})
IMAGE_FOLDERS: Final = frozenset({"img", "imgs", "image", "images"})
"""Folders within a category that hold its photographs, in lower case."""

MASKS_BESIDE_IMAGES: Final = frozenset({*MASK_FOLDERS, "label", "labels", "anomaly_mask"})
"""Mask folders beside an image folder within a category, as in BMAD."""

MASK_ENDINGS: Final = ("_mask", "_gt", "_label", "-mask")

GOOD: Final = ("good", "ok", "normal", "defect_free", "mt_free")
"""Default names of folders or labels of good parts."""

_NEUTRAL = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "parts", "part", "images", "image"}
)


def is_good(name: str, good: Sequence[str] | None = None) -> bool:
    """Whether a category name means good parts; case does not matter.

    Besides a name in `good` it may contain numbers and neutral words, such as `normal_test` and `good-2`. "0"
    always means good.

    Args:
        name: a folder name or a label.
        good: names that mean good; None takes `GOOD`.

    Example:
        >>> [is_good(name) for name in ("Good", "normal_test", "abnormal", "not_good")]
        [True, True, False, False]
    """
    words = _words(name)
    if words == ["0"]:
        return True
    for good_name in GOOD if good is None else good:
        if name.strip().lower() == good_name.strip().lower():
            return True
        good_words = _words(good_name)
        for start in range(len(words) - len(good_words) + 1) if good_words else ():
            rest = words[:start] + words[start + len(good_words) :]
            if words[start : start + len(good_words)] == good_words and all(
                word in _NEUTRAL or word.isdigit() for word in rest
            ):
                return True
    return False


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+|(?<=[^\W\d_])(?=\d)", name.lower()) if word]


def split_of_good(name: str) -> str:
    """The split in the name of a good folder outside any split folder: `normal_test` is a test folder."""
    return next((SPLITS[word] for word in _words(name) if word in SPLITS), "train")


def stems_of_mask(stem: str) -> Iterator[str]:
    """Possible image stems for a mask stem: the mask stem itself, then without its mask ending.

    Example:
        >>> list(stems_of_mask("pit/000_mask"))
        ['pit/000_mask', 'pit/000']
    """
    yield stem
    for ending in MASK_ENDINGS:
        if stem.lower().endswith(ending) and len(PurePosixPath(stem).name) > len(ending):
            yield stem[: -len(ending)]

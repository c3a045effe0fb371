"""A data set is read once: each folder is listed once and each photograph opened once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect.data.account import account
from roinspect.data.check import check
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.images.pixels import write_image
from roinspect.methods.grdnet_settings import GrdNetSettings
from roinspect.segmenter.roi import with_roi
from roinspect.training.runs import fingerprint, fingerprints_of
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

_watchers: list[Counter[tuple[str, str]]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watchers and event in ("open", "os.listdir", "os.scandir"):
        what = "open" if event == "open" else "list"
        for counts in _watchers:
            counts[what, str(arguments[0])] += 1


# A hook stays for as long as the process lives; it counts while somebody watches.
sys.addaudithook(_hook)


@contextmanager
def watching() -> Iterator[Counter[tuple[str, str]]]:
    counts: Counter[tuple[str, str]] = Counter()
    _watchers.append(counts)
    try:
        yield counts
    finally:
        _watchers.remove(counts)


@pytest.fixture(params=["folders", "manifest"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    root, rng = tmp_path / "parts", np.random.default_rng(0)
    keys = [f"{split}/good/{number}.png" for split in ("train", "test") for number in range(6)]
    for key in keys:
        write_image(root / key, rng.integers(100, 150, (40, 40, 3), dtype=np.uint8))
        write_image(root / "roi" / key, np.full((40, 40), 255, np.uint8))
    if request.param == "manifest":
        rows = [f"{key},{key.split('/')[0]},good,roi/{key}" for key in keys]
        (root / "manifest.csv").write_text("\n".join(["image_path,split,label,roi_path", *rows]))
    return root


def opened_and_listed(counts: Counter[tuple[str, str]], root: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each photograph and mask was opened and each folder listed, by its path below the root."""
    opened, listed = Counter[str](), Counter[str]()
    for (what, name), count in counts.items():
        path = Path(name)
        if path.is_relative_to(root):
            key = path.relative_to(root).as_posix()
            if what == "list":
                listed[key] += count
            elif path.suffix == ".png":
                opened[key] += count
    return opened, listed


# In memory as well as in a file, where the cache is too large for it.
@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
def test_a_training_opens_each_photograph_once(data: Path, memory_gb: float, tmp_path: Path) -> None:
    """But the few that the bundle carries, as files, for its self-test."""
    training = TrainingSettings(
        size="64", epochs=2, batch_size=4, held_out=0.2, memory_gb=memory_gb, references=1
    )
    settings = GrdNetSettings(width=8, segmenter_width=8, latent=4)
    with watching() as counts:
        train("grdnet", data, tmp_path / "model", method_settings=settings, training=training)
    opened, listed = opened_and_listed(counts, data)
    keys = [f"train/good/{number}.png" for number in range(6)]
    carried = {key for key, count in opened.items() if count == 2}
    assert len(carried) == 1 and carried <= set(keys)
    once = dict.fromkeys([*keys, *(f"roi/{key}" for key in keys)], 1)
    assert opened == once | dict.fromkeys(carried, 2)
    assert listed and set(listed.values()) == {1}


def test_a_check_opens_each_photograph_once(data: Path) -> None:
    with watching() as counts:
        source = read_data(data)
        records = with_roi(source)
        check(records, (64, 64), files=account(source, records))
    opened, listed = opened_and_listed(counts, data)
    keys = [record.key for record in records]
    assert opened == dict.fromkeys([*keys, *(f"roi/{key}" for key in keys)], 1)
    assert listed and set(listed.values()) == {1}


@pytest.mark.parametrize("first", [1, 5])
def test_fingerprints_are_those_of_the_files_whichever_are_held_out(data: Path, first: int) -> None:
    records = with_roi(read_data(data))
    with DecodedCache(records[first:], (64, 64)) as fitted, DecodedCache(records[:first], (64, 64)) as rest:
        assert fingerprints_of(fitted, rest) == {
            "data": fingerprint(record.image_path for record in records),
            "roi": fingerprint(record.roi_path for record in records),
        }

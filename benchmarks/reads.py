"""How often `roinspect train` and `roinspect check` list a data set's folders and open its photographs.

    python benchmarks/reads.py [--photographs 2000]

Tiny synthetic photographs with an ROI mask each; each verb runs in its own process, under an audit hook.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

SIDE = 32
TINY = ("--method.width", "8", "--method.segmenter_width", "8", "--method.latent", "4")
SHORT = ("--size", "64", "--training.epochs", "1", "--training.batch_size", "64")
VERBS = {
    "train": ("train", "grdnet", "DATA", "--out", "OUT", *SHORT, *TINY),
    "check": ("check", "DATA"),
}


def counted(verb: str, data: Path, out: Path) -> dict[str, int]:
    """The accesses of a verb to the data, in its own process."""
    words = [{"DATA": str(data), "OUT": str(out)}.get(word, word) for word in VERBS[verb]]
    done = subprocess.run(
        [sys.executable, __file__, "--under", str(data), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{verb}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def run(under: str, words: list[str]) -> None:
    """Run a verb, and print the files it opened and the folders it listed below a folder."""
    listed, opened = Counter[str](), Counter[str]()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir"):
            path = str(arguments[0])
            if path.startswith(under):
                (opened if event == "open" else listed)[path] += 1

    sys.addaudithook(hook)
    from roinspect.cli import main

    code = main(words)
    photographs = {path: n for path, n in opened.items() if path.endswith(".png") and "/roi/" not in path}
    masks = {path: n for path, n in opened.items() if path.endswith(".png") and "/roi/" in path}
    counts = {
        "folders": len(listed),
        "listings": sum(listed.values()),
        "photographs": len(photographs),
        "opens of photographs": sum(photographs.values()),
        "bytes of photographs": sum(n * Path(path).stat().st_size for path, n in photographs.items()),
        "ROI masks": len(masks),
        "opens of ROI masks": sum(masks.values()),
    }
    print(json.dumps(counts))
    raise SystemExit(code)


def make(data: Path, count: int) -> None:
    """Good photographs for training and testing, each with an ROI mask."""
    from roinspect.images.pixels import write_image

    rng = np.random.default_rng(0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:24, 8:24] = 255
    for number in range(count):
        key = f"{'test' if number % 5 == 0 else 'train'}/good/{number:05}.png"
        write_image(data / key, rng.integers(100, 140, (SIDE, SIDE, 3), dtype=np.uint8))
        write_image(data / "roi" / key, mask)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--under"]:
        run(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=int, default=2000)
    count = parser.parse_args().photographs
    with tempfile.TemporaryDirectory() as place:
        data = Path(place, "data")
        make(data, count)
        for verb in VERBS:
            print(f"{verb}: {json.dumps(counted(verb, data, Path(place, 'model')))}", flush=True)

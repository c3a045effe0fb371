"""Two processes train as one with twice the batch would, leave one bundle, and end together.

The two are started twice: as torchrun starts them, for one training after another, of which the last one
fails in one of them; and by the command itself, which goes on where that one stopped. Run as a script, this
file is such a process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from torch import Tensor, nn  # noqa: E402

from roinspect.cli import main  # noqa: E402
from roinspect.data.loader import EpochSampler  # noqa: E402
from roinspect.data.reading import read_data  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.images.pixels import write_image  # noqa: E402
from roinspect.inspection.bundle import read_bundle, read_weights  # noqa: E402
from roinspect.methods.grdnet import GrdNet  # noqa: E402
from roinspect.methods.learner import Learner  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.method import predict  # noqa: E402
from roinspect.methods.roibank import RoiBank  # noqa: E402
from roinspect.segmenter.segmenter import load_segmenter, probabilities  # noqa: E402
from roinspect.training.processes import Processes, _wanted, joined  # noqa: E402
from roinspect.training.runs import refuse_differences  # noqa: E402
from roinspect.training.settings import TrainingSettings  # noqa: E402
from roinspect.training.train import prepare  # noqa: E402

METHODS = {
    "ceod": ["backbone=test_efficientnet", "weights=none", "stride=8", "block=8", "pooling=0.1"],
    "grdnet": ["width=8", "segmenter_width=8", "latent=4"],
    "roibank": [
        "backbone=test_convnext", "weights=none", "strides=[8,16]", "memory_size=60", "candidates=200",
    ],
    "segmenter": ["backbone=test_efficientnet", "weights=none", "strides=[4,8]", "width=8"],
}  # fmt: skip
SMALL = ["size=64", "accelerator=cpu", "held_out=0.1", "memory_gb=0.1"]
TWO = ["strategy=ddp", "devices=2"]
# Ten steps an epoch, so a checkpoint every fourth epoch.
LONG = ["epochs=6", "batch_size=1"]
PLAIN = ["rotation=0", "light=0"]
ONE_STEP = ["steps=1"]


def words(name: str, data: Path, out: Path, training: list[str], method: list[str]) -> list[str]:
    options = [f"--training.{option}" for option in training] + [f"--method.{option}" for option in method]
    return ["train", name, str(data), "--out", str(out), *options]


# -- one of the two processes ------------------------------------------------------------------------------


def in_one_process(data: Path, folder: Path, rank: int) -> int:
    """Train several times; what was seen and learned is kept in the folder."""
    patch = pytest.MonkeyPatch()
    for name, method in METHODS.items():
        seen = watched(patch)
        code = main(words(name, data, folder / name, [*SMALL, *TWO, "batch_size=2", "epochs=2"], method))
        torch.save({"code": code, **seen}, folder / f"{name}-{rank}.pt")
    watched(patch)
    main(words("roibank", data, folder / "long", [*SMALL, *TWO, *LONG], METHODS["roibank"]))
    for name in ("ceod", "grdnet"):
        with pytest.MonkeyPatch.context() as alike:
            seen = watched(alike, name)
            plain = [*METHODS[name], *PLAIN]
            main(words(name, data, folder / f"step-{name}", [*SMALL, *TWO, *ONE_STEP, "batch_size=2"], plain))
            torch.save(seen, folder / f"step-{name}-{rank}.pt")
    if rank == 1:
        step = RoiBank.training_step

        def broken(self: RoiBank, batch: Any, batch_index: int) -> Tensor | None:
            if (self.current_epoch, batch_index) == (4, 3):
                raise UserError("the lens is dusty", where="process 1", remedy="wipe it")
            return step(self, batch, batch_index)

        patch.setattr(RoiBank, "training_step", broken)
    return main(words("roibank", data, folder / "resumed", [*SMALL, *TWO, *LONG], METHODS["roibank"]))


def watched(patch: pytest.MonkeyPatch, comparable: str = "") -> dict[str, Any]:
    """What a training sees and learns from now on: images by epoch, first gradients, weights.

    To be `comparable`, a method does without batch norms and without randomness of a process's own.
    """
    seen: dict[str, Any] = {"images": {}, "gradients": [], "weights": {}, "memory": {}}

    def on_train_batch_start(self: Learner, batch: Any, _: int) -> None:
        seen["images"].setdefault(self.current_epoch, []).append(batch.index.tolist())

    def on_before_optimizer_step(self: Learner, optimizer: torch.optim.Optimizer) -> None:
        if len(seen["gradients"]) < 3:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            seen["gradients"].append([parameter.grad.clone() for parameter in parameters])

    def on_train_end(self: Learner) -> None:
        seen["weights"].update({name: p.detach().clone() for name, p in self.named_parameters()})
        learned = {name: b.clone() for name, b in self.named_buffers() if "bank" in name or "whiten" in name}
        seen["memory"].update(learned)

    scale_by = RoiBank.scale_by

    def scaled_by(self: RoiBank, *held_out: Any) -> None:
        scale_by(self, *held_out)
        scales = self.graph.named_buffers(recurse=False)
        seen["memory"].update({name: b.clone() for name, b in scales if name in ("usual", "span", "weight")})

    patch.setattr(RoiBank, "scale_by", scaled_by)
    for hook in (on_train_batch_start, on_before_optimizer_step, on_train_end):
        patch.setattr(Learner, hook.__name__, hook)
    if comparable == "grdnet":
        patch.setattr(GrdNet, "_perturbed", darkened)
        patch.setattr(nn, "BatchNorm2d", lambda channels: nn.GroupNorm(1, channels))
    return seen


def darkened(_: GrdNet, image: Tensor, __: torch.Generator) -> tuple[Tensor, Tensor]:
    """A synthetic defect that depends on the image alone."""
    noise_mask = (image.mean(1, keepdim=True) > image.mean((1, 2, 3), keepdim=True)).float()
    return image * (1 - 0.5 * noise_mask), noise_mask


# -- the two processes -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest: 22 good parts and 6 with a bright square, of which the left half is inspected."""
    root, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    roi_mask = np.zeros((64, 64), np.uint8)
    roi_mask[:, :32] = 255
    write_image(root / "roi.png", roi_mask)
    lines = ["image_path,split,label,mask_path,roi_path"]
    for number in range(28):
        image, mask = rng.integers(60, 130, (64, 64, 3)).astype(np.uint8), ""
        if number >= 22:
            drawn = np.zeros((64, 64), np.uint8)
            drawn[number : number + 12, 8:20] = 255
            image[drawn > 0] += 110
            mask = f"{number}_mask.png"
            write_image(root / mask, drawn)
        write_image(root / f"{number}.png", image)
        lines.append(f"{number}.png,train,{'dent' if mask else 'good'},{mask},roi.png")
    (root / "manifest.csv").write_text("\n".join(lines))
    return root / "manifest.csv"


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


@pytest.fixture(scope="module")
def pair(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Any]]]:
    """The folder of two processes that torchrun might have started, and how they ended."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in "01":
        told = environment(
            TORCHELASTIC_RUN_ID="test", RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
            GROUP_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
        command = [sys.executable, __file__, str(data), str(folder), rank]
        started.append(
            subprocess.Popen(command, env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    try:
        ended = [(*process.communicate(timeout=200), process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()
    yield folder, ended


@pytest.fixture(scope="module")
def kept(pair: tuple[Path, list[Any]]) -> Callable[[str], tuple[dict[str, Any], dict[str, Any]]]:
    """What the two processes have noted of a training."""

    def read(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        folder, ended = pair
        if not (folder / f"{name}-1.pt").is_file():
            pytest.fail("\n".join(stderr for _, stderr, _ in ended))
        one, other = (torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
        return one, other

    return read


Kept = Callable[[str], tuple[dict[str, Any], dict[str, Any]]]


# -- without other processes -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(length=st.integers(1, 40), count=st.integers(1, 5), batch=st.integers(1, 4), epoch=st.integers(0, 9))
def test_shares_make_up_the_batches_of_one_process(length: int, count: int, batch: int, epoch: int) -> None:
    shares = [EpochSampler(length, 3, (rank, count)) for rank in range(count)]
    alone = EpochSampler(length, 3)
    for sampler in (*shares, alone):
        sampler.set_epoch(epoch)
    orders, whole = [list(share) for share in shares], list(alone)
    assert {len(order) for order in orders} == {len(share) for share in shares} == {length // count}
    for first in range(0, length // count - batch + 1, batch):
        together = {index for order in orders for index in order[first : first + batch]}
        assert together == set(whole[first * count : (first + batch) * count])


OUTSIDE = {
    "torchrun": {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"},
    "SLURM": {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"},
}


@pytest.mark.parametrize("starter", OUTSIDE)
def test_who_starts_the_processes_says_how_many(starter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _wanted("auto") == (1, 1) and _wanted(3) == (3, 1)
    for name, value in OUTSIDE[starter].items():
        monkeypatch.setenv(name, value)
    assert _wanted("auto") == _wanted(4) == (4, 2)
    with pytest.raises(UserError, match=f"3 are asked for, but {starter} has started 4 processes on each"):
        _wanted(3)


def test_one_process_alone_needs_no_other() -> None:
    with joined("cpu", "auto", "auto") as processes:
        assert (processes.rank, processes.count, processes.fabric) == (0, 1, None)
        assert processes.first(lambda: "made") == "made"


def test_a_process_that_would_train_something_else_is_refused() -> None:
    note = {"name": "ceod", "data": "1", "method": {"omega": 0.1}}
    refuse_differences(note, dict(note), rank=1)
    with pytest.raises(
        UserError, match=r"process 3: not the same as in the first process: data, method\.omega;"
    ):
        refuse_differences(note, {"name": "ceod", "data": "2", "method": {"omega": 0.2}}, rank=3)


def test_steps_count_the_images_of_all_processes(data: Path) -> None:
    def ready(count: int, batch_size: int = 2) -> tuple[int, int, int]:
        training = TrainingSettings(size="64", batch_size=batch_size, steps=40, held_out=0.1)
        settings = RoiBank.settings_class(backbone="test_convnext", strides=(8, 16), known_defects=False)
        made = prepare("roibank", read_data(data), settings, training, processes=Processes(count=count))
        return made.batch_size, made.steps_per_epoch, made.model.epochs

    assert ready(1) == (2, 10, 4) and ready(2) == (2, 5, 8) and ready(4, 100) == (5, 1, 40)
    with pytest.raises(UserError, match="20 training images cannot be shared among 21 processes"):
        ready(21)


# -- what the two have done --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_both_processes_end_well_and_leave_one_bundle(
    name: str, pair: tuple[Path, list[Any]], kept: Kept
) -> None:
    folder, ended = pair
    assert [one["code"] for one in kept(name)] == [0, 0]
    assert sorted(path.name for path in folder.glob(f"{name}*") if path.is_dir()) == [name, f"{name}.run"]
    images = np.zeros((2, 64, 64, 3), np.uint8)
    if name == "segmenter":
        segmenter, network = load_segmenter(folder / name)
        assert segmenter.training["processes"] == 2
        assert np.isfinite(probabilities(network, images)).all()
    else:
        bundle, graph = load_graph(folder / name)
        assert bundle.training["processes"] == 2
        assert np.isfinite(predict(graph, images).pred_score).all()
    told = [stdout.count(f"The model is in {folder / name},") for stdout, _, _ in ended]
    assert told == [1, 0]


@pytest.mark.parametrize("name", METHODS)
def test_both_processes_have_learned_the_same(name: str, kept: Kept) -> None:
    one, other = kept(name)
    assert one["weights"].keys() == other["weights"].keys() and one["weights"]
    for kind in ("weights", "memory"):
        assert all(torch.equal(value, other[kind][key]) for key, value in one[kind].items())


@pytest.mark.parametrize("name", METHODS)
def test_no_image_is_seen_twice_in_an_epoch(name: str, kept: Kept) -> None:
    one, other = kept(name)
    assert list(one["images"]) == list(other["images"]) == [0, 1]
    orders = []
    for epoch in (0, 1):
        first, second = one["images"][epoch], other["images"][epoch]
        assert len(first) == len(second) == (5 if name == "grdnet" else 6)
        seen = [index for batch in (*first, *second) for index in batch]
        assert len(seen) == len(set(seen)) == 4 * len(first)
        orders.append(seen)
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("name", "optimisers"), [("ceod", 1), ("grdnet", 3)])
def test_gradients_are_those_of_one_process_with_twice_the_batch(
    name: str, optimisers: int, data: Path, tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = kept(f"step-{name}")
    alone = watched(monkeypatch, name)
    plain = [*METHODS[name], *PLAIN]
    options = [*SMALL, *ONE_STEP, "batch_size=4", "threads=1"]
    assert main(words(name, data, tmp_path / "alone", options, plain)) == 0
    assert sorted(alone["images"][0][0]) == sorted(one["images"][0][0] + other["images"][0][0])
    pairs = list(zip(alone["gradients"], one["gradients"], strict=True))[:optimisers]
    assert len(pairs) == optimisers
    for mine, theirs in pairs:
        scale = max(float(gradient.abs().max()) for gradient in mine)
        assert scale > 0
        for a, b in zip(mine, theirs, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-5 * scale)


def test_the_memory_of_normal_patches_is_that_of_one_process(
    data: Path, tmp_path: Path, pair: tuple[Path, list[Any]], kept: Kept
) -> None:
    kept("roibank")
    options = [*SMALL, *ONE_STEP, "threads=1"]
    assert main(words("roibank", data, tmp_path / "alone", options, METHODS["roibank"])) == 0
    alone, two = read_weights(tmp_path / "alone"), read_weights(pair[0] / "roibank")
    # A photograph's own level is that in the predicted ROI, which two processes learn a little differently.
    scaled = {"graph.usual", "graph.span", "graph.weight", "graph.edge", "usual", "span", "weight", "edge"}
    learned_once = [name for name in alone if "roi_head" not in name and name not in scaled]
    assert any("bank" in name for name in learned_once) and len(learned_once) < len(alone)
    assert all(torch.equal(alone[name], two[name]) for name in learned_once)


# -- how they end ------------------------------------------------------------------------------------------


def test_a_fault_of_one_ends_both_in_one_line(pair: tuple[Path, list[Any]], kept: Kept) -> None:
    kept("step-grdnet")
    folder, ended = pair
    assert [code for _, _, code in ended] == [2, 2]
    told = [line for _, stderr, _ in ended for line in stderr.splitlines() if "dusty" in line]
    assert told == ["roinspect: process 1: the lens is dusty; wipe it"]
    assert not any(word in stderr for _, stderr, _ in ended for word in ("Traceback", "Error", "peer"))
    assert not (folder / "resumed").exists() and (folder / "resumed.run" / "last.ckpt").is_file()


def test_the_command_starts_the_others_and_resumes_to_the_same_bundle(
    data: Path, pair: tuple[Path, list[Any]], kept: Kept
) -> None:
    kept("step-grdnet")
    folder, _ = pair
    command = words("roibank", data, folder / "resumed", [*SMALL, *TWO, *LONG], METHODS["roibank"])
    ended = subprocess.run(
        [sys.executable, "-m", "roinspect", *command, "--resume"],
        env=environment(), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("The model is in") == 1
    assert sorted(path.name for path in folder.glob("resumed*")) == ["resumed", "resumed.run"]
    whole, resumed = (read_weights(folder / name) for name in ("long", "resumed"))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    assert read_bundle(folder / "long").history == read_bundle(folder / "resumed").history


if __name__ == "__main__":
    sys.exit(in_one_process(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))

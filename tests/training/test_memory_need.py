"""What a step needs is counted as it would be with values, and too little is said before the first step."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from roinspect import UserError
from roinspect.cli import main
from roinspect.methods.method import method_class
from roinspect.segmenter.segmenter import Segmenter
from roinspect.training import memory_need
from roinspect.training.memory_need import FreeMemory, refuse_too_little_memory, step_bytes

NARROW = {
    "grdnet": {"width": 8, "segmenter_width": 8, "latent": 8},
    "ceod": {"backbone": "customnet", "weights": "none"},
    "segmenter": {"backbone": "tf_efficientnet_lite0"},
}


def learner(name: str, preset: str = "paper", size: int = 64, **changes: Any) -> Any:
    cls: Any = Segmenter if name == "segmenter" else method_class(name)
    settings = dataclasses.replace(cls.settings_class.preset(preset), **{**NARROW[name], **changes})
    return cls(cls.prepared(settings), (size, size))


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("preset", ["paper", "compact"])
def test_a_step_without_values_counts_as_one_with_values(name: str, preset: str) -> None:
    model = learner(name, preset)
    before = copy.deepcopy(model.state_dict())
    counted = step_bytes(model, 4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())
    real = copy.deepcopy(model).train()
    step = memory_need._detached(real)
    alive = memory_need._Alive([*real.parameters(), *real.buffers()])
    batch = memory_need._batch(4, real.size_hw)
    with alive:
        step(batch)
    averages = 2 * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert counted == pytest.approx(alive.most + averages, rel=0.03)


def test_it_grows_with_batch_and_size_and_shrinks_in_16_bits() -> None:
    model = learner("grdnet")
    two, four, six = (step_bytes(model, count) for count in (2, 4, 6))
    assert two and four and six and six - four == pytest.approx(four - two, rel=0.1)
    larger = step_bytes(learner("grdnet", size=128), 4)
    assert larger and larger > 2 * four
    # Of many images, as activations shrink and weights do not.
    whole, mixed, true = (step_bytes(model, 16, name) for name in ("32-true", "bf16-mixed", "bf16-true"))
    assert whole and mixed and true and mixed < 0.8 * whole and true < 0.6 * whole


def test_too_little_memory_names_the_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learner("grdnet", size=128)
    need = step_bytes(model, 5)
    assert need is not None
    free = int(memory_need.SLACK * need) + 1
    monkeypatch.setattr(memory_need, "free_memory", lambda accelerator: FreeMemory(free, "this machine"))
    refuse_too_little_memory(model, 5, "auto", "32-true")
    words = (
        r"training.batch_size: a step with 16 images of 128x128 takes about .* GB, and .* are free on this "
    )
    with pytest.raises(UserError, match=f"{words}machine; use a batch size of at most 5"):
        refuse_too_little_memory(model, 16, "auto", "32-true")
    monkeypatch.setattr(memory_need, "free_memory", lambda accelerator: FreeMemory(10, "this machine"))
    with pytest.raises(
        UserError, match=r"a step with 1 image of 128x128 .*; use a smaller --size or --preset"
    ):
        refuse_too_little_memory(model, 1, "auto", "32-true")


def test_a_training_says_so_before_it_decodes_a_photograph(
    zipper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory_need, "free_memory", lambda accelerator: FreeMemory(400_000_000, "NVIDIA T4"))
    monkeypatch.setattr("roinspect.training.learning.DecodedCache", lambda *_, **__: pytest.fail("decoded"))
    options = ["--preset", "paper", "--size", "64", "--out", str(tmp_path / "out")]
    assert main(["train", "grdnet", str(zipper), *options]) == 2
    err = capsys.readouterr().err
    assert "0.4 GB are free on NVIDIA T4" in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_where_even_the_largest_step_fits_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_need, "step_bytes", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(memory_need, "free_memory", lambda accelerator: FreeMemory(8 << 30, "this machine"))
    refuse_too_little_memory(learner("grdnet"), 8, "auto", "32-true")
    monkeypatch.setattr(memory_need, "free_memory", lambda accelerator: None)
    refuse_too_little_memory(learner("grdnet"), 10_000, "auto", "32-true")


def test_a_step_that_needs_values_is_of_unknown_size() -> None:
    model = learner("ceod")
    model.training_step = lambda batch, index: float(batch.image.float().mean()) * 1.0
    assert step_bytes(model, 4) is None


def test_free_memory_is_known_on_linux() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("no /proc")
    memory = memory_need.free_memory("cpu")
    assert memory is not None and memory.where == "this machine" and memory.free_bytes > 1 << 20

"""The cost of GRD-Net, with small networks and small images."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import cost
import torch
from results import NotMeasuredError, Results

from roinspect.methods.grdnet_settings import GrdNetSettings

PRESET = GrdNetSettings.preset
SMALL = {"width": 8, "segmenter_width": 8, "latent": 4}


class Small(GrdNetSettings):
    """The default in small."""

    def __new__(cls, **changes: Any) -> GrdNetSettings:  # type: ignore[misc]
        return GrdNetSettings(**SMALL | changes)  # type: ignore[arg-type]

    @classmethod
    def preset(cls, name: Any) -> GrdNetSettings:
        return dataclasses.replace(PRESET(name), **SMALL)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"SIDE": 64, "BATCH": 2, "ROUNDS": 2, "GrdNetSettings": Small}.items():
        monkeypatch.setattr(cost, name, value)
    monkeypatch.setattr(cost, "RESULTS", Results("cost", tmp_path))


def measure(verb: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cost.py", *([verb] if verb else [])])
    cost.main()


@pytest.mark.parametrize(
    ("verb", "table", "words"),
    [
        (None, cost.table, ["forward", "GFLOP/s", "`perturb`'s share of a step"]),
        ("counted", cost.counted_table, ["32-true, batch 8", "bf16-mixed, batch 16", "million", "GFLOP"]),
        ("paper", cost.paper_table, ["training step, per image"]),
        ("memory", cost.memory_table, ["counted", "GB", "resident"]),
    ],
)
def test_what_is_measured_is_shown(
    verb: str | None, table: Callable[[], str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotMeasuredError):
        table()
    measure(verb, monkeypatch)
    assert all(word in table() for word in words)


def test_compiled_and_plain_steps_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, **options: compile_(call, backend="eager", **options))
    measure("compiled", monkeypatch)
    (run,) = cost.RESULTS.read()
    assert run.settings == {"verb": "compiled"} and run.measures["first_seconds"] > 0
    assert 0.2 < run.measures["compiled_share"] < 5
    assert "--method.compile true" in cost.compiled_table()


def test_all_networks_of_a_step_are_trained() -> None:
    step = cost.Step(cost.GrdNetSettings())
    before = {name: value.clone() for name, value in step.model.named_parameters()}
    step()
    parts = {
        name.partition(".")[0]
        for name, value in step.model.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert parts == {"autoencoder", "second_encoder", "discriminator", "segmenter"}


def test_operations_are_counted_without_computing_them() -> None:
    settings = cost.paper_settings()
    assert cost.flops_without_values(cost.Step(settings)) == cost.flops(cost.Step(settings)) > 0

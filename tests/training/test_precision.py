"""A GPU with bfloat16 trains GRD-Net in mixed precision; nothing else changes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from roinspect.inspection.bundle import read_bundle
from roinspect.methods.grdnet import GrdNet, fuses
from roinspect.methods.grdnet_settings import GrdNetSettings
from roinspect.training.precision import precision_of
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train


@pytest.mark.parametrize(
    ("asked", "accelerator", "mixes", "has_bfloat16", "expected"),
    [
        ("auto", "auto", True, True, "bf16-mixed"),
        ("auto", "gpu", True, True, "bf16-mixed"),
        ("auto", "cuda", True, True, "bf16-mixed"),
        ("auto", "cpu", True, True, "32-true"),
        ("auto", "auto", True, False, "32-true"),
        ("auto", "auto", False, True, "32-true"),
        ("32-true", "gpu", True, True, "32-true"),
        ("16-mixed", "cpu", False, False, "16-mixed"),
    ],
)
def test_method_and_gpu_must_both_allow_it(
    asked: str, accelerator: str, mixes: bool, has_bfloat16: bool, expected: str
) -> None:
    assert precision_of(asked, accelerator, mixes=mixes, has_bfloat16=has_bfloat16) == expected


def test_the_gpu_is_asked_for_what_it_does_without_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_gpu, supports in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, supports=supports: supports and not including_emulation,
        )
        expected = "bf16-mixed" if has_gpu and supports else "32-true"
        assert precision_of("auto", "auto", mixes=True) == expected


def test_the_bundle_says_which_it_was(zipper: Path, tmp_path: Path) -> None:
    tiny = TrainingSettings(size="64", steps=1, batch_size=2, accelerator="cpu")
    settings = GrdNetSettings(width=8, segmenter_width=8, latent=4)
    train("grdnet", zipper, tmp_path / "whole", method_settings=settings, training=tiny)
    assert read_bundle(tmp_path / "whole").training["precision"] == "32-true"


def test_mixed_precision_trains_grdnet(zipper: Path, tmp_path: Path) -> None:
    tiny = TrainingSettings(size="64", steps=2, batch_size=2, accelerator="cpu", precision="bf16-mixed")
    for name, changes in (("unet", {}), ("none", {"segmenter": "none", "noise_loss": 1.0})):
        settings = GrdNetSettings(width=8, segmenter_width=8, latent=4, **changes)  # type: ignore[arg-type]
        bundle = train("grdnet", zipper, tmp_path / name, method_settings=settings, training=tiny)
        assert bundle.training["precision"] == "bf16-mixed"
        assert all(abs(value) < 1e6 for curve in bundle.history.values() for _, value in curve)


def test_only_grdnet_mixes_and_only_a_gpu_fuses() -> None:
    from roinspect.methods.ceod import Ceod
    from roinspect.methods.roibank import RoiBank

    assert GrdNet.mixes and not (Ceod.mixes or RoiBank.mixes)
    assert fuses("cuda") is True and fuses("cpu") is None and fuses("mps") is None

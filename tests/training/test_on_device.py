"""A step of GRD-Net stays on its device, in the layout that a GPU is fast with, in any precision.

There need not be a GPU: tensors without values can be on one.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from roinspect.methods.grdnet import GrdNet
from roinspect.methods.grdnet_settings import GrdNetSettings
from roinspect.training.memory_need import _batch, _detached

Preset = Literal["compact", "paper"]
SIZE = (64, 64)
FORMS: dict[str, dict[str, Any]] = {
    "U-Net": {},
    "2026": {
        "segmenter": "none",
        "dense": 16,
        "context": "huber",
        "noise_loss": 1.0,
        "encoder_loss": "l1",
    },
}


def narrow(preset: Preset, form: str = "U-Net") -> GrdNetSettings:
    sizes = {"width": 8, "segmenter_width": 8, "latent": 8}
    return dataclasses.replace(GrdNetSettings.preset(preset), **sizes, **FORMS[form])


class Waits(TorchDispatchMode):
    """Collects the operations in which the host waits for the GPU: copies between them, and values read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given, made = devices((args, kwargs)), devices(out)
        is_read = any(word in func.name() for word in ("local_scalar", "nonzero", "unique"))
        if is_read or ("copy" in func.name() and given | made == {"cpu", "cuda"}):
            self.found.append(f"{func.name()}: {given} to {made}")
        return out


def devices(values: Any) -> set[str]:
    return {value.device.type for value in tree_leaves(values) if isinstance(value, Tensor)}


@contextmanager
def on_gpu(model: GrdNet) -> Iterator[GrdNet]:
    """A copy of the model without values, on a GPU that need not exist."""
    with FakeTensorMode():

        def placed(tensor: Tensor) -> Tensor:
            strides = tensor.stride()
            return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device="cuda:0")

        memo: dict[int, Any] = {id(weight): nn.Parameter(placed(weight)) for weight in model.parameters()}
        memo |= {id(buffer): placed(buffer) for buffer in model.buffers()}
        shadow = copy.deepcopy(model, memo).train()
        shadow._device = torch.device("cuda:0")
        # torch's own generator of the device: one of a GPU cannot be made without it.
        vars(shadow)["random"] = lambda *key: None
        yield shadow


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_no_step_waits_for_the_gpu(preset: Preset, form: str) -> None:
    model = GrdNet(narrow(preset, form), SIZE)
    with on_gpu(model) as shadow:
        step = _detached(shadow)
        # A backward pass needs a driver, even one without values.
        vars(shadow)["manual_backward"] = lambda loss: None
        batch = _batch(4, SIZE)
        batch = type(batch)(*(tensor.to("cuda:0") for tensor in batch))
        with Waits() as waits:
            step(batch)
    assert not waits.found


def test_a_wait_would_be_found() -> None:
    with FakeTensorMode(), Waits() as waits:
        image = torch.zeros(2, device="cuda:0")
        torch.zeros(2).to(image)
    assert len(waits.found) == 1 and "{'cpu'} to {'cuda'}" in waits.found[0]


def test_every_convolution_of_the_papers_preset_is_channels_last() -> None:
    model, others, seen = GrdNet(narrow("paper"), SIZE).train(), [], 0

    def look(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal seen
        seen += 1
        others.extend(
            tuple(tensor.shape)
            for tensor in (given[0], out)
            if not tensor.is_contiguous(memory_format=torch.channels_last)
        )

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(look)
    photographs = torch.zeros(4, *SIZE, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    _detached(model)(_batch(4, SIZE)._replace(image=photographs))
    assert seen > 100 and not others


@pytest.mark.parametrize("form", FORMS)
def test_in_mixed_precision_defects_and_turns_are_the_same(form: str) -> None:
    model = GrdNet(dataclasses.replace(narrow("compact", form), clean_share=0.0), (128, 128))
    batch = _batch(4, (128, 128)).to_float()
    batch = batch._replace(image=torch.rand(batch.image.shape, generator=torch.Generator().manual_seed(0)))

    def made() -> list[Tensor]:
        random = model.random(0, 0)
        image, roi_mask = model._augmented(batch, random)
        return [image, roi_mask, *model._perturbed(image, random)]

    exact = made()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = made()
    assert all(torch.equal(one, other) for one, other in zip(exact, mixed, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_in_mixed_precision_every_loss_is_float32(form: str) -> None:
    model, batch = GrdNet(narrow("compact", form), SIZE).train(), _batch(2, SIZE).to_float()
    mask = torch.zeros(2, 1, *SIZE)
    mask[..., :9] = 1
    noisy = (batch.image + mask).clamp(0, 1)
    with torch.autocast("cpu", torch.bfloat16):
        repaired, losses = model._generator_losses(noisy, batch.image, mask)
        assert repaired.dtype == torch.bfloat16
        losses["discriminator"] = model._discriminator_loss(batch.image, repaired.detach())
        losses |= model._segmenter_losses(noisy, repaired.detach(), mask, batch.roi_mask)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}

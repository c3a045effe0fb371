"""CustomNet: the paper's number of parameters and of operations."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from roinspect.nn.customnet import CustomNet  # noqa: E402


def test_parameters_of_the_paper() -> None:
    assert sum(weight.numel() for weight in CustomNet().parameters() if weight.requires_grad) == 294_994


def test_operations_of_the_paper() -> None:
    net = CustomNet().eval()
    others = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal others
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            others += output.numel()  # the bias; products and sums are the counter's
        elif isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            others += 2 * output.numel()  # scale and shift
        elif isinstance(module, nn.ReLU):
            others += output.numel()
        elif isinstance(module, nn.MaxPool2d):
            others += inputs[0].numel()

    for module in net.modules():
        module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = net.forward_features(torch.zeros(1, 3, 224, 224))
        net.forward_head(features)
    others += features.numel()  # global average pooling
    assert (counter.get_total_flops() + others) / 1e9 == pytest.approx(1.33, abs=0.005)


@pytest.mark.parametrize("size_hw", [(64, 64), (32, 96)])
@pytest.mark.parametrize("classes", [2, 5])
def test_a_sixteenth_of_the_image_and_one_head(size_hw: tuple[int, int], classes: int) -> None:
    torch.manual_seed(0)
    net, image = CustomNet(classes).eval(), torch.rand(2, 3, *size_hw)
    with torch.no_grad():
        features = net.forward_features(image)
        logits = net(image)
        assert features.shape == (2, 128, size_hw[0] // 16, size_hw[1] // 16)
        assert logits.shape == (2, classes)
        assert torch.equal(logits, net.forward_head(features))


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    net = CustomNet()
    net(torch.rand(4, 3, 32, 32)).square().sum().backward()
    for name, weight in net.named_parameters():
        # A bias before a batch norm is taken away again with the mean.
        is_idle = name.endswith("bias") and isinstance(net.get_submodule(name.rpartition(".")[0]), nn.Conv2d)
        assert weight.grad is not None and weight.grad.isfinite().all()
        assert is_idle or weight.grad.any(), name

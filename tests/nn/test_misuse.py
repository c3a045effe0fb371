"""What `CeodLoss` is handed by mistake in somebody's own loop is told at the first call, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import timm  # noqa: E402
import torchvision  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from roinspect.nn.ceod import CeodLoss  # noqa: E402
from roinspect.nn.gradcam import linear_cam  # noqa: E402

SIZE = 64
LABEL = torch.tensor([0, 1])
Answer = tuple[Tensor, Tensor]
"""Logits and features."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def roi(size: int = SIZE) -> Tensor:
    mask = torch.zeros(2, 1, size, size)
    mask[..., : size // 2] = 1
    return mask


def of_timm(name: str, *, training: bool = True, **options: Any) -> Callable[[Tensor], Answer]:
    net = timm.create_model(name, pretrained=False, num_classes=2, **options).train(training)

    def answer(image: Tensor) -> Answer:
        features = net.forward_features(image)
        return net.forward_head(features), features

    return answer


def loss_of(answer: Callable[[Tensor], Answer], criterion: CeodLoss | None = None) -> Tensor:
    logits, features = answer(torch.rand(2, 3, SIZE, SIZE))
    return (criterion or CeodLoss(1.0, gate="all"))(logits, LABEL, features, roi())


def refused(answer: Callable[[Tensor], Answer], words: str) -> None:
    with pytest.raises(ValueError, match=words) as told:
        loss_of(answer)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnetv2_50",
        "efficientnet_lite0",
        "mobilenetv3_small_050",
        "convnext_atto",
        "densenet121",
        "ghostnet_050",
        "regnetx_002",
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_networks_that_fit_are_let_through(name: str, training: bool) -> None:
    loss_of(of_timm(name, training=training)).backward()


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "efficientvit_b0", "efficientvit_m0"])
def test_a_batch_norm_in_the_head_is_told_in_training_mode_alone(name: str) -> None:
    refused(of_timm(name), "depend on the other parts.*evaluation mode.*linear_cam")
    loss_of(of_timm(name, training=False)).backward()


def test_a_batch_norm_before_one_linear_layer_is_told_and_its_closed_form_is_not() -> None:
    body, norm, linear = nn.Conv2d(3, 8, 3, stride=8), nn.BatchNorm1d(8), nn.Linear(8, 2)

    def answer(image: Tensor) -> Answer:
        features = body(image).relu()
        return linear(norm(features.mean((2, 3)))), features

    refused(answer, "depend on the other parts")
    logits, features = answer(torch.rand(2, 3, SIZE, SIZE))
    CeodLoss(1.0)(logits, LABEL, linear_cam(features, linear, 1, norm=norm), roi()).backward()


@pytest.mark.parametrize("name", ["mambaout_femto", "swin_tiny_patch4_window7_224"])
def test_channels_at_the_end_are_told(name: str) -> None:
    options = {"img_size": SIZE, "window_size": 2} if name.startswith("swin") else {}
    refused(of_timm(name, **options), r"\(N, h, w, C\).*permute")


def test_torchvisions_swin_is_told_and_runs_as_the_message_says() -> None:
    net = torchvision.models.swin_t(weights=None, num_classes=2)

    def rest(features: Tensor) -> Tensor:
        return net.head(net.flatten(net.avgpool(net.permute(net.norm(features)))))

    def as_it_is(image: Tensor) -> Answer:
        features = net.features(image)
        return rest(features), features

    def permuted(image: Tensor) -> Answer:
        features = net.features(image).permute(0, 3, 1, 2)
        return rest(features.permute(0, 2, 3, 1)), features

    refused(as_it_is, r"\(N, h, w, C\).*permute")
    loss_of(permuted).backward()


@pytest.mark.parametrize("shape", [(2, 6), (6, 2), (1, 1), (3, 4)])
def test_no_grid_of_channels_first_is_taken_for_channels_at_the_end(shape: tuple[int, int]) -> None:
    """Whatever the photograph's shape, and however coarse its grid."""
    head = nn.Linear(32, 2)
    for scale in (1, 8, 30):
        features = torch.rand(2, 32, *shape, requires_grad=True)
        masks = torch.ones(2, 1, shape[0] * scale, shape[1] * scale)
        CeodLoss(1.0)(head(features.mean((2, 3))), LABEL, features, masks)


def test_features_before_the_last_activation_or_norm_are_told() -> None:
    net = torchvision.models.densenet121(weights=None, num_classes=2)

    def before(image: Tensor) -> Answer:
        features = net.features(image)
        return net.classifier(features.relu().mean((2, 3))), features

    def after(image: Tensor) -> Answer:
        features = net.features(image).relu()
        return net.classifier(features.mean((2, 3))), features

    refused(before, "before the last activation")
    loss_of(after)
    body, head = nn.Conv2d(3, 8, 3, stride=8), nn.Linear(8, 2)
    for layer, word in (
        (nn.BatchNorm2d(8).eval(), "norm"),
        *((act, "activation") for act in (nn.ReLU6(), nn.LeakyReLU(), nn.SiLU(), nn.Hardswish(), nn.GELU())),
    ):

        def raw(image: Tensor, layer: nn.Module = layer) -> Answer:
            features = body(image)
            return head(layer(features).mean((2, 3))), features

        refused(raw, f"before the last {word}")


def test_of_a_frozen_body_the_same_is_told() -> None:
    head = nn.Linear(8, 2)

    def leaf(image: Tensor) -> Answer:
        features = torch.randn(2, 8, 4, 4, requires_grad=True)
        return head(features.relu().mean((2, 3))), features

    refused(leaf, "before the last activation")


@pytest.mark.parametrize(
    "squash",
    [
        lambda logits: logits.softmax(1),
        lambda logits: logits.log_softmax(1),
        lambda logits: logits.sigmoid(),
        lambda logits: logits.softmax(1).half(),
        lambda logits: logits.softmax(1).clone(),
    ],
    ids=["softmax", "log_softmax", "sigmoid", "half", "copied"],
)
def test_probabilities_are_told(squash: Callable[[Tensor], Tensor]) -> None:
    body, head = nn.Conv2d(3, 8, 3, stride=8), nn.Linear(8, 2)

    def answer(image: Tensor) -> Answer:
        features = body(image).relu()
        return squash(head(features.mean((2, 3)))), features

    refused(answer, "look like probabilities")


def test_logits_of_fresh_networks_are_no_probabilities() -> None:
    features = torch.rand(2, 8, 4, 4, requires_grad=True)
    for weight, bias in ((0.0, 0.0), (0.0, 0.5), (1e-3, 0.5), (1.0, 0.0), (30.0, 0.0)):
        head = nn.Linear(8, 2)
        with torch.no_grad():
            head.weight.mul_(weight)
            head.bias.copy_(torch.tensor([bias, bias + 0.1]))
        CeodLoss(1.0)(head(features.mean((2, 3))), LABEL, features, roi())


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_one_logit_is_told_with_what_to_do(shape: tuple[int, ...]) -> None:
    features, linear = torch.rand(2, 8, 4, 4, requires_grad=True), nn.Linear(8, 1)
    one = linear(features.mean((2, 3)))
    with pytest.raises(ValueError, match=r"not a single one.*torch\.stack") as told:
        CeodLoss(1.0)(one.reshape(shape), LABEL, features, roi())
    assert "\n" not in str(told.value)
    z = one.reshape(2)
    two = torch.stack((torch.zeros_like(z), z), 1)
    loss = CeodLoss(0.0)(two, LABEL, features, roi())
    expected = nn.functional.binary_cross_entropy_with_logits(z, LABEL.float())
    torch.testing.assert_close(loss, expected)


def test_it_looks_once_and_not_in_evaluation_mode() -> None:
    norm, linear = nn.BatchNorm1d(8), nn.Linear(8, 2)

    def answer(image: Tensor) -> Answer:
        features = torch.rand(len(image), 8, 4, 4, requires_grad=True)
        return linear(norm(features.mean((2, 3)))), features

    criterion = CeodLoss(1.0).eval()
    loss_of(answer, criterion)  # a sanity check before the training
    with pytest.raises(ValueError, match="depend on the other parts"):
        loss_of(answer, criterion.train())
    norm.eval()
    loss_of(answer, criterion)
    norm.train()
    loss_of(answer, criterion)  # looked at already


def test_a_first_batch_of_one_part_is_not_the_last_one_looked_at() -> None:
    norm, linear = nn.BatchNorm2d(8), nn.Linear(8, 2)
    criterion = CeodLoss(1.0)

    def call(count: int) -> None:
        features = torch.rand(count, 8, 4, 4, requires_grad=True)
        logits = linear(norm(2 * features).mean((2, 3)))
        criterion(logits, LABEL[:count], features, roi()[:count])

    call(1)
    with pytest.raises(ValueError, match="depend on the other parts"):
        call(2)


# -- torch.compile -------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=8), nn.ReLU())
        self.linear = nn.Linear(8, 2)

    def head(self, features: Tensor) -> Tensor:
        return self.linear(features.mean((2, 3)))

    def forward(self, image: Tensor) -> Answer:
        features = self.body(image)
        return self.head(features), features


def compiled(code: Any) -> Any:
    torch.compiler.reset()
    return torch.compile(code, backend="aot_eager")


def test_a_compiled_network_is_told_as_such() -> None:
    net = Net()
    refused(compiled(net), "one compiled graph.*compile the body only")
    head = compiled(net.head)

    def answer(image: Tensor) -> Answer:
        features = net.body(image)
        return head(features), features

    refused(answer, "head is compiled.*twice")


@pytest.mark.parametrize("what", ["body", "criterion", "whole, with its heatmap"])
def test_what_can_be_compiled_gives_the_same_gradients(what: str) -> None:
    net, image = Net(), torch.rand(2, 3, SIZE, SIZE)
    criterion = CeodLoss(1.0, gate="all")

    def gradient(net_of: Callable[[Tensor], Answer], criterion: Any) -> Tensor:
        logits, features = net_of(image)
        heat = linear_cam(features, net.linear, 1) if what.startswith("whole") else features
        (found,) = torch.autograd.grad(criterion(logits, LABEL, heat, roi()), net.linear.weight)
        return found

    expected = gradient(net, criterion)
    if what == "criterion":
        found = gradient(net, compiled(criterion))
    elif what == "body":
        body = compiled(net.body)

        def partly(image: Tensor) -> Answer:
            features = body(image)
            return net.head(features), features

        found = gradient(partly, criterion)
    else:
        found = gradient(compiled(net), criterion)
    torch.testing.assert_close(found, expected)

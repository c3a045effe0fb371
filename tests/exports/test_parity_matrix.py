"""Every method in every format answers a file's bytes as its network answers the file's pixels."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
image_module = pytest.importorskip("PIL.Image")

from roinspect import Inspector  # noqa: E402
from roinspect.exports.export import export  # noqa: E402
from roinspect.exports.parity import MAP_TOLERANCE, SCORE_TOLERANCE  # noqa: E402
from roinspect.images.pixels import read_image, resize_image  # noqa: E402
from roinspect.inspection.bundle import Bundle, Threshold, replace_threshold, save_bundle  # noqa: E402
from roinspect.inspection.targets import TARGETS  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.method import method_class, predict  # noqa: E402
from roinspect.methods.roibank_graph import RoiBankGraph  # noqa: E402
from roinspect.nn.memory import NearestNeighbours  # noqa: E402
from roinspect.nn.patches import Whitening  # noqa: E402

LITE0: dict[str, Any] = {"backbone": "tf_efficientnet_lite0", "weights": "none"}
BANK: dict[str, Any] = {"backbone": "test_efficientnet", "weights": "none", "strides": (8, 16)}
MODELS: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "ceod on lite0": ("ceod", (61, 48), LITE0 | {"stride": 8}),
    "roibank on lite0": ("roibank", (61, 64), LITE0 | {"memory_size": 200}),
    "grdnet without a U-Net": ("grdnet", (64, 96), {"width": 8, "latent": 8, "segmenter": "none"}),
    "roibank on a transformer": ("roibank", (64, 96), BANK | {"backbone": "test_vit", "strides": (16,)}),
    "roibank, no heads": ("roibank", (64, 64), BANK | {"defect_head": False, "roi_head": False}),
}
"""Beside the models of `make_bundle`: method, size, and what differs from the compact preset."""


class Trained(NamedTuple):
    bundle: Path
    expected: dict[Path, tuple[float, NDArray[np.float32]]]
    """Of every file: the score and the map at the image's own size, from the network in torch."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photographs as cameras and tools write them, of more and less light."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for number, (name, shape, kind) in enumerate(
        (
            ("odd.png", (37, 53, 3), np.uint8),
            ("one.png", (1, 1, 3), np.uint8),
            ("wide.png", (3, 900, 3), np.uint8),
            ("high.bmp", (700, 2, 3), np.uint8),
            ("grey.png", (131, 67), np.uint8),
            ("grey.jpg", (99, 101), np.uint8),
            ("deep.png", (75, 210), np.uint16),
            ("deep.tiff", (41, 43), np.uint16),
            ("deep_colour.png", (61, 59, 3), np.uint16),
            ("alpha.png", (83, 47, 4), np.uint8),
            ("deep_alpha.png", (29, 31, 4), np.uint16),
        )
    ):
        values = rng.uniform(0, np.iinfo(kind).max * (number + 2) / 13, shape).astype(np.float32)
        assert cv2.imwrite(str(folder / name), cv2.blur(values, (2, 2)).astype(kind))
    turned = image_module.fromarray(rng.integers(0, 255, (57, 91, 3), np.uint8))
    exif = image_module.Exif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    return sorted(folder.iterdir())


def built(folder: Path, method: str, size_hw: tuple[int, int], changes: dict[str, Any]) -> Path:
    """A bundle that has learned nothing, but whose norms and memory have seen noise."""
    cls = method_class(method)
    settings = dataclasses.replace(cls.settings_class.preset("compact"), **changes)
    torch.manual_seed(0)
    graph, noise = cls.build_graph(settings, size_hw), torch.rand(6, 3, *size_hw)
    for module in graph.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        if isinstance(graph, RoiBankGraph):
            _remember(graph, noise, settings)
        else:
            graph.train()(noise)
    manifest = Bundle(
        method=method,
        method_settings=dataclasses.asdict(settings),
        size_hw=size_hw,
        threshold=Threshold(0.5, "chosen"),
        map_share=cls.map_share,
    )
    save_bundle(folder / "bundle", manifest, graph.state_dict())
    return folder / "bundle"


def _remember(graph: RoiBankGraph, noise: Any, settings: Any) -> None:
    graph.train().features.backbone.levels(noise)
    graph.eval()
    raw = graph.features.backbone.levels(noise)
    for whitening, bank, level in zip(graph.features.whitenings, graph.banks, raw, strict=True):
        assert isinstance(whitening, Whitening) and isinstance(bank, NearestNeighbours)
        whitening.fit(level.permute(0, 2, 3, 1).flatten(0, 2), settings.shrinkage)
        bank.fill(whitening(level).permute(0, 2, 3, 1).flatten(0, 2)[::5][: settings.memory_size])
    parts = torch.cat(graph.parts(graph.features.whitened(raw)), dim=1)
    graph.usual.copy_(parts.amin((0, 2, 3)))
    graph.span.copy_(parts.amax((0, 2, 3)) - graph.usual)


@pytest.fixture(scope="module", params=["grdnet", "ceod", *MODELS])
def trained(
    request: pytest.FixtureRequest,
    files: list[Path],
    make_bundle: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    name = request.param
    bundle = built(tmp_path_factory.mktemp("model"), *MODELS[name]) if name in MODELS else make_bundle(name)
    manifest, graph = load_graph(bundle)
    expected = {}
    for path in files:
        image = read_image(path)
        (score,), (anomaly_map,), *_ = predict(graph, resize_image(image, manifest.size_hw)[None])
        expected[path] = float(score), resize_image(anomaly_map, image.shape[:2])
    # In the widest gap between two scores: verdicts of both kinds, and none by rounding.
    scores = sorted(score for score, _ in expected.values())
    gap, low = max((high - low, low) for low, high in itertools.pairwise(scores))
    assert gap > 10 * SCORE_TOLERANCE * scores[-1]
    replace_threshold(bundle, Threshold(low + gap / 2, "chosen"))
    return Trained(bundle, expected)


@pytest.mark.parametrize("to", TARGETS)
def test_the_bytes_of_any_file_get_the_answer_of_the_network(trained: Trained, to: str) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    export(trained.bundle, to, tell=lambda line: None)
    inspector = Inspector.load(trained.bundle, TARGETS[to].runtime, threads=1)
    verdicts = {path: inspector.inspect(path.read_bytes()) for path in trained.expected}
    for path, verdict in verdicts.items():
        score, anomaly_map = trained.expected[path]
        assert verdict.pred_score == pytest.approx(score, rel=SCORE_TOLERANCE), path.name
        assert verdict.is_defect == (score >= inspector.threshold), path.name
        assert verdict.anomaly_map is not None
        allowed = MAP_TOLERANCE * np.abs(anomaly_map).max()
        np.testing.assert_allclose(verdict.anomaly_map, anomaly_map, rtol=0, atol=allowed, err_msg=path.name)
    assert {verdict.is_defect for verdict in verdicts.values()} == {True, False}

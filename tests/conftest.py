"""What several test files share: a synthetic product, and a model trained on it once a session."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

TINY = ("--size", "64", "--training.batch_size", "4", "--method.width", "8", "--method.segmenter_width", "8")
"""Options of a training that takes a moment."""


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    return TINY


@pytest.fixture(scope="session")
def zipper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty photographs of 64 x 64: 12 train/good, 2 test/good, 6 with defects."""
    from roinspect.synthetic.products import write_dataset

    folder = tmp_path_factory.mktemp("data") / "zipper"
    write_dataset("zipper", folder, count=20, seed=0, size_hw=(64, 64))
    return folder


@pytest.fixture(scope="session")
def model(zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle from four steps of training, through the command line."""
    pytest.importorskip("torch")
    from roinspect.cli import main

    out = tmp_path_factory.mktemp("models") / "zipper.model"
    assert main(["train", "grdnet", str(zipper), "--out", str(out), "--training.steps", "4", *TINY]) == 0
    return out


# -- bundles with random weights: what is exported matters here, not what was learned

SMALLEST: dict[str, dict[str, Any]] = {
    "grdnet": {"width": 8, "segmenter_width": 8, "latent": 8},
    "ceod": {"backbone": "customnet", "weights": "none", "block": 8},
}
SIZES = {"grdnet": (64, 96), "ceod": (75, 101)}

MakeBundle: TypeAlias = Callable[..., Path]


@pytest.fixture(scope="session")
def written_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The exporter takes seconds; the same graph is written once and copied from then on."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from roinspect.exports import graph as module

    folder, write = tmp_path_factory.mktemp("written"), module.write_onnx

    def copied(graph: Any, size_hw: tuple[int, int], file: Path, **options: Any) -> None:
        digest = hashlib.sha256(repr((size_hw, options)).encode())
        for value in graph.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        kept = folder / digest.hexdigest()
        if not kept.exists():
            write(graph, size_hw, kept, **options)
        shutil.copyfile(kept, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_onnx", copied)
        yield


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory, written_once: None) -> MakeBundle:
    """A new bundle of a method, without exports. Its norms have seen something: none is the identity."""
    import torch

    from roinspect.inspection.bundle import Bundle, Threshold, save_bundle
    from roinspect.methods.method import method_class

    def make(method: str = "grdnet", *, seed: int = 0) -> Path:
        cls = method_class(method)
        settings = dataclasses.replace(cls.settings_class.preset("compact"), **SMALLEST[method])
        torch.manual_seed(seed)
        graph = cls.build_graph(settings, SIZES[method]).train()
        # By this batch alone, or they would stay so near to the identity that all images score alike.
        for module in graph.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            graph(torch.rand(4, 3, *SIZES[method]))
            for name, parameter in graph.named_parameters():
                if name.endswith("bias"):
                    parameter += 0.1 * torch.randn_like(parameter)
        path = tmp_path_factory.mktemp("bundles") / "bundle"
        manifest = Bundle(
            method=method,
            method_settings=dataclasses.asdict(settings),
            size_hw=SIZES[method],
            threshold=Threshold(0.5, "chosen"),
            map_share=cls.map_share,
        )
        save_bundle(path, manifest, graph.state_dict())
        return path

    return make


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Path:
    """A new grdnet bundle."""
    return make_bundle()

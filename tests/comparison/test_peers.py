"""Others' methods answer as they do by themselves, fetch nothing, and fail in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_the_papers_rivals_are_there() -> None:
    pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
    assert set(peers.RIVALS) < set(peer_names())
    peers.refuse_unknown_peer("EfficientAd")
    with pytest.raises(UserError, match=r"^padimm: .* did you mean padim"):
        peers.refuse_unknown_peer("padimm")


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

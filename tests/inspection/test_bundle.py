"""A bundle comes back as it was written, or is refused; it is there whole or not at all; no pickle."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from roinspect.errors import UserError  # noqa: E402
from roinspect.inspection.bundle import (  # noqa: E402
    SCHEMA_VERSION,
    Bundle,
    Threshold,
    photograph_digest,
    read_bundle,
    read_held_out,
    read_trained_on,
    read_weights,
    refuse_existing,
    replace_threshold,
    save_bundle,
)

BUNDLE = Bundle(
    method="grdnet",
    method_settings={"width": 8, "beta": (0.5, 1.0), "folder": None, "ä": "µ"},
    size_hw=(64, 96),
    threshold=Threshold(0.123456789, "rejects at most 1 %", "few parts"),
    training={"seed": 3},
    history={"train/generator": [(1, 0.5), (2, 0.25)]},
    metrics={"held-out": {"AUROC": 0.75}},
    fingerprints={"data": "00"},
    roinspect_version="0",
    map_share=0.5,
)
TENSORS = {
    "weight": torch.rand(4, 3, 3, 3).to(memory_format=torch.channels_last),
    "count": torch.tensor(7),
    "half": torch.rand(5).half(),
}


TRAINED_ON = ["0123456789abcdef", "fedcba9876543210", "0011223344556677"]
HELD_OUT = ["aaaabbbbccccdddd"]
FILES = ["bundle.json", "held_out.txt", "trained_on.txt", "weights.safetensors"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "part.bundle"
    save_bundle(path, BUNDLE, TENSORS, trained_on=TRAINED_ON, held_out=HELD_OUT)
    return path


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every write of bytes stops half way."""

    def write_bytes(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    yield
    monkeypatch.undo()


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_comes_back(saved: Path) -> None:
    back = read_bundle(saved)
    assert back.size_hw == (64, 96) and back.threshold == BUNDLE.threshold
    assert json.dumps(dataclasses.asdict(back)) == json.dumps(dataclasses.asdict(BUNDLE))
    tensors = read_weights(saved)
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
    assert read_trained_on(saved) == set(TRAINED_ON)
    assert read_held_out(saved) == set(HELD_OUT)


def test_what_was_trained_on_may_be_unknown(tmp_path: Path) -> None:
    save_bundle(tmp_path / "out", BUNDLE, TENSORS)
    assert read_trained_on(tmp_path / "out") == read_held_out(tmp_path / "out") == set()
    assert listed(tmp_path / "out") == ["bundle.json", "weights.safetensors"]


def test_many_photographs_take_little_room(tmp_path: Path) -> None:
    digests = [f"{number:016x}" for number in range(20_000)]
    save_bundle(tmp_path / "out", BUNDLE, TENSORS, trained_on=reversed(digests))
    assert (tmp_path / "out/trained_on.txt").stat().st_size == 17 * 20_000
    assert (tmp_path / "out/bundle.json").stat().st_size < 5000
    assert read_trained_on(tmp_path / "out") == set(digests)


def test_a_digest_is_of_the_contents_alone(tmp_path: Path) -> None:
    for name, content in (("a.png", b"pixels"), ("b.jpg", b"pixels"), ("c.png", b"others")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (photograph_digest(file) for file in sorted(tmp_path.iterdir()))
    assert one == same != other and len(one) == len(other) == 16


def test_nothing_but_text_and_safetensors_is_in_it(saved: Path) -> None:
    assert listed(saved) == FILES
    assert listed(saved.parent) == ["part.bundle"]
    for file in saved.iterdir():
        start = file.read_bytes()[:16]
        # A pickle begins with its protocol, torch's own files are zip archives.
        assert not start.startswith((b"\x80", b"PK"))
        assert start.isalnum() if file.suffix == ".txt" else b"{" in start


@settings(deadline=None, max_examples=300)
@given(data=st.data(), name=st.sampled_from(FILES), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused(saved: Path, data: st.DataObject, name: str, flip: int) -> None:
    file = saved / name
    whole = file.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    try:
        file.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
        with pytest.raises(UserError) as caught:
            read_bundle(saved)
            read_weights(saved)
            read_trained_on(saved)
            read_held_out(saved)
        assert caught.value.where == str(file)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", ["cut", "emptied", "longer", "missing"])
def test_a_file_cut_short_or_gone_is_refused(saved: Path, tmp_path: Path, name: str, change: str) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    whole = (copy / name).read_bytes()
    if change == "missing":
        (copy / name).unlink()
    else:
        (copy / name).write_bytes({"cut": whole[:-1], "emptied": b"", "longer": whole + b" "}[change])
    with pytest.raises(UserError) as caught:
        read_trained_on(copy)
        read_held_out(copy)
        read_weights(copy)
    assert caught.value.where == str(copy / name) and caught.value.remedy


def test_a_bare_space_in_the_manifest_counts_as_a_change(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    manifest = copy / "bundle.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"\n ", b"\n\t", 1))
    with pytest.raises(UserError, match="changed or damaged"):
        read_bundle(copy)


def test_another_schema_version_is_named(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    manifest = copy / "bundle.json"
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace(
            f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'
        )
    )
    with pytest.raises(UserError, match="schema version 99") as caught:
        read_bundle(copy)
    assert caught.value.where == str(manifest)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_bundle(path)


def test_a_bundle_is_replaced_only_when_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "out"
    save_bundle(path, BUNDLE, TENSORS)
    other = dataclasses.replace(BUNDLE, method="roibank")
    with pytest.raises(UserError, match="already exists"):
        save_bundle(path, other, TENSORS)
    assert read_bundle(path).method == "grdnet"
    save_bundle(path, other, {"x": torch.zeros(1)}, overwrite=True)
    assert read_bundle(path).method == "roibank" and set(read_weights(path)) == {"x"}
    assert listed(tmp_path) == ["out"]


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.png").write_bytes(b"pixels")
    (tmp_path / "file").write_bytes(b"text")
    for name in ("photographs", "file"):
        with pytest.raises(UserError, match="not a bundle"):
            refuse_existing(tmp_path / name, overwrite=True)
        with pytest.raises(UserError, match="not a bundle"):
            save_bundle(tmp_path / name, BUNDLE, TENSORS, overwrite=True)
    assert (tmp_path / "photographs" / "one.png").read_bytes() == b"pixels"
    refuse_existing(tmp_path / "free", overwrite=False)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left") as caught:
        save_bundle(tmp_path / "deep" / "out", BUNDLE, TENSORS)
    assert caught.value.where == str(tmp_path / "deep" / "out")
    assert listed(tmp_path / "deep") == []


def test_a_fault_while_replacing_leaves_the_former_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    save_bundle(path, BUNDLE, TENSORS)
    replace = os.replace
    for failing in (1, 2):
        calls = []

        def fail(source: Path, target: Path, calls: list[int] = calls, failing: int = failing) -> None:
            calls.append(1)
            if len(calls) == failing:
                raise OSError(errno.EIO, "input/output error")
            replace(source, target)

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(UserError, match="input/output error"):
            save_bundle(path, dataclasses.replace(BUNDLE, method="roibank"), TENSORS, overwrite=True)
        monkeypatch.undo()
        assert read_bundle(path).method == "grdnet" and listed(tmp_path) == ["out"]


def test_what_json_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_bundle(tmp_path / "out", dataclasses.replace(BUNDLE, metrics={"path": Path()}), TENSORS)
    assert listed(tmp_path) == []


# -- another threshold ---------------------------------------------------------------------------------------

OTHER = Threshold(0.75, "set by hand", "a warning")


def test_a_threshold_is_replaced_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    weights = (copy / "weights.safetensors").stat()
    replace_threshold(copy, OTHER)
    assert json.dumps(dataclasses.asdict(read_bundle(copy))) == json.dumps(
        dataclasses.asdict(dataclasses.replace(BUNDLE, threshold=OTHER))
    )
    assert set(read_weights(copy)) == set(TENSORS) and read_trained_on(copy) == set(TRAINED_ON)
    after = (copy / "weights.safetensors").stat()
    assert (after.st_mtime_ns, after.st_ino) == (weights.st_mtime_ns, weights.st_ino)
    assert listed(copy) == FILES
    # As training would have written it.
    save_bundle(
        tmp_path / "anew",
        dataclasses.replace(BUNDLE, threshold=OTHER),
        TENSORS,
        trained_on=TRAINED_ON,
        held_out=HELD_OUT,
    )
    assert (tmp_path / "anew" / "bundle.json").read_bytes() == (copy / "bundle.json").read_bytes()


def test_a_full_disk_leaves_the_former_threshold(
    saved: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    request.getfixturevalue("full_disk")
    with pytest.raises(UserError, match="former threshold still holds") as caught:
        replace_threshold(copy, OTHER)
    assert caught.value.where == str(copy / "bundle.json")
    assert listed(copy) == FILES
    assert read_bundle(copy).threshold == BUNDLE.threshold


def test_a_damaged_bundle_gets_no_threshold(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    manifest = copy / "bundle.json"
    damaged = manifest.read_bytes().replace(b"0.123456789", b"0.223456789")
    manifest.write_bytes(damaged)
    with pytest.raises(UserError, match="changed or damaged"):
        replace_threshold(copy, OTHER)
    assert manifest.read_bytes() == damaged


# -- which map values count as found -------------------------------------------------------------------------

MAP = np.array([[0.0, 0.2], [0.1, 0.05]], np.float32)


def test_without_a_share_the_threshold_is_the_maps_level() -> None:
    bundle = dataclasses.replace(BUNDLE, map_share=None)
    assert {bundle.map_level(score, MAP) for score in (0.0, 0.9)} == {bundle.threshold.value}


def test_with_a_share_a_rejected_parts_map_sets_its_own_level() -> None:
    at = BUNDLE.threshold.value
    assert BUNDLE.map_level(at, MAP) == pytest.approx(0.1)
    assert BUNDLE.map_level(0.9, 7 * MAP) == pytest.approx(0.7)
    assert BUNDLE.map_level(np.nextafter(at, 0), MAP) is None
    assert BUNDLE.map_level(0.9, 0 * MAP) is None

"""Another threshold comes from parts the model has not seen, or by hand; test data are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from roinspect import Inspector
from roinspect.cli import main
from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.errors import UserError
from roinspect.inspection.bundle import read_bundle, read_trained_on, read_weights, save_bundle
from roinspect.inspection.calibration import choose_threshold
from roinspect.training.recalibration import Way, _held_out, read_rate

Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def bundle(model: Path, tmp_path: Path, capsys: Capture) -> Path:
    """A copy of the trained bundle."""
    copy = Path(shutil.copytree(model, tmp_path / "copy.model"))
    capsys.readouterr()
    return copy


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that were not trained on: 20 good ones, 8 test ones, 6 defective ones in the val split."""
    from roinspect.synthetic.products import write_dataset

    folder = tmp_path_factory.mktemp("fresh") / "zipper"
    write_dataset("zipper", folder, count=34, seed=7, size_hw=(64, 64))
    for place in (folder, folder / "roi"):
        (place / "val/good").mkdir(parents=True)
        for image in sorted((place / "train/good").iterdir())[:4]:
            shutil.copy(image, place / "val/good" / image.name)
        for name in ("scratch_inside", "stain_outside", "scratch_both"):
            if (place / "test" / name).is_dir():
                shutil.copytree(place / "test" / name, place / "val" / name)
    for name in ("scratch_inside", "stain_outside", "scratch_both"):
        if (folder / "ground_truth" / name).is_dir():
            shutil.copytree(folder / "ground_truth" / name, folder / "ground_truth/val" / name)
            shutil.copytree(folder / "ground_truth" / name, folder / "ground_truth/test" / name)
            shutil.rmtree(folder / "ground_truth" / name)
    return folder


def scores(bundle: Path, images: list[Path]) -> np.ndarray:
    return np.array([verdict.pred_score for verdict in Inspector.load(bundle).inspect_many(images)])


def one_line(capsys: Capture, *words: str) -> None:
    err = capsys.readouterr().err
    assert err.startswith("roinspect: ") and len(err.splitlines()) == 1 and "Traceback" not in err
    for word in words:
        assert word in err


# -- what a threshold rests on -------------------------------------------------------------------------------


def test_a_false_reject_rate_on_fresh_photographs(bundle: Path, fresh: Path, capsys: Capture) -> None:
    before = read_bundle(bundle)
    assert run("calibrate", bundle, fresh, "--false-reject", "10%", "--split", "train") == 0
    after = read_bundle(bundle)
    good = scores(bundle, sorted((fresh / "train/good").iterdir()))
    # As many as the rate allows, but for those that crowd within the room of engines.
    assert (good >= after.threshold.value).sum() <= int(0.1 * (len(good) + 1)) - 1
    assert after.threshold.value <= good.max() * 1.001
    rejected = int((good >= after.threshold.value).sum())
    assert f"rejects {rejected} of {len(good)} held-out good parts" in after.threshold.origin
    told = capsys.readouterr()
    assert f"were rejected at scores of {before.threshold.value:.4g} or more" in told.out
    assert f"now rejected at scores of {after.threshold.value:.4g} or more" in told.out
    assert f"Of {len(good)} held-out good parts it rejects {rejected};" in told.out
    # Nothing else has changed, and the weights are still those of the manifest.
    assert read_weights(bundle)
    assert {name for name in before.__slots__ if getattr(before, name) != getattr(after, name)} == {
        "threshold"
    }


def test_a_folder_of_good_parts_needs_no_folders_in_it(
    bundle: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(fresh / "train/good", tmp_path / "monday")
    assert run("calibrate", bundle, tmp_path / "monday", "--false-reject", "10%") == 0
    one_line(capsys, "photographs are in no folder that says what they are, and are taken as good")
    count = len(list((fresh / "train/good").iterdir()))
    assert f"of {count} held-out good parts" in read_bundle(bundle).threshold.origin


@pytest.mark.parametrize("place", ["test/good", "test/scratch", "train/scratch", "test", "scratch"])
def test_a_folder_of_a_data_set_is_not_taken_as_good(
    place: str, bundle: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "good").mkdir()
    shutil.copytree(fresh / "train/good", tmp_path / place)
    assert run("calibrate", bundle, tmp_path / place, "--false-reject", "10%") == 2
    one_line(capsys, "no photographs found in folders that say what they are")


def test_the_val_split_comes_first(bundle: Path, fresh: Path, capsys: Capture) -> None:
    assert run("calibrate", bundle, fresh) == 0
    assert "0 of 4 held-out good parts" in read_bundle(bundle).threshold.origin
    one_line(capsys, "WARNING", "cannot support a false-reject rate of 1.00%", "at least 99")


def test_good_photographs_alone_need_no_region(bundle: Path, fresh: Path, tmp_path: Path) -> None:
    shutil.copytree(fresh / "train/good", tmp_path / "line/good")
    assert run("calibrate", bundle, tmp_path / "line", "--false-reject", "0.1") == 0


def test_the_best_f1_on_a_labelled_split(bundle: Path, fresh: Path, capsys: Capture) -> None:
    assert run("calibrate", bundle, fresh, "--best-f1") == 0
    origin = read_bundle(bundle).threshold.origin
    assert origin.startswith("best F1")
    told = capsys.readouterr().out
    assert "held-out good parts it rejects" in told and "held-out defective parts it rejects" in told


def test_near_duplicates_are_counted_as_one(
    bundle: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    images = sorted((fresh / "train/good").iterdir())
    lines = ["image_path,label,group", *(f"{path},good,{row // 6}" for row, path in enumerate(images))]
    manifest = tmp_path / "parts.csv"
    manifest.write_text("\n".join(lines))
    assert run("calibrate", bundle, manifest, "--false-reject", "10%") == 0
    groups = len({row // 6 for row in range(len(images))})
    assert f"of {groups} groups" in read_bundle(bundle).threshold.origin
    assert f"of {groups} groups cannot support" in capsys.readouterr().err


# -- by hand -------------------------------------------------------------------------------------------------


def test_a_threshold_by_hand(bundle: Path, fresh: Path, capsys: Capture) -> None:
    assert run("calibrate", bundle, "--threshold", 0.25) == 0
    threshold = read_bundle(bundle).threshold
    assert (threshold.value, threshold.origin, threshold.warning) == (0.25, "set by hand", "")
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert run("calibrate", bundle, fresh, "--threshold", 0, "--split", "train") == 0
    assert "it rejects 20; the former one rejected" in capsys.readouterr().out


def test_by_hand_no_torch_is_needed(bundle: Path) -> None:
    code = f"""import sys; sys.modules["torch"] = None
from roinspect.cli import main
sys.exit(main(["calibrate", {str(bundle)!r}, "--threshold", "0.5"]))"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert read_bundle(bundle).threshold.value == 0.5


# -- what it must not rest on --------------------------------------------------------------------------------


def test_test_photographs_are_refused(bundle: Path, fresh: Path, capsys: Capture) -> None:
    before = (bundle / "bundle.json").read_bytes()
    assert run("calibrate", bundle, fresh, "--split", "test") == 2
    one_line(capsys, "--split test", "flatter")
    assert run("calibrate", bundle, fresh, "--split", "vall") == 2
    one_line(capsys, "--split", "no such split: vall", "use val or train")
    assert (bundle / "bundle.json").read_bytes() == before


@pytest.mark.parametrize("split", ["val", "train", None])
def test_no_test_photograph_is_ever_among_them(bundle: Path, fresh: Path, split: str | None) -> None:
    chosen = _held_out(read_data(fresh), read_trained_on(bundle), split)
    assert {record.split for record in chosen} == {split or "val"}


def test_of_the_training_data_only_what_was_held_out_is_used(
    bundle: Path, zipper: Path, capsys: Capture
) -> None:
    trained = read_bundle(bundle)
    assert run("calibrate", bundle, zipper, "--false-reject", 0.01) == 0
    after = read_bundle(bundle).threshold
    assert after.value == pytest.approx(trained.threshold.value, rel=1e-5)
    count = trained.training["held_out_images"]
    assert f"of {count} held-out good parts" in after.origin
    assert f"{trained.training['images']} of 12 photographs are left out" in capsys.readouterr().err
    held = [record.image_path for record in _held_out(read_data(zipper), read_trained_on(bundle), None)]
    assert len(held) == count
    again = choose_threshold(
        scores(bundle, held).astype(np.float32), np.zeros(count, np.int64), [""] * count, 0.01
    )
    assert again.value == pytest.approx(after.value, rel=1e-5)


def test_photographs_of_the_training_are_known_among_others(
    bundle: Path, zipper: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    others, learned = sorted((fresh / "train/good").iterdir()), read_bundle(bundle).training["images"]
    (tmp_path / "parts/good").mkdir(parents=True)
    for number, image in enumerate([*sorted((zipper / "train/good").iterdir()), *others]):
        shutil.copy(image, tmp_path / f"parts/good/renamed{number:02}.png")
    assert run("calibrate", bundle, tmp_path / "parts", "--false-reject", "20%") == 0
    one_line(capsys, "WARNING", f"{learned} of {12 + len(others)} photographs are left out")
    origin = read_bundle(bundle).threshold.origin
    assert f"of {12 + len(others) - learned} held-out good parts" in origin


def test_nothing_but_photographs_of_the_training_is_refused(
    bundle: Path, zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    held = {record.key for record in _held_out(read_data(zipper), read_trained_on(bundle), None)}
    (tmp_path / "parts/good").mkdir(parents=True)
    for record in read_records(zipper):
        if record.split == "train" and record.key not in held:
            shutil.copy(record.image_path, tmp_path / "parts/good")
    before = (bundle / "bundle.json").read_bytes()
    assert run("calibrate", bundle, tmp_path / "parts") == 2
    assert "that were not trained on" in capsys.readouterr().err
    assert (bundle / "bundle.json").read_bytes() == before


def test_a_bundle_that_does_not_know_says_so(
    bundle: Path, zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    save_bundle(tmp_path / "older", read_bundle(bundle), read_weights(bundle))
    assert run("calibrate", tmp_path / "older", zipper, "--false-reject", "20%") == 0
    one_line(capsys, "WARNING", "older", "does not say")
    assert "of 12 held-out good parts" in read_bundle(tmp_path / "older").threshold.origin


# -- faults --------------------------------------------------------------------------------------------------


def no_photographs(data: Path) -> None:
    shutil.rmtree(data / "val")
    shutil.rmtree(data / "train")


def none_readable(data: Path) -> None:
    for image in (data / "val").rglob("*.png"):
        image.write_bytes(b"")


def none_good(data: Path) -> None:
    shutil.rmtree(data / "val/good")


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (no_photographs, (), ("no labelled photographs in the train split", "roinspect check")),
        (none_readable, (), ("photographs could not be read", "000.png")),
        (none_good, (), ("none of its photographs", "good")),
        (none_good, ("--best-f1", "--roi", "none"), ("best F1 needs good and defective parts", "0 good")),
        (None, ("--best-f1", "--split", "train"), ("best F1 needs", "0 defective")),
        (None, ("--best-f1", "--false-reject", "1%"), ("exclude one another",)),
        (None, ("--threshold", 0.5, "--best-f1"), ("exclude one another",)),
        (None, ("--threshold", "high"), ("threshold", "float")),
        (None, ("--false-reject", "few"), ("--false-reject", "'few'", "0.5%")),
        (None, ("--false-reject", 5), ("--false-reject", "not 5", "0.5%")),
        (None, ("--false-reject", "-1%"), ("--false-reject",)),
        (None, ("--false-rejects", "1%"), ("false-reject",)),
        (None, ("--split", "all"), ("split",)),
        (None, ("--batch-size", 0), ("--batch-size",)),
    ],
)
def test_faults_are_one_line_and_change_nothing(
    spoil: object, options: tuple[object, ...], words: tuple[str, ...], bundle: Path, fresh: Path,
    tmp_path: Path, capsys: Capture,
) -> None:  # fmt: skip
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    if callable(spoil):
        spoil(data)
    before, files = (bundle / "bundle.json").read_bytes(), set(bundle.iterdir())
    assert run("calibrate", bundle, data, *options) == 2
    one_line(capsys, *words)
    assert (bundle / "bundle.json").read_bytes() == before
    assert set(bundle.iterdir()) == files


def test_a_bundle_and_data_are_wanted(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run("calibrate", bundle) == 2
    one_line(capsys, "DATA", "--threshold X")
    assert run("calibrate", tmp_path / "nowhere", tmp_path) == 2
    one_line(capsys, "nowhere")
    content = json.loads((bundle / "bundle.json").read_text())
    content["threshold"]["value"] = 0.5
    (bundle / "bundle.json").write_text(json.dumps(content))
    assert run("calibrate", bundle, "--threshold", 0.1) == 2
    one_line(capsys, "changed or damaged")


@pytest.mark.parametrize(("text", "rate"), [("0.5%", 0.005), ("0.005", 0.005), ("0", 0), ("7 %", 0.07)])
def test_rates_as_people_write_them(text: str, rate: float) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize("text", ["", "%", "half", "1%%", "nan"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UserError, match="is no rate"):
        read_rate(text)


def test_one_way_and_no_other() -> None:
    for way in ({}, {"false_reject": 0.1, "value": 0.5}, {"best_f1": True, "false_reject": 0.0}):
        with pytest.raises(UserError, match="exclude one another"):
            Way(**way)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="finite"):
        Way(value=float("inf"))

"""--good names the good folders on the command line, in YAML and in every verb; the bundle keeps them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from roinspect.cli import main
from roinspect.cli.arguments import add_data_options, command_parser, good_names, parse
from roinspect.errors import UserError
from roinspect.images.pixels import write_image

TINY = [
    "--method.width",
    "8",
    "--method.segmenter_width",
    "8",
    "--method.latent",
    "4",
    "--training.threads",
    "1",
]
STEPS = ["--training.steps", "2", "--training.batch_size", "4", "--size", "64"]


def given(*arguments: str) -> tuple[str, ...] | None:
    parser = command_parser("check", "DATA")
    parser.add_argument("--config", action="config")
    add_data_options(parser)
    return good_names(parse(parser, list(arguments)).good)


def test_one_by_one_or_with_commas(tmp_path: Path) -> None:
    assert given() is None
    assert given("--good", "OK") == ("OK",)
    assert given("--good", "OK,Gut") == given("--good", "OK", "--good=Gut") == ("OK", "Gut")
    listed, text = tmp_path / "listed.yaml", tmp_path / "text.yaml"
    listed.write_text("good: [OK, Gut]\n")
    text.write_text("good: OK, Gut\n")
    assert given("--config", str(listed)) == given("--config", str(text)) == ("OK", "Gut")
    assert given("--config", str(listed), "--good", "Fein", "--good", "Heil") == ("Fein", "Heil")
    with pytest.raises(UserError, match="is empty"):
        given("--good", " , ")


@pytest.fixture(scope="module")
def german(zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipper, with its good parts in folders of another name."""
    folder = Path(shutil.copytree(zipper, tmp_path_factory.mktemp("german") / "data"))
    for place in (folder, folder / "roi"):
        for split in ("train", "test"):
            (place / split / "good").rename(place / split / "Gut")
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_check_asks_for_the_name_and_takes_it(german: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", german) == 2
    output = capsys.readouterr().out
    assert "no good photograph in this split, only Gut" in output and "--good NAME" in output
    assert run("check", german, "--good", "gut") == 0
    assert run("check", german, "--good", "gutt") == 2
    assert "no folder or label is called 'gutt'; there are Gut" in capsys.readouterr().err


def test_every_verb_takes_it_and_the_bundle_keeps_it(
    german: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from roinspect.inspection.bundle import read_bundle

    out, train = tmp_path / "model", ["train", "grdnet", german, *TINY, *STEPS]
    assert run(*train, "--out", tmp_path / "none") == 2
    assert "--good NAME" in capsys.readouterr().err
    assert run(*train, "--out", out, "--good", "Gut") == 0
    assert read_bundle(out).training["good"] == ["Gut"]
    # What the bundle was trained with need not be said again.
    assert run("evaluate", out, german, "--out", tmp_path / "e1") == 0
    assert run("evaluate", out, german, "--out", tmp_path / "e2", "--good", "Gut") == 0
    assert (tmp_path / "e1/predictions.csv").read_bytes() == (tmp_path / "e2/predictions.csv").read_bytes()
    assert "Gut,0,none" in (tmp_path / "e1/predictions.csv").read_text()
    assert run("calibrate", out, german, "--split", "train") == 0
    assert run("evaluate", out, german, "--out", tmp_path / "e3", "--good", "nobody") == 2
    assert "'nobody'" in capsys.readouterr().err


def test_an_empty_mask_of_a_defect_stops_the_training(
    zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    data = Path(shutil.copytree(zipper, tmp_path / "data"))
    image = sorted((data / "train/good").iterdir())[0]
    for place, split in ((data, "val"), (data / "roi", "val")):
        (place / split / "scratch").mkdir(parents=True)
        shutil.copy(place / "train/good" / image.name, place / split / "scratch/new.png")
    empty = np.zeros((64, 64), np.uint8)
    write_image(data / "ground_truth/val/scratch/new_mask.png", empty)
    command = ["train", "grdnet", data, "--out", tmp_path / "model", *TINY, *STEPS]
    assert run(*command) == 2
    output = capsys.readouterr().err.splitlines()[-1]
    for words in ("val/scratch/new.png", "is empty", "label it good, or remove the mask"):
        assert words in output
    assert run("check", data) == 2
    (data / "ground_truth/val/scratch/new_mask.png").unlink()
    assert run(*command) == 0


def test_verbs_say_what_they_do_not_use(
    zipper: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Path(shutil.copytree(zipper, tmp_path / "data"))
    for name in ("train/good/a.heic", "train/good/b.heic", "extra/c.png"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_bytes(b"")
    for command in (
        ["train", "grdnet", data, "--out", tmp_path / "m", *TINY, *STEPS],
        ["evaluate", model, data],
    ):
        caplog.clear()
        assert run(*command) == 0
        (line,) = [record.message for record in caplog.records if "not used" in record.message]
        assert "3 files are not used" in line and f"`roinspect check {data}`" in line


def test_an_empty_mask_in_the_test_split_is_loud_in_evaluate(
    zipper: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Path(shutil.copytree(zipper, tmp_path / "data"))
    mask = sorted((data / "ground_truth").rglob("*.png"))[0]
    write_image(mask, np.zeros((64, 64), np.uint8))
    assert run("evaluate", model, data, "--out", tmp_path / "out") == 0
    (line,) = [record.message for record in caplog.records if "masks are empty" in record.message]
    assert "1 photographs" in line and "label it good" in line

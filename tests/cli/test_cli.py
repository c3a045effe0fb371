"""The verbs lead from photographs to verdicts; a fault is one line, exit code 2, and nothing half-written."""

from __future__ import annotations

import dataclasses
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from roinspect import __version__, cli
from roinspect.cli import VERBS, main, roi
from roinspect.images.pixels import image_size, read_image, write_image
from roinspect.inspection.bundle import SCHEMA_VERSION, Threshold, read_bundle, read_weights, save_bundle

DATA = Path(os.environ.get("ROINSPECT_DATA", Path(__file__).parents[2] / "../shared/data"))

Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


# -- the way through -----------------------------------------------------------------------------------------


def test_from_photographs_to_a_report(model: Path, zipper: Path, tmp_path: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run("evaluate", model, zipper, "--out", tmp_path / "out") == 0
    output = capsys.readouterr().out
    assert "Of 4 defective parts" in output and str(tmp_path / "out" / "report.html") in output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html",
        "metrics.json",
        "predictions.csv",
    }


def test_one_model_against_another(model: Path, zipper: Path, tmp_path: Path, capsys: Capture) -> None:
    other = shutil.copytree(model, tmp_path / "other")
    capsys.readouterr()
    assert run("evaluate", model, zipper, "--against", other, "--out", tmp_path / "out") == 0
    output = capsys.readouterr().out
    assert output.count("Of 4 defective parts") == 2 and f"{model}:" in output and f"{other}:" in output
    measured = json.loads((tmp_path / "out/metrics.json").read_text())
    assert measured["against"]["bundle"] == str(other)
    assert run("evaluate", model, zipper, "--against", tmp_path / "nowhere", "--out", tmp_path / "none") == 2
    one_line(capsys, "nowhere")
    no_leftovers(tmp_path, tmp_path / "none")


def lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "words",
    [
        ("train", "grdnet", "DATA", "--roi", "none", "--out", "LONG"),
        ("train", "grdnet", "LONG", "--out", "x"),
        ("check", "DATA", "--roi", "LONG"),
        ("predict", "LONG", "DATA"),
        ("predict", "MODEL", "DATA", "--out", "LONG"),
        ("predict", "MODEL", "LONG"),
        ("calibrate", "MODEL", "LONG"),
        ("export", "LONG", "--to", "onnx"),
        ("serve", "LONG"),
        ("watch", "MODEL", "LONG", "--out", "x.jsonl"),
        ("watch", "MODEL", "DATA", "--out", "LONG"),
        ("synth", "zipper", "LONG"),
    ],
)
def test_a_name_that_no_disk_can_hold_is_one_line(
    words: tuple[str, ...], model: Path, zipper: Path, capsys: Capture
) -> None:
    means = {"LONG": "n" * 300 + ".jsonl", "MODEL": str(model), "DATA": str(zipper)}
    capsys.readouterr()
    assert run(*(means.get(word, word) for word in words)) == 2
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1 and "n" * 300 in output[0], output


def test_predict_writes_a_line_for_every_image(
    model: Path, zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    capsys.readouterr()
    good = zipper / "test/good"
    assert run("predict", model, good, bad, good / "000.png", "--overlays", tmp_path / "seen") == 0
    first, second, third = lines(capsys)
    assert [line["image_path"] for line in (first, second, third)] == [
        str(good / "000.png"),
        str(good / "001.png"),
        str(bad),
    ]
    for line in (first, second):
        assert line["is_defect"] == (line["pred_score"] >= line["threshold"])
        assert image_size(line["overlay"]) == (64, 64) and Path(line["overlay"]).parent == tmp_path / "seen"
        assert "map" not in line
    assert set(third) == {"image_path", "error"} and str(bad) in third["error"]


def test_predict_tells_where_the_defect_is(
    model: Path, zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    image = tmp_path / "large.png"
    pixels = read_image(zipper / "test/scratch_both/000.png")
    write_image(image, cv2.resize(pixels, (192, 128)))
    strict = tmp_path / "strict"
    bundle = read_bundle(model)
    # Everything is rejected from a score of 0 on, and the hottest half of its map is what was found.
    rejecting = dataclasses.replace(bundle, threshold=Threshold(0.0, "test"), map_share=0.5, references=())
    save_bundle(strict, rejecting, read_weights(model))
    capsys.readouterr()
    assert run("predict", strict, image, "--maps", tmp_path / "maps") == 0
    (line,) = lines(capsys)
    assert "overlay" not in line and line["map_factor"] == 1 / 65535
    grey = cv2.imread(line["map"], cv2.IMREAD_UNCHANGED)
    assert grey.shape == (128, 192) and grey.dtype == np.uint16
    anomaly_map = grey * line["map_factor"]
    assert anomaly_map.max() == pytest.approx(line["pred_score"], rel=0.05)
    assert line["regions"] and line["regions"][0]["score"] == pytest.approx(line["pred_score"])
    drawn = np.zeros((128, 192), np.uint8)
    for region in line["regions"]:
        assert set(region) == {"polygon_xy", "box_xyxy", "area", "score"}
        left, top, right, bottom = region["box_xyxy"]
        assert 0 <= left < right <= 192 and 0 <= top < bottom <= 128
        assert 0 < region["area"] <= (right - left) * (bottom - top) + 0.1
        cv2.fillPoly(drawn, [np.array(region["polygon_xy"]).round().astype(np.int32)], 1)
    # Enlarging smooths the borders, so what is found must cover what is clearly hot.
    assert drawn[anomaly_map >= 0.55 * anomaly_map.max()].mean() > 0.95


def test_pictures_of_equal_names_are_all_kept(
    model: Path, zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    images = [zipper / f"test/{folder}/000.png" for folder in ("good", "scratch_both")]
    capsys.readouterr()
    assert run("predict", model, *images, "--overlays", tmp_path, "--maps", tmp_path) == 0
    rows = lines(capsys)
    assert len({line[name] for line in rows for name in ("overlay", "map")}) == 4
    assert {line[name] for line in rows for name in ("overlay", "map")} == {
        str(path) for path in tmp_path.iterdir()
    }


def test_predict_decodes_each_image_once(
    model: Path, zipper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counted(content: bytes, bits: int = 16, *, name: str) -> Any:
        decoded.append(name)
        return read_image(content, bits, name=name)

    monkeypatch.setattr("roinspect.inspection.inspector.read_image", counted)
    monkeypatch.setattr("roinspect.images.pixels.read_image", counted)
    pictures = ("--overlays", tmp_path, "--maps", tmp_path)
    assert run("predict", model, zipper / "test/good", *pictures, "--self-test", "off") == 0
    assert len(decoded) == len(set(decoded)) == 2


def test_a_yaml_file_a_preset_and_dotted_options(
    zipper: Path, tiny: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    def printed(*options: object) -> str:
        assert run("train", "grdnet", zipper, "--print_config", *options) == 0
        return capsys.readouterr().out

    assert "\n  width: 32\n" in printed() and "\n  width: 64\n" in printed("--preset", "paper")
    config = tmp_path / "config.yaml"
    config.write_text("preset: paper\nmethod:\n  latent: 7\n  rotation: 11\ntraining:\n  steps: 5\n")
    read = printed("--config", config, "--method.rotation", "12")
    for line in ("  width: 64", "  latent: 7", "  rotation: 12.0", "  steps: 5"):
        assert f"\n{line}\n" in read

    read = printed("--method.rotation", "13", "--config", config)
    assert "  rotation: 13.0\n" in read, "the command line goes over the file, wherever it stands"

    # What is printed can be read again, data and all, and trains.
    config.write_text(printed(*tiny, "--training.steps", "1", "--seed", "3", "--roi", "none"))
    assert run("train", "grdnet", "--config", config, "--out", tmp_path / "model") == 0
    bundle = json.loads((tmp_path / "model/bundle.json").read_text())
    assert bundle["training"]["seed"] == 3 and bundle["training"]["roi"] == "none"
    assert bundle["size_hw"] == [64, 64] and bundle["method_settings"]["width"] == 8


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("ceod", (), {"batch_size": 8, "epochs": None, "steps": None}),
        ("ceod", ("--preset", "paper"), {"batch_size": 32, "epochs": 1000, "steps": None}),
        (
            "ceod",
            ("--preset", "paper", "--method.backbone", "customnet"),
            {"batch_size": 32, "epochs": 100, "steps": None},
        ),
        ("grdnet", ("--preset", "paper"), {"batch_size": 8, "epochs": 200, "steps": None}),
        ("roibank", ("--preset", "paper"), {"batch_size": 8, "epochs": None, "steps": None}),
        ("segmenter", ("--preset", "paper"), {"batch_size": 8, "epochs": None, "steps": None}),
        (
            "ceod",
            ("--training.epochs", "3", "--preset", "paper", "--training.batch_size", "4"),
            {"batch_size": 4, "epochs": 3, "steps": None},
        ),
        (
            "ceod",
            ("--preset", "paper", "--training.steps", "5"),
            {"batch_size": 32, "epochs": None, "steps": 5},
        ),
    ],
)
def test_a_preset_sets_the_trainings_length_and_batch_under_what_is_asked_for(
    method: str, options: tuple[str, ...], expected: dict[str, Any], zipper: Path, capsys: Capture
) -> None:
    from roinspect.methods.method import method_class
    from roinspect.segmenter.settings import SegmenterSettings
    from roinspect.training.settings import TrainingSettings

    settings_class = SegmenterSettings if method == "segmenter" else method_class(method).settings_class
    assert run("train", method, zipper, "--print_config", *options) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert {name: printed["training"][name] for name in expected} == expected
    # In Python the same is said in two lines.
    if options == ("--preset", "paper"):
        settings = settings_class.preset("paper")
        training = TrainingSettings(**settings.training("paper"))
        assert {name: getattr(training, name) for name in expected} == expected


def test_a_presets_length_and_batch_in_a_file_are_under_the_files_own(
    zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("preset: paper\ntraining:\n  batch_size: 6\n")
    assert run("train", "grdnet", zipper, "--config", config, "--print_config") == 0
    training = yaml.safe_load(capsys.readouterr().out)["training"]
    assert (training["batch_size"], training["epochs"]) == (6, 200)


def test_a_manifest_with_names_of_its_own(
    zipper: Path, tiny: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    images = sorted((zipper / "train/good").iterdir())[:4]
    lines = ["file;grade;where", *(f"{i};good;{zipper / 'roi/train/good' / i.name}" for i in images)]
    manifest = tmp_path / "parts.csv"
    manifest.write_text("\n".join(lines))
    names = ("--columns.image_path", "file", "--columns.label", "grade")
    out = tmp_path / "model"
    assert (
        run("train", "grdnet", manifest, "--out", out, *tiny, "--training.steps", 1, *names,
            "--roi", "column:where") == 0
    )  # fmt: skip
    assert json.loads((out / "bundle.json").read_text())["fingerprints"]["roi"] != "none"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no photographs at {DATA} (ROINSPECT_DATA)")
def test_real_photographs(tiny: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    data, out = DATA / "hazelnut_toy", tmp_path / "nuts"
    assert run("check", data, "--size", "64") == 0
    assert run("train", "grdnet", data, "--out", out, *tiny, "--training.steps", 2) == 0
    assert run("evaluate", out, data) == 0
    measured = json.loads((tmp_path / "nuts.evaluation/metrics.json").read_text())
    assert measured["defective_parts"] == 17 and measured["good_parts"] == 6


def test_synth_and_check(tmp_path: Path, capsys: Capture) -> None:
    assert run("synth", "vials", tmp_path / "vials", "--count", 20, "--size", "64x96") == 0
    assert run("check", tmp_path / "vials") == 0
    write_image(tmp_path / "vials/roi/train/good/000.png", np.zeros((64, 96), np.uint8))
    capsys.readouterr()
    assert run("check", tmp_path / "vials") == 2
    assert "marks nothing" in capsys.readouterr().out


def test_every_verb_explains_itself(capsys: Capture) -> None:
    assert run("--help") == 0 and run("--version") == 0
    output = capsys.readouterr().out
    assert __version__ in output and all(verb in output for verb in VERBS)
    for verb in VERBS:
        assert run(verb, "--help") == 0
        help = capsys.readouterr().out
        assert f"usage: roinspect {verb}" in help and " at 0x" not in help
    assert run("train", "grdnet", "--help") == 0
    assert "--method.overlap_weight" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [*VERBS, *(f"roi {name}" for name in roi.VERBS)])
def test_an_option_has_dashes_and_a_setting_its_own_name(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*verb.split(), "--help") == 0
    options = re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out)
    # The last is jsonargparse's own.
    assert not [name for name in options if "_" in name.partition(".")[0] and name != "--print_config"]


def test_a_model_runs_in_the_runtime_that_is_named(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (("predict", bundle, tmp_path), ("watch", bundle, tmp_path, "--out", tmp_path / "a.jsonl")):
        assert run(*verb, "--runtime", "openvino") == 2
        assert "no such export" in capsys.readouterr().err
        assert run(*verb, "--runtime", "tpu") == 2
        assert "runtime" in capsys.readouterr().err


# -- start-up ------------------------------------------------------------------------------------------------


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        ("['--help']", "torch cv2 numpy jsonargparse"),
        *((f"['{verb}', '--help']", "torch onnxruntime gradio lightning") for verb in VERBS),
        *((f"['{verb}', '--help']", "cv2") for verb in ("check", "synth", "demo")),
        ("['train', 'roibank', '--help']", "torch timm lightning"),
    ],
)
def test_help_loads_nothing_heavy(arguments: str, absent: str) -> None:
    done = python(
        f"import sys; from roinspect.cli import main; main({arguments}); "
        f"loaded = set({absent.split()}) & set(sys.modules); assert not loaded, loaded"
    )
    assert done.returncode == 0 and "usage: roinspect" in done.stdout, done.stderr


def test_a_verb_is_one_file_and_one_row() -> None:
    files = {module.name for module in pkgutil.iter_modules(cli.__path__)}
    beside = {"arguments", "diagnosis", "demonstration"}
    assert files == {*VERBS, *(f"roi_{name}" for name in roi.VERBS), *beside}


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "roinspect", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"roinspect {__version__}\n"


@pytest.mark.parametrize(
    "verb", ["'train', 'grdnet', '.', '--out', 'x'", "'export', 'b', '--to', 'onnx'", "'demo'"]
)
def test_without_torch_the_remedy_is_told(verb: str) -> None:
    done = python(
        f"import sys; sys.modules['torch'] = None\nimport roinspect.cli as c; sys.exit(c.main([{verb}]))"
    )
    assert done.returncode == 2 and 'pip install "roinspect[train]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_predict_does_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None\nfrom roinspect.cli import main; "
    done = python(f"{program}sys.exit(main(['predict', 'b', 'i']))")
    assert done.returncode == 2 and done.stderr.startswith("roinspect: b/bundle.json: ")


def test_an_interruption(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("roinspect.cli.check.run", interrupted)
    assert run("check") == 130 and capsys.readouterr().err == "roinspect: interrupted\n"


# -- bad input -----------------------------------------------------------------------------------------------

FIRST = "train/good/000.png"


def cut_off(data: Path) -> None:
    (data / FIRST).write_bytes((data / FIRST).read_bytes()[:200])


def no_image(data: Path) -> None:
    (data / FIRST).write_bytes(b"no image at all")


def no_training_split(data: Path) -> None:
    shutil.rmtree(data / "train")


def no_folder(data: Path) -> None:
    shutil.rmtree(data)


def roi_of_another_size(data: Path) -> None:
    write_image(data / "roi" / FIRST, np.full((32, 64), 255, np.uint8))


def roi_of_zeros(data: Path) -> None:
    write_image(data / "roi" / FIRST, np.zeros((64, 64), np.uint8))


def one_missing_roi(data: Path) -> None:
    (data / "roi" / FIRST).unlink()


def no_roi(data: Path) -> None:
    shutil.rmtree(data / "roi")


@pytest.fixture
def data(zipper: Path, tmp_path: Path) -> Path:
    return shutil.copytree(zipper, tmp_path / "data")


def one_line(capsys: Capture, *words: str) -> None:
    err = capsys.readouterr().err
    assert err.startswith("roinspect: ") and len(err.splitlines()) == 1 and "Traceback" not in err
    for word in words:
        assert word in err


def no_leftovers(folder: Path, out: Path) -> None:
    assert not out.exists()
    assert not [path for path in folder.rglob("*") if path.suffix in (".tmp", ".part")]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut_off, (FIRST, "cut off", "copy it again")),
        (no_image, (FIRST, "not a PNG", "convert or remove")),
        (no_training_split, ("data", "at least 3 good images")),
        (no_folder, ("data", "no such folder")),
        (roi_of_another_size, (f"roi/{FIRST}", "32x64", "64x64")),
        (roi_of_zeros, (f"roi/{FIRST}", "marks nothing", "--roi none")),
        (one_missing_roi, (FIRST, "have none", "--roi none")),
        (no_roi, ("data", "no region of interest", "--roi none")),
    ],
)
def test_training_on_bad_data(
    spoil: Callable[[Path], None],
    words: tuple[str, ...],
    data: Path,
    tiny: tuple[str, ...],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    spoil(data)
    out = tmp_path / "model"
    assert run("train", "grdnet", data, "--out", out, *tiny) == 2
    one_line(capsys, *words)
    no_leftovers(tmp_path, out)


def test_a_truth_of_another_size_costs_its_row(
    model: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    mask = data / "ground_truth/scratch_both/000_mask.png"
    cv2.imwrite(str(mask), np.full((10, 10), 255, np.uint8))
    capsys.readouterr()
    assert run("evaluate", model, data, "--out", tmp_path / "out") == 0
    output = capsys.readouterr().err
    assert "1 of 8 photographs" in output and "predictions.csv" in output and "Traceback" not in output
    assert str(mask) in (tmp_path / "out/predictions.csv").read_text()
    capsys.readouterr()
    assert run("check", data) == 2 and "10x10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method.widht", 8), ("method.widht", "method.width")),
        (("--trainin.steps", 8), ("trainin.steps", "training.steps")),
        (("--method.width", "wide"), ("method.width", "int")),
        (("--method.roi", "somewhere"), ("method.roi", "intersection")),
        (("--method.stem", 3), ("method.stem",)),
        (("--training.steps", 0), ("training.steps", "at least 1")),
        (("--training.accelerator", "abacus"), ("accelerator",)),
        (("--preset", "huge"), ("preset", "compact")),
        (("--size", "70"), ("--size", "multiples of 32")),
        (("--size", "big"), ("--size", "256x640")),
        (("--roi", "nowhere"), ("--roi nowhere",)),
        (("--columns.label", "grade"), ("manifest",)),
        (("--config", "nowhere.yaml"), ("nowhere.yaml",)),
        (("surplus",), ("surplus",)),
    ],
)
def test_bad_options(
    options: tuple[object, ...], words: tuple[str, ...], zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "model"
    assert run("train", "grdnet", zipper, "--out", out, *options) == 2
    one_line(capsys, *words)
    no_leftovers(tmp_path, out)


def test_data_on_the_command_line_go_over_those_of_a_yaml_file(
    zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("data: elsewhere\n")
    for words in (("--config", config, zipper), (zipper, f"--config={config}")):
        assert run("train", "grdnet", *words, "--print_config") == 0
        assert f"data: {zipper}\n" in capsys.readouterr().out
    assert run("train", "grdnet", "--config", config, "--out", tmp_path / "model") == 2
    one_line(capsys, "elsewhere")
    assert run("train", "grdnet", "--out", tmp_path / "model") == 2
    one_line(capsys, "DATA", "is required")


@pytest.mark.parametrize("text", ["method: {widht: 8}", "widht: 8", "method: {width: wide}", "method: ["])
def test_a_bad_yaml_file(text: str, zipper: Path, tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert run("train", "grdnet", zipper, "--out", tmp_path / "model", "--config", config) == 2
    one_line(capsys, "wid" if "wid" in text else "config")
    no_leftovers(tmp_path, tmp_path / "model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trian",), ("trian", "train")),
        (("train", "grdnit", "data"), ("grdnit", "grdnet")),
        (("train", "grdnet", "data"), ("--out",)),
        (("train", "grdnet", "--out", "x"), ("DATA",)),
        (("evaluate", "model"), ("DATA", "is required")),
        (("synth", "zippers", "out"), ("zipper",)),
        (("synth", "zipper", "out", "--count", "3"), ("count", "at least 20")),
        (("check", "nowhere"), ("nowhere",)),
        (("predict", "nowhere", "image.png"), ("nowhere",)),
        # Options are checked before the model is loaded.
        (("predict", "nowhere", "image.png", "--out", "table.txt"), ("--out table.txt", ".parquet")),
        (("predict", "nowhere", "image.png", "--workers", "2"), ("--workers", "--on ray")),
        (("watch", "nowhere", ".", "--out", "rows.jsonl", "--interval", "0"), ("--interval", "above 0")),
        (("watch", "nowhere", ".", "--out", "rows.txt"), ("--out rows.txt", ".jsonl")),
        (("watch", "nowhere", ".", "--out", "rows.jsonl", "--results", "word"), ("receiver",)),
        (("evaluate", "nowhere", "data", "--batch-size", "0"), ("--batch-size", "at least 1")),
        (("calibrate", "nowhere", "data", "--split", "test"), ("--split test",)),
        (("calibrate", "nowhere"), ("DATA", "required")),
        (("roi", "predict", "nowhere", "data", "--out", "roi", "--certain", "2"), ("--certain", "[0, 1]")),
    ],
)
def test_bad_commands(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    one_line(capsys, *words)
    assert not list(tmp_path.iterdir())


def test_the_bundle_comes_first_in_watch(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run("watch", tmp_path, bundle, "--out", tmp_path / "rows.jsonl") == 2
    one_line(capsys, "is a bundle, which comes first", f"run: roinspect watch {bundle} {tmp_path}")


def other_schema(bundle: Path) -> str:
    text = (bundle / "bundle.json").read_text()
    text = text.replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')
    (bundle / "bundle.json").write_text(text)
    return "schema version 99"


def changed_weights(bundle: Path) -> str:
    weights = bytearray((bundle / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(weights)
    return "weights.safetensors"


def changed_threshold(bundle: Path) -> str:
    content = json.loads((bundle / "bundle.json").read_text())
    content["threshold"]["value"] += 0.1
    (bundle / "bundle.json").write_text(json.dumps(content))
    return "bundle.json"


def missing_weights(bundle: Path) -> str:
    (bundle / "weights.safetensors").unlink()
    return "weights.safetensors"


@pytest.mark.parametrize("spoil", [other_schema, changed_weights, changed_threshold, missing_weights])
def test_a_damaged_bundle(
    spoil: Callable[[Path], str], model: Path, zipper: Path, tmp_path: Path, capsys: Capture
) -> None:
    bundle = shutil.copytree(model, tmp_path / "model")
    word = spoil(bundle)
    capsys.readouterr()
    assert run("evaluate", bundle, zipper, "--out", tmp_path / "out") == 2
    one_line(capsys, str(bundle), word)
    assert run("predict", bundle, zipper / FIRST) == 2
    one_line(capsys, str(bundle), word)
    no_leftovers(tmp_path, tmp_path / "out")


def test_evaluating_without_a_test_split(model: Path, data: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.rmtree(data / "test")
    capsys.readouterr()
    assert run("evaluate", model, data, "--out", tmp_path / "out") == 2
    one_line(capsys, "test split", "roinspect check")
    no_leftovers(tmp_path, tmp_path / "out")


def test_nothing_to_predict(model: Path, tmp_path: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run("predict", model, tmp_path, tmp_path / "nowhere.png") == 2
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 2 and len(output.err.splitlines()) == 1


def test_a_model_that_is_there_is_not_overwritten(
    model: Path, zipper: Path, tiny: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    bundle = shutil.copytree(model, tmp_path / "model")
    before = (bundle / "weights.safetensors").read_bytes()
    again = ("train", "grdnet", zipper, "--out", bundle, *tiny, "--training.steps", 1)
    capsys.readouterr()
    assert run(*again) == 2
    one_line(capsys, str(bundle), "--overwrite")
    assert (bundle / "weights.safetensors").read_bytes() == before
    assert run(*again, "--overwrite") == 0
    assert (bundle / "weights.safetensors").read_bytes() != before


def test_train_takes_the_default_method_where_none_is_named(
    zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--size", "64", "--training.steps", "2", "--method.weights", "none")
    options += ("--method.backbone", "tf_efficientnet_lite0", "--method.memory_size", "50")
    assert run("train", zipper, "--out", tmp_path / "model", *options) == 0
    assert json.loads((tmp_path / "model" / "bundle.json").read_text())["method"] == "roibank"
    assert run("train", "grdnett", zipper, "--out", tmp_path / "other") == 2
    assert "no such method" in capsys.readouterr().err

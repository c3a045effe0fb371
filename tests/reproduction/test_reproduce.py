"""A reproduction goes on where it stopped, and sets the paper's figure beside the measured one."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from roinspect import UserError
from roinspect.cli import main
from roinspect.comparison.job import ComparisonJob
from roinspect.comparison.schedule import _gpus
from roinspect.reproduction import catalogue, zipper_copies
from roinspect.reproduction.reproduce import Budget, ReproduceSettings, parse_length, reproduce

SMALL = ReproduceSettings(seeds=1, size="64", batch_size=4, budget=Budget(epochs=1))
FAST = ["--size", "64", "--batch-size", "4", "--seeds", "1", "--device", "cpu"]


def lines_of(out: Path, table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{table}.jsonl").read_text().splitlines()]


@pytest.fixture
def without_anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "peer_names", lambda: [])


@pytest.fixture
def with_anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["draem", "ganomaly", "padim", "patchcore"]
    monkeypatch.setattr(catalogue, "peer_names", lambda: names)
    monkeypatch.setattr(catalogue, "refuse_unknown_peer", lambda name: None)


def test_a_killed_reproduction_goes_on_where_it_stopped(
    mvtec: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    two = dataclasses.replace(SMALL, seeds=2, categories=("zipper",))
    made_up().stop_after = 3
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        reproduce("grdnet-7", mvtec, out, two)
    assert len(list((out / "jobs").iterdir())) == 3 and not list(out.glob("*.md"))
    run = made_up()
    told: list[str] = []
    reproduce("grdnet-7", mvtec, out, two, tell=told.append)
    assert told[0] == "3 of 10 trainings are done; 7 to go" and len(run.asked) == 7
    assert "grdnet-overlap-200-zipper-seed0" not in run.names
    again = made_up()
    first = lines_of(out, "grdnet-7")
    reproduce("grdnet-7", mvtec, out, two)
    assert not again.asked and lines_of(out, "grdnet-7") == first
    # With fewer seeds what is there serves again; on other terms it does not.
    reproduce("grdnet-7", mvtec, out, dataclasses.replace(two, seeds=1))
    assert not again.asked
    with pytest.raises(
        UserError, match=r"grdnet-overlap-200-zipper-seed0\.json: was measured on other terms"
    ):
        reproduce("grdnet-7", mvtec, out, dataclasses.replace(two, budget=Budget(epochs=2)))


@pytest.mark.usefixtures("with_anomalib")
def test_the_papers_figure_stands_beside_the_measured_one(
    mvtec: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    run = made_up()
    run.broken = {"draem"}
    told: list[str] = []
    page = reproduce(
        "grdnet-2",
        mvtec,
        tmp_path / "out",
        dataclasses.replace(SMALL, seeds=2, categories=("hazelnut",)),
        tell=told.append,
    ).read_text()
    assert run.names == [f"{name}-10-hazelnut-seed{seed}" for seed in (0, 1) for name in ("draem", "grdnet")]
    assert {job.epochs for job in run.asked} == {1} and {job.preset for job in run.asked} == {"paper"}
    assert {job.roi for job in run.asked} == {"none"} and {job.budget_seconds for job in run.asked} == {
        math.inf
    }
    figures = {(line["label"], line["measure"]): line for line in lines_of(tmp_path / "out", "grdnet-2")}
    ours = figures["GRD-Net", "image_auroc"]
    assert (ours["paper"], ours["measured"], ours["values"]) == (0.967, 1.0, [1.0, 1.0])
    assert ours["difference"] == pytest.approx(0.033) and ours["deviation"] == 0
    assert ours["source"] == "GRD-Net 2023, Table 2" and "--budget 1 epoch" in ours["changes"]
    rival = figures["DRAEM", "pixel_auroc"]
    assert (rival["paper"], rival["measured"], rival["values"]) == (0.557, None, [])
    assert "| hazelnut | GRD-Net | image AUROC | 0.967 | 1.000 ± 0.000 | +0.033 | 2 |" in page
    assert "| hazelnut | DRAEM | pixel AUROC | 0.557 | – | – | 0 |" in page
    assert "**DRAEM**: draem: broke down" in page and "- --size 64" in page and "no batch size" in page
    assert told[-1].startswith("Failed: draem-10-hazelnut-seed0, draem-10-hazelnut-seed1. To try them again")


def test_without_a_budget_the_papers_lengths_and_sizes_are_taken(
    mvtec: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    run = made_up()
    paper = ReproduceSettings(seeds=1, categories=("zipper",))
    reproduce("grdnet-7", mvtec, tmp_path / "a", paper)
    reproduce("ceod-test", mvtec, tmp_path / "b", paper)
    found = {(job.title.rsplit("-zipper")[0], job.epochs, job.batch_size, job.size_hw) for job in run.asked}
    assert ("grdnet-target-200", 200, 8, (256, 256)) in found
    assert ("efficientnet_b0-ceod", 1000, 32, (224, 224)) in found
    assert ("customnet-ce", 100, 32, (224, 224)) in found
    reproduce("mvtec", mvtec, tmp_path / "c", dataclasses.replace(paper, methods=("roibank", "grdnet")))
    assert [(job.method, job.epochs) for job in run.asked[-2:]] == [("roibank", None), ("grdnet", 200)]


def test_both_tables_of_ceod_share_their_trainings(
    mvtec: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    run = made_up()
    reproduce("ceod-1", mvtec, tmp_path, SMALL)
    assert run.names == [
        f"{net}-{loss}-zipper-grouped-seed0"
        for net in ("efficientnet_b0", "customnet")
        for loss in ("ce", "ceod")
    ]
    curves = {(line["entry"], line["measure"]): line for line in lines_of(tmp_path, "ceod-1-grouped")}
    distance = curves["customnet-ceod", "held-out/weighted_distance@end"]
    assert (distance["paper"], distance["measured"]) == (0.0003, 0.25 * 0.001)
    assert ("customnet-ce", "train/weighted_distance@end") not in curves
    page = reproduce("ceod-test", mvtec, tmp_path, SMALL).read_text()
    assert len(run.asked) == 4
    assert "| zipper | CustomNet, CE | accuracy at 0.5 | 0.488 | 1.000 | +0.512 | 1 |" in page
    assert "| zipper | CustomNet, CEOD | training, s | 268 | 10 | -258 | 1 |" in page
    assert "copies of a photograph stay in one split" in page and ", 0 are copies of a photograph" in page
    # The paper's split is another set of trainings, and another table.
    as_paper = dataclasses.replace(SMALL, split="paper")
    page = reproduce("ceod-test", mvtec, tmp_path, as_paper).read_text()
    assert len(run.asked) == 8 and run.names[-1] == "customnet-ceod-zipper-paper-seed0"
    assert "--split paper" in page and "Seed 0: of 40 test images, 40 are copies" in page
    assert {path.name for path in tmp_path.glob("ceod-test*.md")} == {
        "ceod-test-grouped.md",
        "ceod-test-paper.md",
    }


@pytest.mark.usefixtures("without_anomalib")
def test_rivals_without_anomalib_are_named_and_left_out(
    mvtec: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    run, told = made_up(), []
    hazelnut = dataclasses.replace(SMALL, categories=("hazelnut",))
    page = reproduce("grdnet-5", mvtec, tmp_path, hazelnut, tell=told.append).read_text()
    assert run.names == ["grdnet-200-hazelnut-seed0"]
    assert "anomalib is not installed, so ganomaly, draem, padim, patchcore are not trained" in told[0]
    assert "roinspect[peers]" in told[0] and "PatchCore" not in page.split("Measured:")[0]
    with pytest.raises(UserError, match="grdnet-5: anomalib is not installed, so draem are not trained"):
        reproduce("grdnet-5", mvtec, tmp_path, dataclasses.replace(hazelnut, methods=("draem",)))
    with pytest.raises(UserError, match="--methods draem: no such method"):
        reproduce("mvtec", mvtec, tmp_path, dataclasses.replace(hazelnut, methods=("draem",)))


@pytest.mark.usefixtures("with_anomalib")
def test_settings_are_given_to_a_method_or_to_one_training(
    mvtec: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    given = {"grdnet": {"width": 8, "latent": 8}, "grdnet-target-200": {"latent": 16}}
    run = made_up()
    zipper = dataclasses.replace(SMALL, categories=("zipper",), settings=given)
    page = reproduce("grdnet-7", mvtec, tmp_path, zipper).read_text()
    latent = {job.title: job.settings["latent"] for job in run.asked}
    assert latent["grdnet-target-200-zipper"] == 16 and latent["grdnet-overlap-200-zipper"] == 8
    assert "- grdnet-target-200: latent 16" in page
    for settings, words in (
        ({"grdnet": {"widht": 8}}, "widht: grdnet has no such setting"),
        ({"roibank": {"strides": [8]}}, "--settings.roibank: is no training and no method of the table"),
    ):
        with pytest.raises(UserError, match=words):
            reproduce("grdnet-7", mvtec, tmp_path, dataclasses.replace(zipper, settings=settings))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grdnet-6"], "grdnet-6: no such table, did you mean grdnet-"),
        (["grdnet-7", "--budget", "soon"], "--budget: 'soon' is no length of a training; write 90s"),
        (["grdnet-7", "--budget", "0 epochs"], "--budget: must be at least 1 epoch"),
        (["grdnet-7", "--seeds", "0"], "--seeds: must be at least 1"),
        (["grdnet-7", "--methods", "ceod"], "--methods: grdnet-7 has no ceod; it has grdnet"),
        (["grdnet-7", "--categories", "ziper"], "--categories: grdnet-7 has no ziper, did you mean zipper?"),
        (["mvtec", "--categories", "zippre"], "--categories: MVTec AD has no product 'zippre'"),
        (["mvtec", "--methods", "grdnett"], "grdnett"),
        (["grdnet-7", "--categories", "zipper", "--size", "huge"], "--size"),
        (["grdnet-7", "--split", "paper"], "--split paper: grdnet-7 has no copies of photographs"),
    ],
)
def test_bad_options(
    mvtec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    out = tmp_path / "out"
    assert main(["reproduce", *arguments, "--data", str(mvtec), "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1 and not out.exists()


def test_a_gpu_that_is_not_there(
    mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command = ["reproduce", "grdnet-7", "--data", str(mvtec), "--out", str(tmp_path / "out")]
    assert main([*command, "--device", "gpu"]) == 2
    assert "--device gpu: torch finds none; see roinspect doctor" in capsys.readouterr().err


def test_regions_of_the_users_own_are_a_change(
    mvtec: Path, made_up: Callable[[], Any], tmp_path: Path
) -> None:
    run = made_up()
    own = dataclasses.replace(SMALL, roi="auto", categories=("zipper",), methods=("grdnet",))
    page = reproduce("mvtec", mvtec, tmp_path, own).read_text()
    assert [job.roi for job in run.asked] == ["auto"] and "- --roi auto" in page
    with pytest.raises(UserError, match="hazelnut: 20 of 20 photographs have no ROI mask"):
        reproduce("mvtec", mvtec, tmp_path, dataclasses.replace(own, categories=("hazelnut",)))


def test_the_tables_are_listed_and_what_is_required_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name}" in f"\n{listed}" for name in catalogue.NAMES)
    assert "hazelnut, zipper; ROI masks of all photographs" in listed
    assert main(["reproduce", "visa"]) == 2 and "--data: is required" in capsys.readouterr().err


def test_lengths() -> None:
    assert parse_length("1 epoch") == Budget(epochs=1) and parse_length("2m") == Budget(seconds=120)


def test_a_job_takes_a_gpu_of_the_cluster_unless_it_is_for_the_cpu(tmp_path: Path) -> None:
    job = ComparisonJob("grdnet", 0, tmp_path, (64, 64), 4, 1.0, 1, tmp_path / "log")
    asked = {device: dataclasses.replace(job, accelerator=device) for device in ("auto", "cpu", "gpu")}
    assert [_gpus(asked[device], True) for device in ("auto", "cpu", "gpu")] == [1, 0, 1]
    assert [_gpus(asked[device], False) for device in ("auto", "cpu")] == [0, 0]
    with pytest.raises(UserError, match="no machine of the cluster has a GPU"):
        _gpus(asked["gpu"], False)


# -- in earnest ----------------------------------------------------------------------------------------------

NARROW = ["--settings.grdnet", '{"width": 8, "segmenter_width": 8, "latent": 8}']


def test_a_table_of_grdnet(mvtec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--methods", "grdnet", "--categories", "hazelnut", "--budget", "40 epochs", *FAST, *NARROW]
    command = ["reproduce", "grdnet-1", "--data", str(mvtec), "--out", str(out), "--jobs", "2", *options]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "0 of 2 trainings are done; 2 to go" in told and "GRD-Net 2023, Table 1" in told
    figures = lines_of(out, "grdnet-1")
    assert len(figures) == 32 and all(line["measured"] > 0 for line in figures)
    # Curves have a value every 40 steps, which are 20 epochs here.
    half, end = (
        [line["measured"] for line in figures if line["measure"] == f"train/ssim@{moment}"]
        for moment in ("half", "end")
    )
    assert half != end
    assert main(command) == 0 and "trainings are done" not in capsys.readouterr().out


def test_a_table_of_ceod_within_seconds(
    mvtec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipper_copies, "COUNTS", {0: 30, 1: 24})
    settings = ["--settings.ceod", '{"backbone": "customnet", "weights": "none"}']
    options = ["--budget", "1s", "--jobs", "2", *FAST, *settings]
    assert (
        main(["reproduce", "ceod-test", "--data", str(mvtec), "--out", str(tmp_path / "out"), *options]) == 0
    )
    figures = {
        (line["entry"], line["measure"]): line for line in lines_of(tmp_path / "out", "ceod-test-grouped")
    }
    assert len(figures) == 16 and all(0 <= line["measured"] <= 60 for line in figures.values())
    assert "customnet, random" in capsys.readouterr().out
    manifest = tmp_path / "out/data/zipper/grouped-0.csv"
    assert main(["check", str(manifest)]) == 0


@pytest.mark.parametrize(("table", "product"), [("visa", "candle"), ("mvtec2", "can")])
def test_a_public_data_set(
    table: str,
    product: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = request.getfixturevalue(table)
    options = ["--methods", "grdnet", "--categories", product, "--budget", "1 epoch", *FAST, *NARROW]
    out = tmp_path / "out"
    assert main(["reproduce", table, "--data", str(root), "--out", str(out), *options]) == 0
    figures = lines_of(out, table)
    assert [line["measure"] for line in figures] == ["image_auroc", "pixel_auroc", "aupro"]
    assert all(line["paper"] is None and 0 <= line["measured"] <= 1 for line in figures)
    assert f"| {product} | grdnet | image AUROC | – |" in capsys.readouterr().out


def test_a_command_that_is_killed_and_started_again(
    mvtec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--categories", "hazelnut", "--budget", "1 epoch", *FAST, *NARROW]
    command = ["reproduce", "grdnet-1", "--data", str(mvtec), "--out", str(out), *options]
    process = subprocess.Popen([sys.executable, "-m", "roinspect", *command], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 200
        while not list(out.glob("jobs/*.json")) and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    (done,) = out.glob("jobs/*.json")
    before = done.read_bytes()
    assert not list(out.glob("*.md"))
    assert main(command) == 0
    assert "1 of 2 trainings are done; 1 to go" in capsys.readouterr().out
    assert done.read_bytes() == before and len(lines_of(out, "grdnet-1")) == 32


def test_on_a_local_ray(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason='the extra "scale" is not installed')
    # As a user gives it: relative to where the command runs.
    monkeypatch.chdir(mvtec.parent)
    options = ["--methods", "grdnet", "--categories", "hazelnut", "--budget", "1 epoch", *FAST, *NARROW]
    assert main(["reproduce", "grdnet-2", "--data", mvtec.name, "--out", "out", "--on", "ray", *options]) == 0
    assert all(line["measured"] is not None for line in lines_of(tmp_path / "out", "grdnet-2"))

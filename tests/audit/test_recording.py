"""What is done to a model stands in the audit log, and what cannot be recorded is not done."""

from __future__ import annotations

import getpass
import os
import shutil
from pathlib import Path

import pytest

from roinspect import Inspector, UserError
from roinspect.audit.log import Entry, begin, entries, verify
from roinspect.audit.recording import VARIABLE, account, head, record, recorded, require_log


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "audit.db"
    begin(path, "anna", "pc")
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def recent(log: Path) -> list[Entry]:
    """All but the first entry."""
    assert verify(log).faults == ()
    return list(entries(log))[1:]


def test_without_a_log_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    require_log()
    assert record("loaded", "model", {}) == 0 and head() == ""
    with recorded("loaded", "model", {}):
        pass


def test_the_account_is_not_what_the_environment_says(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody else")
    record("loaded", Path("model"), {})
    assert getpass.getuser() == "somebody else" != account() == recent(log)[0].account


def test_a_path_is_recorded_in_full(log: Path) -> None:
    record("loaded", Path("model"), {})
    assert recent(log)[0].subject == str(Path.cwd() / "model")


@pytest.mark.skipif(os.name != "posix", reason="names that are no text exist only there")
def test_a_name_that_is_no_text_is_recorded(log: Path) -> None:
    record("loaded", os.fsdecode(b"model\xff"), {})
    assert recent(log)[0].subject == r"model\udcff"


def test_a_relative_path_of_the_log_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "audit.db")
    with pytest.raises(UserError, match=r"audit\.db is no full path; set it to .*audit\.db"):
        require_log()


def test_a_damaged_bundle_is_recorded_as_not_loaded(tmp_path: Path, log: Path) -> None:
    with pytest.raises(UserError):
        Inspector.load(tmp_path / "missing.model")
    (entry,) = recent(log)
    assert entry.action == "not loaded" and "missing.model" in entry.to_dict()["facts"]["error"]


def test_a_failure_is_recorded_as_well(log: Path) -> None:
    with pytest.raises(OSError, match="no space"), recorded("trained", "model", {"a": 1}):
        raise OSError("no space")
    done, failed = [entry.to_dict() for entry in recent(log)]
    assert (done["action"], failed["action"]) == ("trained", "not trained")
    assert failed["facts"] == {"entry": done["number"], "error": "no space"}


def test_what_cannot_be_recorded_is_not_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing.db"))
    with pytest.raises(UserError, match="no such audit log"):
        require_log()
    with pytest.raises(UserError, match="no such audit log"), recorded("trained", "model", {}):
        raise AssertionError("not reached")


# -- a model's life


@pytest.fixture
def bundle(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "own.model")


def test_loading_is_recorded_with_version_threshold_and_runtime(bundle: Path, log: Path) -> None:
    from roinspect.inspection.bundle import bundle_version

    inspector = Inspector.load(bundle, self_test="stop")
    entry = recent(log)[-1].to_dict()
    assert (entry["action"], entry["subject"]) == ("loaded", str(bundle))
    assert entry["facts"] == {
        "version": bundle_version(bundle),
        "threshold": inspector.threshold,
        "runtime": inspector.runtime,
        "files_sha256": {},
        "self_test": str(inspector.self_test()),
    }


def test_a_trial_is_not_recorded(bundle: Path, log: Path) -> None:
    Inspector.load(bundle, is_recorded=False)
    assert recent(log) == []


def test_a_model_that_fails_its_self_test_is_recorded_as_not_loaded(
    bundle: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*_: object) -> None:
        raise UserError("the self-test failed")

    monkeypatch.setattr(Inspector, "tested", failed)
    with pytest.raises(UserError, match="self-test failed"):
        Inspector.load(bundle, self_test="stop")
    assert [entry.action for entry in recent(log)] == ["not loaded"]


def test_a_new_threshold_is_recorded_beside_the_former(bundle: Path, log: Path) -> None:
    from roinspect.inspection.bundle import Threshold, bundle_version, read_bundle, replace_threshold

    former, version = read_bundle(bundle).threshold, bundle_version(bundle)
    replace_threshold(bundle, Threshold(0.75, "set by hand"))
    facts = recent(log)[-1].to_dict()["facts"]
    assert recent(log)[-1].action == "calibrated"
    assert facts["threshold"]["value"] == 0.75 and facts["former_threshold"]["value"] == former.value
    assert facts["former_version"] == version != facts["version"] == bundle_version(bundle)


def test_without_its_log_a_threshold_stays(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from roinspect.inspection.bundle import Threshold, bundle_version, replace_threshold

    version = bundle_version(bundle)
    monkeypatch.setenv(VARIABLE, str(bundle / "missing.db"))
    with pytest.raises(UserError, match="no such audit log"):
        replace_threshold(bundle, Threshold(0.75, "set by hand"))
    with pytest.raises(UserError, match="no such audit log"):
        Inspector.load(bundle)
    assert bundle_version(bundle) == version


def test_training_is_recorded_with_digests(
    zipper: Path, log: Path, tmp_path: Path, tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from roinspect.cli import main
    from roinspect.inspection.bundle import bundle_version, read_manifest

    out = tmp_path / "m"
    assert main(["train", "grdnet", str(zipper), "--out", str(out), "--training.steps", "1", *tiny]) == 0
    entry, manifest = recent(log)[-1].to_dict(), read_manifest(out)
    assert (entry["action"], entry["subject"]) == ("trained", str(out))
    assert entry["facts"]["version"] == bundle_version(out)
    for name in ("weights_sha256", "trained_on_sha256", "held_out_sha256", "fingerprints", "method"):
        assert entry["facts"][name] == manifest[name]


def test_without_its_log_training_does_not_begin(
    zipper: Path,
    tmp_path: Path,
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    from roinspect.cli import main

    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing.db"))
    assert main(["train", "grdnet", str(zipper), "--out", str(tmp_path / "m"), *tiny]) == 2
    assert "roinspect audit begin" in capsys.readouterr().err
    assert not (tmp_path / "m.run").exists()


def test_an_export_is_recorded_with_its_digests(
    bundle: Path, log: Path, written_once: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from roinspect.cli import main
    from roinspect.inspection.exported import read_export

    assert main(["export", str(bundle), "--to", "onnx"]) == 0
    entry = next(entry for entry in recent(log) if entry.action == "exported").to_dict()
    assert entry["subject"] == str(bundle / "onnx")
    assert entry["facts"]["files_sha256"] == dict(read_export(bundle, "onnx").files)
    Inspector.load(bundle, "onnxruntime")
    assert recent(log)[-1].to_dict()["facts"]["files_sha256"] == entry["facts"]["files_sha256"]


def test_an_export_that_cannot_be_put_in_place_is_recorded_too(
    bundle: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roinspect import files
    from roinspect.inspection.exported import describe, has_export, replacing

    def refused(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files, "replace_folder", refused)
    with pytest.raises(UserError, match="no space left"), replacing(bundle, "onnx") as folder:
        (folder / "graph.onnx").write_bytes(b"graph")
        describe(bundle, folder, "onnx", "float32", 0.5)
    assert [entry.action for entry in recent(log)] == ["exported", "not exported"]
    assert not has_export(bundle, "onnx")


def test_a_served_model_is_recorded_under_its_own_path(bundle: Path, log: Path) -> None:
    from roinspect.inspection.bundle import bundle_version
    from roinspect.server.served_models import ServedModel

    ServedModel("left", bundle)
    (entry,) = [entry.to_dict() for entry in recent(log)]
    assert (entry["action"], entry["subject"]) == ("loaded", str(bundle))
    assert entry["facts"]["version"] == bundle_version(bundle) and entry["facts"]["served_as"] == "left"


def test_a_bundle_that_cannot_be_served_is_recorded(bundle: Path, log: Path) -> None:
    from roinspect.server.served_models import ServedModel

    (bundle / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(UserError):
        ServedModel("left", bundle)
    assert [entry.action for entry in recent(log)] == ["not loaded"]


def test_a_release_and_its_way_back_are_recorded(bundle: Path, log: Path, tmp_path: Path) -> None:
    from roinspect.inspection.bundle import Threshold
    from roinspect.inspection.releases import change_threshold, release, roll_back

    line = tmp_path / "line"
    first = release(bundle, line, name="accepted")
    change_threshold(line, Threshold(0.75, "set by hand"))
    roll_back(line, first.present)
    done = [entry.to_dict() for entry in recent(log)]
    assert [entry["action"] for entry in done] == ["released", "calibrated", "released"]
    assert {entry["subject"] for entry in done} == {str(line)}
    assert done[0]["facts"] == done[2]["facts"] and done[0]["facts"]["release"] == "accepted"


def test_corrections_are_recorded_with_who_and_a_digest(log: Path, tmp_path: Path) -> None:
    from roinspect.files import sha256_of
    from roinspect.review.corrections import add_corrections, correction

    store = tmp_path / "results.jsonl.corrections.jsonl"
    add_corrections(store, correction("a.png", "good", "Anna"), correction("b.png", "defective", "Bela"))
    (entry,) = [entry.to_dict() for entry in recent(log)]
    assert (entry["action"], entry["subject"]) == ("corrected", str(store))
    assert entry["facts"] == {"corrections": 2, "by": ["Anna", "Bela"], "sha256": sha256_of(store)}

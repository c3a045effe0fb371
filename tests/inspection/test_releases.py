"""A release replaces the line's model whole or not at all; whatever was on the line can be rolled back to."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from roinspect.errors import UserError
from roinspect.inspection import release_history
from roinspect.inspection.bundle import Threshold, bundle_version, read_bundle, replace_threshold
from roinspect.inspection.references import Reference
from roinspect.inspection.release_files import digest_of
from roinspect.inspection.release_history import History
from roinspect.inspection.release_list import releases
from roinspect.inspection.releases import Swap, change_threshold, release, roll_back

from ..graphs import SIZE, constant_graph, forge

PHOTOGRAPH = cv2.imencode(".png", np.zeros((*SIZE, 3), np.uint8))[1].tobytes()
Forge = Callable[..., Path]


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """A bundle whose graph always scores 0.25, with a reference photograph that scored so, or otherwise."""
    folder = tmp_path_factory.mktemp("bundles")

    def make(threshold: float = 0.5, scored: float = 0.25) -> Path:
        path = folder / f"{threshold}-{scored}"
        if not path.exists():
            reference = Reference("0-good.png", 0, scored)
            manifest = {"threshold": Threshold(threshold, "chosen"), "references": (reference,)}
            forge(path, constant_graph(), {"0-good.png": PHOTOGRAPH}, **manifest)
        return path

    return make


@pytest.fixture
def line(tmp_path: Path) -> Path:
    return tmp_path / "line.model"


def copy(bundle: Path, target: Path) -> Path:
    return Path(shutil.copytree(bundle, target))


def current(line: Path) -> list[str]:
    return [one.name for one in releases(line) if one.is_current]


def temporary(line: Path) -> list[str]:
    return [path.name for path in line.parent.rglob(".*")]


# -- release and roll back -----------------------------------------------------------------------------------


def test_a_first_release(forged: Forge, line: Path) -> None:
    bundle = forged()
    swap = release(bundle, line)
    name = f"{datetime.now().date()}-{bundle_version(bundle)}"
    assert swap == Swap(name, None)
    assert digest_of(line) == digest_of(History(line).folder(name)) == digest_of(bundle)
    (row,) = releases(line)
    assert (row.name, row.version, row.method) == (name, bundle_version(bundle), "forged")
    assert row.threshold == 0.5 and row.is_current and row.remark == ""
    assert row.size == sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    assert row.note is not None and row.note.did == "released"
    assert temporary(line) == []


def test_exports_and_whatever_lies_in_the_bundle_come_with_it(
    forged: Forge, line: Path, tmp_path: Path
) -> None:
    bundle = copy(forged(), tmp_path / "bundle")
    (bundle / "notes").mkdir()
    (bundle / "notes/customer.txt").write_text("accepted")
    release(bundle, line)
    for name in ("references.zip", "onnx/graph.onnx", "onnx/export.json", "notes/customer.txt"):
        assert (line / name).read_bytes() == (bundle / name).read_bytes()


def test_back_and_forth_by_name(forged: Forge, line: Path) -> None:
    for name, threshold in (("a", 0.5), ("b", 0.6), ("c", 0.7)):
        release(forged(threshold), line, name=name)
    for name, former, threshold in (("a", "c", 0.5), ("c", "a", 0.7), ("b", "c", 0.6)):
        assert roll_back(line, name) == Swap(name, former)
        assert read_bundle(line).threshold.value == threshold and current(line) == [name]
    assert [one.name for one in releases(line)] == ["a", "c", "b"], "in the order of their last release"
    assert temporary(line) == []


def test_a_model_without_a_history_is_kept_first(forged: Forge, line: Path) -> None:
    copy(forged(0.5), line)
    os.utime(line / "bundle.json", (0, 86400 * 365))
    version = bundle_version(line)
    swap = release(forged(0.6), line, name="new")
    assert swap == Swap("new", f"1971-01-01-{version}")
    roll_back(line, str(swap.former))
    assert digest_of(line) == digest_of(forged(0.5))


def test_the_same_again_is_already_current(forged: Forge, line: Path) -> None:
    release(forged(), line, name="a")
    before = (line / "bundle.json").stat()
    for swap in (
        release(forged(), line),
        release(forged(), line, name="a"),
        release(line, line),
        roll_back(line, "a"),
    ):
        assert swap == Swap("a", "a")
    assert (line / "bundle.json").stat() == before
    assert [note.did for note in History(line).notes()] == ["kept", "released"]


def test_what_is_on_the_line_can_be_named(forged: Forge, line: Path) -> None:
    copy(forged(), line)
    assert release(line, line, name="accepted") == Swap("accepted", "accepted")
    assert current(line) == ["accepted"]


def test_a_bundle_that_was_there_keeps_its_name(forged: Forge, line: Path) -> None:
    release(forged(0.5), line, name="a")
    release(forged(0.6), line, name="b")
    with pytest.raises(UserError, match=r"has been released as a; leave --name out, or run: .* --back a"):
        release(forged(0.5), line, name="c")
    assert release(forged(0.5), line) == Swap("a", "b")
    assert release(History(line).folder("b"), line) == Swap("b", "a")


@pytest.mark.parametrize("name", ["a", "A"])
def test_a_name_has_one_content(name: str, forged: Forge, line: Path) -> None:
    release(forged(0.5), line, name="a")
    with pytest.raises(UserError, match=f"--name {name}: is the name of another bundle"):
        release(forged(0.6), line, name=name)
    assert current(line) == ["a"] and digest_of(History(line).folder("a")) == digest_of(forged(0.5))


def test_another_export_is_another_state(forged: Forge, line: Path, tmp_path: Path) -> None:
    bundle = copy(forged(), tmp_path / "bundle")
    first = release(bundle, line).present
    shutil.rmtree(bundle / "onnx")
    second = release(bundle, line, self_test="off")
    assert second == Swap(f"{first}-2", first) and not (line / "onnx").exists()
    assert roll_back(line, first) == Swap(first, f"{first}-2") and (line / "onnx").exists()


def test_a_line_changed_in_place_is_kept_as_it_is(forged: Forge, line: Path) -> None:
    release(forged(0.5), line, name="a")
    replace_threshold(line, Threshold(0.9, "by hand, past the history"))
    assert current(line) == []
    swap = release(forged(0.6), line, name="b")
    assert swap.former not in ("a", None)
    roll_back(line, str(swap.former))
    assert read_bundle(line).threshold.value == 0.9


# -- refused before anything is replaced ---------------------------------------------------------------------


@pytest.mark.parametrize("file", ["bundle.json", "weights.safetensors", "references.zip", "onnx/graph.onnx"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_damaged_bundle(file: str, is_gone: bool, forged: Forge, line: Path, tmp_path: Path) -> None:
    release(forged(0.5), line, name="a")
    bundle = copy(forged(0.6), tmp_path / "bundle")
    content = (bundle / file).read_bytes()
    (bundle / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if is_gone:
        (bundle / file).unlink()
    with pytest.raises(UserError, match=str(bundle)):
        release(bundle, line, self_test="off")
    assert current(line) == ["a"] and len(releases(line)) == 1


@pytest.mark.parametrize("file", ["trained_on.txt", "held_out.txt"])
def test_damaged_lists_of_photographs(file: str, line: Path, tmp_path: Path) -> None:
    import torch

    from roinspect.inspection.bundle import Bundle, save_bundle

    bundle = tmp_path / "bundle"
    manifest = Bundle("forged", {}, SIZE, Threshold(0.5, "chosen"))
    known = {"trained_on": ["0" * 16], "held_out": ["1" * 16]}
    save_bundle(bundle, manifest, {"nothing": torch.zeros(1)}, **known)
    (bundle / file).write_text("2" * 16)
    with pytest.raises(UserError, match=f"{file}: was changed or damaged"):
        release(bundle, line, self_test="off")
    assert not History(line).path.exists()


def test_a_segmenter(line: Path, tmp_path: Path) -> None:
    segmenter = forge(tmp_path / "bundle", constant_graph(), method="segmenter")
    with pytest.raises(UserError, match="is a segmenter"):
        release(segmenter, line)
    assert not History(line).path.exists()


def test_a_bundle_that_does_not_answer_as_in_training(
    forged: Forge, line: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release(forged(0.5), line, name="a")
    with pytest.raises(UserError, match="the self-test failed"):
        release(forged(0.6, 0.3), line, name="b")
    assert [one.name for one in releases(line)] == ["a"] == current(line)
    with caplog.at_level(logging.WARNING):
        release(forged(0.6, 0.3), line, name="b", self_test="warn")
    assert "the self-test failed" in caplog.text and current(line) == ["b"]
    roll_back(line, "a")
    with pytest.raises(UserError, match="the self-test failed"):
        roll_back(line, "b")
    assert current(line) == ["a"]
    roll_back(line, "b", self_test="off")
    assert current(line) == ["b"]


def test_a_bundle_that_does_not_run(line: Path, tmp_path: Path) -> None:
    bundle = forge(tmp_path / "bundle", constant_graph(values={"pred_score": np.nan}))
    with pytest.raises(UserError):
        release(bundle, line, runtime="onnxruntime")
    assert not line.exists()


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["safetensors"] = None
from roinspect.cli import main
raise SystemExit(main(["release", sys.argv[1], "--to", sys.argv[2]]))
"""


def test_without_torch_an_export_is_required(forged: Forge, line: Path, make_bundle: Forge) -> None:
    words = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(
        [*words, str(make_bundle()), str(line)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "torch, which could run its weights, is not installed; where it was trained, run:" in done.stderr
    assert not line.exists() and not History(line).path.exists()
    subprocess.run([*words, str(forged()), str(line)], capture_output=True, check=True)
    assert digest_of(line) == digest_of(forged())


def test_a_folder_that_is_no_bundle_is_not_replaced(forged: Forge, line: Path) -> None:
    line.mkdir()
    (line / "photograph.png").touch()
    with pytest.raises(UserError, match="is not a bundle and is not replaced"):
        release(forged(), line)
    assert (line / "photograph.png").exists() and not History(line).path.exists()


def test_a_link_is_not_replaced(forged: Forge, line: Path, tmp_path: Path) -> None:
    line.symlink_to(copy(forged(), tmp_path / "real"))
    with pytest.raises(UserError, match=f"is a link; name the folder it points to: {tmp_path / 'real'}"):
        release(forged(0.6), line)


def test_a_line_inside_the_bundle(forged: Forge, tmp_path: Path) -> None:
    bundle = copy(forged(), tmp_path / "bundle")
    with pytest.raises(UserError, match="is inside the bundle"):
        release(bundle, bundle / "line")
    assert digest_of(bundle) == digest_of(forged())


def test_the_working_folder_has_a_name(forged: Forge, line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy(forged(), line)
    monkeypatch.chdir(line)
    release(Path(), Path(), name="a")
    assert current(line) == ["a"]


def test_a_damaged_model_on_the_line_is_no_obstacle(
    forged: Forge, line: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy(forged(0.5), line)
    (line / "weights.safetensors").write_bytes(b"half")
    swap = release(forged(0.6), line)
    assert "was changed or damaged since training wrote it; it is kept as" in caplog.text
    assert (History(line).folder(str(swap.former)) / "weights.safetensors").read_bytes() == b"half"
    with pytest.raises(UserError, match="was changed or damaged"):
        roll_back(line, str(swap.former))
    assert current(line) == [swap.present]


def test_an_export_that_was_out_of_date_on_the_line_is_no_obstacle_on_the_way_back(
    forged: Forge, line: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy(forged(0.5), line)
    (line / "onnx/graph.onnx").write_bytes(b"of other weights")
    with pytest.raises(UserError, match="damaged since it was exported"):
        release(line, line.with_name("other"), self_test="off")
    swap = release(forged(0.6), line)
    assert caplog.text.count("WARNING") == 0
    roll_back(line, str(swap.former), self_test="off")
    assert "damaged since it was exported" in caplog.text
    assert (line / "onnx/graph.onnx").read_bytes() == b"of other weights"


def test_a_state_that_was_changed_since_is_not_rolled_back_to(forged: Forge, line: Path) -> None:
    release(forged(0.5), line, name="a")
    release(forged(0.6), line, name="b")
    folder = History(line).folder("a")
    replace_threshold(folder, Threshold(0.9, "in the history itself"))
    with pytest.raises(UserError, match=r"a: was changed since it was kept; to use it as it is, run: roinsp"):
        roll_back(line, "a")
    assert [(row.name, row.remark) for row in releases(line)] == [
        ("a", "was changed since it was kept"),
        ("b", ""),
    ]
    assert release(folder, line, name="a-changed") == Swap("a-changed", "b")
    assert read_bundle(line).threshold.value == 0.9


def test_nothing_to_list_or_to_roll_back_to(forged: Forge, line: Path) -> None:
    with pytest.raises(UserError, match="has no releases; put a bundle there"):
        releases(line)
    with pytest.raises(UserError, match="has no release named a"):
        roll_back(line, "a")
    assert list(line.parent.iterdir()) == []


# -- the disk and the clock ----------------------------------------------------------------------------------

KILLED = """
import os, shutil, sys
from pathlib import Path
from roinspect.inspection.bundle import Threshold
from roinspect.inspection.releases import change_threshold, release
place, former = map(Path, sys.argv[1:3])
if len(sys.argv) > 3:
    act = lambda line: release(Path(sys.argv[3]), line, self_test="off")
else:
    act = lambda line: change_threshold(line, Threshold(0.6, "chosen"))
real = os.replace
for step in range(12):
    line = place / str(step) / "line"
    shutil.copytree(former, line)
    child = os.fork()
    if child == 0:
        left = step
        def replace(*paths):
            global left
            if left == 0:
                os._exit(9)
            left -= 1
            return real(*paths)
        os.replace = replace
        act(line)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_step_loses_nothing(forged: Forge, tmp_path: Path) -> None:
    former, new = forged(0.5), forged(0.6)
    words = [sys.executable, "-c", KILLED, *map(str, (tmp_path, former, new))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    codes = [int(code) for code in done.stdout.split()]
    # Keep, note, keep, note, two for the line's model, note; then it was not killed.
    assert codes == [9] * 7 + [0] * 5
    seen = set()
    for step, code in enumerate(codes):
        line = tmp_path / str(step) / "line"
        kept = {digest_of(History(line).folder(name)) for name in History(line).names()}
        on_line = digest_of(line) if line.exists() else None
        assert on_line in (None, digest_of(former), digest_of(new))
        assert digest_of(former) in kept | {on_line}
        assert digest_of(new) in kept or on_line == digest_of(former)
        seen.add(on_line)
        # The next one finishes the work, and clears up.
        release(new, line, self_test="off")
        assert digest_of(line) == digest_of(new) and temporary(line) == [], code
        roll_back(line, next(n for n in History(line).names() if n != current(line)[0]), self_test="off")
        assert digest_of(line) == digest_of(former)
    assert len(seen) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_step_of_a_new_threshold_loses_nothing(forged: Forge, tmp_path: Path) -> None:
    release(forged(0.5), tmp_path / "line", name="a")
    for step in range(12):
        copy(History(tmp_path / "line").path, tmp_path / str(step) / "line.releases")
    words = [sys.executable, "-c", KILLED, *map(str, (tmp_path, forged(0.5)))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    # The copy's manifest, keep, note, the line's manifest, note.
    assert [int(code) for code in done.stdout.split()] == [9] * 5 + [0] * 7
    for step in range(12):
        line = tmp_path / str(step) / "line"
        assert read_bundle(line).threshold.value == (0.5 if step < 4 else 0.6)
        assert len(current(line)) == 1, "what the line uses is in the history"
        swap = change_threshold(line, Threshold(0.7, "chosen"))
        assert swap is not None and temporary(line) == []
        roll_back(line, "a")
        assert digest_of(line) == digest_of(forged(0.5))


@pytest.mark.parametrize("failing", range(1, 9))
def test_a_disk_that_is_full_at_any_step_loses_nothing(
    failing: int, forged: Forge, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, new = forged(0.5), forged(0.6)
    copy(former, line)
    fsync, calls = os.fsync, list[int]()

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) >= 2 * failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"\(No space left on device\); free space"):
        release(new, line, self_test="off")
    monkeypatch.undo()
    assert digest_of(line) == digest_of(former) and temporary(line) == []
    release(new, line, self_test="off")
    assert digest_of(line) == digest_of(new)


def test_a_folder_in_use_is_one_line(forged: Forge, line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(forged(0.5), line, name="a")
    replace = os.replace

    def in_use(source: Path, target: Path) -> None:
        # As Windows answers where a program has a file in it open.
        if Path(source) == line:
            raise PermissionError(errno.EACCES, "Access is denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", in_use)
    with pytest.raises(
        UserError, match=r"cannot be replaced \(Access is denied\); .* roinspect watch"
    ) as told:
        release(forged(0.6), line, name="b")
    assert told.value.where == str(line)
    monkeypatch.undo()
    assert current(line) == ["a"] and temporary(line) == []
    assert [one.name for one in releases(line)] == ["a", "b"], "kept already"
    assert release(forged(0.6), line, name="b") == Swap("b", "a")


def test_a_release_whose_note_fails_is_said(
    forged: Forge, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(forged(0.5), line, name="a")
    replace, notes = os.replace, list[Path]()

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "releases.jsonl":
            notes.append(target)
            if len(notes) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="b was released, but its note cannot be written"):
        release(forged(0.6), line, name="b")
    monkeypatch.undo()
    assert current(line) == ["b"]


def test_the_order_is_that_of_the_notes_whatever_the_clock_says(
    forged: Forge, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days: dict[str, int] = {"a": 10, "b": 20, "c": 5, "d": 21}

    class Clock(datetime):
        day = 1

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 11, cls.day)

    monkeypatch.setattr(release_history, "datetime", Clock)
    for number, (name, day) in enumerate(days.items()):
        Clock.day = day
        release(forged(0.5 + number / 10), line, name=name)
    rows = releases(line)
    assert [row.name for row in rows] == list(days) and current(line) == ["d"]
    assert ["clock" in row.remark for row in rows] == [False, False, True, False]


def test_without_notes_there_is_still_a_way_back(forged: Forge, line: Path) -> None:
    release(forged(0.5), line, name="a")
    release(forged(0.6), line, name="b")
    (History(line).path / "releases.jsonl").unlink()
    assert [(row.name, row.note) for row in releases(line)] == [("a", None), ("b", None)]
    assert current(line) == ["b"] and roll_back(line, "a") == Swap("a", "b")


def test_a_damaged_state_is_listed_as_such(forged: Forge, line: Path) -> None:
    release(forged(0.5), line, name="a")
    release(forged(0.6), line, name="b")
    (History(line).folder("a") / "bundle.json").write_text(json.dumps({}))
    (History(line).path / "stray").mkdir()
    rows = {row.name: row for row in releases(line)}
    assert "changed or damaged" in rows["a"].remark and rows["a"].threshold is None
    assert rows["stray"].remark and rows["stray"].version == "" and not rows["b"].remark


# -- thresholds ----------------------------------------------------------------------------------------------


def test_without_a_history_a_threshold_makes_none(forged: Forge, line: Path) -> None:
    copy(forged(), line)
    assert change_threshold(line, Threshold(0.9, "by hand")) is None
    assert read_bundle(line).threshold.value == 0.9 and not History(line).path.exists()


def test_a_threshold_can_be_rolled_back(forged: Forge, line: Path) -> None:
    release(forged(), line, name="a")
    graph = (line / "onnx/graph.onnx").stat()
    swap = change_threshold(line, Threshold(0.9, "by hand"))
    assert swap is not None and swap.former == "a" and current(line) == [swap.present]
    assert swap.present.endswith(bundle_version(line)) and read_bundle(line).threshold.value == 0.9
    assert (line / "onnx/graph.onnx").stat() == graph, "only the manifest is replaced"
    assert roll_back(line, "a") == Swap("a", swap.present) and digest_of(line) == digest_of(forged())
    assert change_threshold(line, Threshold(0.9, "by hand")) == swap, "the same state, by the same name"
    assert change_threshold(line, Threshold(0.9, "by hand")) == Swap(swap.present, swap.present)
    assert temporary(line) == []


def test_a_threshold_of_a_linked_bundle(forged: Forge, line: Path, tmp_path: Path) -> None:
    release(forged(), line, name="a")
    (tmp_path / "link").symlink_to(line)
    swap = change_threshold(tmp_path / "link", Threshold(0.9, "by hand"))
    assert swap is not None and current(line) == [swap.present]


def test_a_threshold_that_cannot_be_written(
    forged: Forge, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(forged(), line, name="a")
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(target) == line / "bundle.json":
            raise OSError(errno.EROFS, "Read-only file system")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match="the former threshold still holds"):
        change_threshold(line, Threshold(0.9, "by hand"))
    monkeypatch.undo()
    assert current(line) == ["a"] and temporary(line) == []


def test_a_kept_state_is_neither_replaced_nor_calibrated(forged: Forge, line: Path) -> None:
    release(forged(), line, name="accepted")
    kept = History(line).folder("accepted")
    version = bundle_version(kept)
    for act in (
        lambda: release(forged(0.6), kept),
        lambda: roll_back(kept, "accepted"),
        lambda: change_threshold(kept, Threshold(0.7, "set by hand")),
    ):
        with pytest.raises(UserError, match=r"is a release of a line's model; .*name .*line\.model$"):
            act()
    assert bundle_version(kept) == version and History(line).names() == ["accepted"]


def test_a_release_into_the_lines_model_is_refused(forged: Forge, line: Path) -> None:
    release(forged(), line)
    with pytest.raises(UserError, match="is inside the bundle"):
        release(forged(0.6), line / "other")
    assert not (line / "other").exists()


@pytest.mark.parametrize("lost", [["releases.lock"], ["releases.jsonl"], ["releases.lock", "releases.jsonl"]])
def test_a_copied_history_is_one_without_its_notes_or_its_lock(
    lost: list[str], forged: Forge, line: Path
) -> None:
    release(forged(), line, name="accepted")
    for name in lost:
        (History(line).path / name).unlink()
    with pytest.raises(UserError, match="is a release of a line's model"):
        release(forged(0.6), History(line).path / "new")
    with pytest.raises(UserError, match="is a release of a line's model"):
        change_threshold(History(line).folder("accepted"), Threshold(0.7, "by hand"))
    assert History(line).names() == ["accepted"]


def test_a_link_on_the_way_leads_into_no_history_or_model(forged: Forge, line: Path, tmp_path: Path) -> None:
    release(forged(), line, name="accepted")
    states = History(line).path
    (tmp_path / "to-states").symlink_to(states)
    (tmp_path / "to-line").symlink_to(line)
    with pytest.raises(UserError, match="is a release of a line's model"):
        release(forged(0.6), tmp_path / "to-states/new")
    with pytest.raises(UserError, match="is inside the bundle"):
        release(forged(0.6), tmp_path / "to-line/sub")
    states.rename(tmp_path / "disk")
    states.symlink_to(tmp_path / "disk")
    with pytest.raises(UserError, match="is a release of a line's model"):
        release(forged(0.6), states / "new")
    assert History(line).names() == ["accepted"] and not (line / "sub").exists()


def test_a_way_through_a_history_to_elsewhere_is_no_obstacle(forged: Forge, line: Path) -> None:
    release(forged(), line, name="accepted")
    assert release(forged(), History(line).path / "../other", name="a") == Swap("a", None)


def test_a_bundle_inside_another_has_a_threshold(
    forged: Forge, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(forged(), copy(forged(), line) / "other")
    assert change_threshold(line / "other", Threshold(0.9, "by hand")) is None
    monkeypatch.chdir(line / "other")
    assert change_threshold(Path(), Threshold(0.8, "by hand")) is None
    assert read_bundle(line / "other").threshold.value == 0.8 and read_bundle(line).threshold.value == 0.5

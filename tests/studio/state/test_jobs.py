"""Long work outlives the studio; it can be stopped, and its end is known whatever the end was."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.files import is_locked
from roinspect.studio.state import jobs as jobs_module
from roinspect.studio.state.jobs import Job, jobs, latest, start
from roinspect.studio.state.project import Project
from roinspect.studio.state.store import write_json
from roinspect.studio.state.trained_models import free_name, model_path, new_path
from roinspect.studio.state.training import Wish, begin_training, further, size_for


def wait(job: Job, state: str, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while job.state() != state and time.monotonic() < until:
        time.sleep(0.05)
    assert job.state() == state, job.log()


def test_a_job_ends_and_says_how(project: Project) -> None:
    job = start(project, "judge", "m", [["--version"], ["nonsense"], ["--version"]])
    wait(job, "failed")
    assert job.log().count("roinspect ") == 1 and "no such verb" in job.fault()
    assert job.seconds() < 60 and latest(project, "judge") == job and latest(project, "train") is None
    wait(start(project, "judge", "m", [["--version"]]), "done")
    assert len(jobs(project)) == 2


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker whose command sleeps, in place of the real one."""
    program = tmp_path / "sleeper.py"
    program.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom roinspect.studio.state import jobs\n"
        "jobs.run_command = lambda words: time.sleep(60) or 0\nsys.exit(jobs.work(Path(sys.argv[1])))\n"
    )
    real = jobs_module.subprocess.Popen

    def popen(words: list[str], **options: object) -> object:
        return real([words[0], str(program), words[3]], **options)

    monkeypatch.setattr(jobs_module.subprocess, "Popen", popen)


def test_a_job_is_stopped_by_anybody_who_knows_its_folder(project: Project, sleeper: None) -> None:
    start(project, "train", "m", [["x"]])
    # As another studio, started later, would find it.
    again = latest(Project(project.folder), "train")
    assert again is not None and again.state() == "running"
    while not is_locked(again.folder / "lock"):
        time.sleep(0.05)
    with pytest.raises(UserError, match="still at work"):
        start(project, "judge", "m", [["x"]])
    again.stop()
    wait(again, "stopped")


def test_a_job_that_was_killed_is_known_as_broken_off(project: Project, sleeper: None) -> None:
    job = start(project, "train", "m", [["x"]])
    while not is_locked(job.folder / "lock"):
        time.sleep(0.05)
    child = jobs_module._children[-1]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    wait(job, "broken off")


def test_a_damaged_job_is_passed_over(project: Project) -> None:
    write_json(project.state / "jobs" / "x" / "job.json", {"kind": "train"})
    write_json(project.state / "jobs" / "y" / "job.json", [1])
    assert jobs(project) == []


def test_a_wish_becomes_commands(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[tuple[str, ...]]] = []
    monkeypatch.setattr(
        "roinspect.studio.state.training.start", lambda _, kind, name, commands: started.append(commands)
    )
    begin_training(project, Wish("roibank", "m-1", uses_region=False, more="--training.steps 5"))
    train, judge = started[0]
    assert train[:3] == ("train", "roibank", str(project.folder)) and train[-2:] == ("--training.steps", "5")
    assert judge[0] == "evaluate" and judge[judge.index("--split") + 1] == "test"
    with pytest.raises(UserError, match="no region is drawn"):
        begin_training(project, Wish("roibank", "m-2"))


@pytest.mark.parametrize("name", ["", "../x", ".x", "a b", "a.run", "x" * 60])
def test_a_model_has_a_plain_name(project: Project, name: str) -> None:
    with pytest.raises(UserError):
        new_path(project, name)
    with pytest.raises(UserError):
        model_path(project, name)


def test_names_count_on(project: Project) -> None:
    assert free_name(project, "roibank") == "roibank-1"
    (project.state / "models" / "roibank-1.run").mkdir(parents=True)
    assert free_name(project, "roibank") == "roibank-2"


@pytest.mark.parametrize(
    "text", ["--config x.yaml", "--out /x", "--method.weights f", "-h", "--roi=/etc", "'open"]
)
def test_options_that_name_files_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        further(text)


def test_options_of_method_and_training_are_taken() -> None:
    words = ["--method.rotation", "-5", "--training.steps=3"]
    assert further(" ".join(words)) == words
    assert size_for((3000, 4000), 256) == (224, 288)

"""Work in another process answers, fails in one line, and is gone when its time is up, whatever it does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from roinspect import UserError
from roinspect.isolated import CancelledError, run_isolated

WORK = """
import os, signal, sys, time
from roinspect import UserError
from roinspect.isolated import answer

def work(request, begin):
    print("chatter that is no answer")
    how = request["how"]
    begin("working")
    open("pid", "w").write(str(os.getpid()))
    if how == "answer":
        return {"double": 2 * request["number"], "here": os.getcwd(), "set": os.environ.get("SET_FOR_IT")}
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if how == "fault":
        raise UserError("is too small", where="--size", remedy="use 64")
    if how == "crash":
        raise ValueError("first line\\nsecond line")
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    answer(work)
"""


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "made_up_work.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def run(how: str, *, seconds: float = 30, **options: Any) -> dict[str, Any]:
        return run_isolated(
            "made_up_work",
            {"how": how, "number": 21},
            {"loading": 60, "working": seconds},
            name="made-up",
            folder=tmp_path,
            log=tmp_path / "logs" / "log",
            remedy="be quick",
            **options,
        )

    return run


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_answer_comes_back_and_chatter_goes_to_the_log(isolated: Any, tmp_path: Path) -> None:
    told = isolated("answer", environment={"SET_FOR_IT": "yes"})
    assert told == {"double": 42, "here": str(tmp_path.resolve()), "set": "yes"}
    assert "chatter" in (tmp_path / "logs" / "log").read_text()


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("fault", "--size: is too small; use 64"),
        ("crash", "made-up: ValueError: first line; see .*log"),
        ("killed", "made-up: was killed; check whether memory ran out"),
    ],
)
def test_a_failure_is_one_line(isolated: Any, how: str, line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}$"):
        isolated(how)


def test_one_that_ignores_sigterm_is_gone_when_its_time_is_up(isolated: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="working took longer than 1 s and was stopped"):
        isolated("deaf", seconds=1)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_the_caller_can_end_it(isolated: Any, tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(CancelledError):
        isolated("deaf", stop=stop)


def test_it_leaves_when_its_caller_is_killed(isolated: Any, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from roinspect.isolated import run_isolated; here = Path.cwd();"
        "run_isolated('made_up_work', {'how': 'deaf'}, {'loading': 60, 'working': 60}, name='x', folder=here,"
        "log=here / 'log', remedy='')"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    caller.kill()
    caller.wait()
    while is_alive(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(int(pid.read_text()))

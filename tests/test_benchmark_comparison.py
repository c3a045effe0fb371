"""Benchmarks that run `roinspect compare`: its jobs become lines of the results, and go on from them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("torch")

import compared
from results import Results, machine

from roinspect.comparison.compare import CompareSettings

COMMON, TERMS = {"verb": "compare", "set": "zipper"}, {"size": "64x64", "settings": {"width": 8}}


def test_jobs_become_lines_and_go_on_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, stops_after = Results("toy", tmp_path), 2
    seen: list[dict[str, Any]] = []

    def compare(data: Path, out: Path, settings: object, *, roi: str, tell: Callable[[str], None]) -> None:
        """Four jobs, and the end of the process after some of them."""
        seen.append({file.name: json.loads(file.read_text()) for file in (out / "jobs").iterdir()})
        measured = 0
        for method, seed in (("padim", 0), ("padim", 1), ("roibank", 0), ("roibank", 1)):
            file = out / "jobs" / f"{method}-seed{seed}.json"
            if not file.exists():
                if measured == stops_after:
                    raise KeyboardInterrupt
                head = {"terms": TERMS, "method": method, "seed": seed, "machine": machine()}
                file.write_text(json.dumps({**head, "arms": {"plain": {"image_auroc": 0.9}}, "error": ""}))
                measured += 1
                tell(f"{file.stem} is done")

    monkeypatch.setattr(compared, "compare", compare)

    def run() -> None:
        settings = CompareSettings(methods=("roibank",))
        compared.run_compare(results, COMMON, tmp_path, "auto", settings, tmp_path / "work")

    with pytest.raises(KeyboardInterrupt):
        run()
    first, second = results.read(**COMMON)
    assert first.settings == {**COMMON, "method": "padim", "terms": TERMS}
    assert (first.seed, second.seed) == (0, 1)
    assert first.measures == {"arms": {"plain": {"image_auroc": 0.9}}, "error": ""}
    run()
    assert seen[0] == {} and set(seen[1]) == {"padim-seed0.json", "padim-seed1.json"}
    assert seen[1]["padim-seed1.json"]["terms"] == TERMS and seen[1]["padim-seed1.json"]["seed"] == 1
    assert len(results.read()) == 4
    # What is done is measured no more, and has one line.
    run()
    assert len(seen[2]) == 4 and len(results.file.read_text().splitlines()) == 4

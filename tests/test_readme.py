"""README and docs lead somewhere and say what is so; test_docs_commands runs what they show."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from roinspect.methods.ceod_settings import CeodSettings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CEOD = (ROOT / "docs/ceod.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def test_the_readme_shows_the_main_path() -> None:
    assert re.findall(r"^roinspect (\w+)", README, re.M) == ["check", "train", "train", "evaluate", "predict"]
    assert re.findall(r"^roinspect train (\w+)", README, re.M) == ["parts", "ceod"]
    assert README.count("```python\n") == 3


def test_the_presets_of_ceod_are_as_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w.]+) \| ([\w.]+) \|$", CEOD, re.MULTILINE)
    compact, paper = (dataclasses.asdict(CeodSettings.preset(name)) for name in ("compact", "paper"))
    differing = {
        name: (str(compact[name]), str(paper[name])) for name in compact if compact[name] != paper[name]
    }
    assert {name: (ours, theirs) for name, ours, theirs in rows} == differing


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(
        r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_every_page_stands_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert {page for page in pages if not re.search(rf" {re.escape(page)}$", listed, re.M)} == set()

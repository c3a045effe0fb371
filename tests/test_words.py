"""The docs, docstrings and messages use the usual technical words (see "Words" in CONTRIBUTING.md)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".j2", ".js", ".html"}),
]
INSTEAD = {
    r"\b(is|are) wanted\b": "required, or requested",
    r"\bto be had\b": "available",
    r"\banew\b": "again",
    r"\bmade-up\b": "synthetic",
    r"\bwhat (became|becomes|become) of\b": "result, prediction, or how it is used",
    r"\bnobody waits\b": "no longer needed",
    r"\bcan not\b": "cannot",
    r"\b(where|there)(of|by|upon)\b": "of which, so, then",
    r"\bbeforehand\b": "before, first, in advance",
    r"\bwho may come in\b": "access",
    r"\bhas rested\b": "is stable",
}


@pytest.mark.parametrize("phrase", INSTEAD)
def test_a_usual_word_is_used_instead_of(phrase: str) -> None:
    wrong = []
    for path in TEXTS:
        # CONTRIBUTING's table quotes the words that it advises against.
        text = (
            re.sub(r"(?m)^\|.*$", "", path.read_text())
            if path.name == "CONTRIBUTING.md"
            else path.read_text()
        )
        for match in re.finditer(phrase.replace(" ", r"\s+"), text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {match[0]}")
    assert not wrong, f"write {INSTEAD[phrase]}:\n" + "\n".join(wrong)

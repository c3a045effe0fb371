"""Every command and every piece of Python in README and docs: run where it can be, parsed wherever it stands.

A page's blocks run in order in a folder of their own, on tiny data. What a page speaks of and does not make
itself (`parts`, `model`, `new`) is laid there. A block under ``<!-- not run: REASON -->`` is parsed only.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")

from jsonargparse import ArgumentParser

from roinspect.cli import VERBS, main
from roinspect.errors import UserError
from roinspect.exports.export import export
from roinspect.inspection.targets.openvino import OpenVino
from roinspect.methods.registry import DEFAULT

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(
    r'(?:<!-- not run: (?P<reason>.*?) -->\n)?^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
NOT_RUN = {
    "docs/mvtec.md": ("needs MVTec AD", "takes minutes"),
    "docs/anomalib.md": "needs anomalib",
    "docs/reproduce.md": "needs MVTec AD",
}
"""Pages with marked blocks, and how the reasons begin."""

PARSED_ONLY = {
    "compare": "takes minutes; tests/comparison/test_compare.py runs it",
    "demo": "takes minutes; tests/cli/test_demonstration.py runs it",
    "serve": "runs until it is stopped; tests/server/test_live.py runs it",
    "studio": "runs until it is stopped; tests/studio runs it",
    "watch": "runs until it is stopped; tests/production/test_watch.py runs it",
    "--training.devices": "several processes; tests/training/test_ddp.py runs it",
    "ray": "several processes; tests/production/test_batch.py runs it",
}
"""Verbs and words of commands that are not run here, and why."""

EXPORTING = {"docs/deploy.md", "docs/tutorials/ml-engineer.md"}
"""Pages whose exports are run, in every format; each takes seconds, and other pages repeat them."""

PYTHON_ELSEWHERE = {"docs/serve.md": "needs a server; tests/server/test_live.py"}
OTHERS = {
    "cd",
    "curl",
    "docker",
    "git",
    "kill",
    "mkdir",
    "mosquitto_sub",
    "sbatch",
    "systemctl",
    "tensorboard",
    "xdg-open",
}
"""Programs that are not ours; they are neither run nor checked."""


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str
    reason: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(found["language"], found["title"] or "", found["text"], found["reason"] or "")
        for found in BLOCK.finditer(text)
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """The words of every command of a block, with what stands before `roinspect` taken away."""
    if block.language not in ("sh", "bash", "console", ""):
        return
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if set(word) <= set("&|;<>"):
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    yield words
                words = []
                if word not in ("&&", ";"):
                    break
            else:
                words.append(word)


def is_ours(words: list[str]) -> bool:
    return words[0] == "roinspect"


def launched(words: list[str]) -> list[str]:
    """The command of ours that another program starts, such as torchrun; or nothing."""
    return words[words.index("roinspect") :] if "roinspect" in words[1:] else []


# -- parsed: every command -----------------------------------------------------------------------------------


class Parsed(BaseException):
    """Stops a command once its arguments are read."""


@pytest.fixture
def parse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str]], str]:
    original = ArgumentParser.parse_args

    def read_and_stop(self: ArgumentParser, *arguments: object, **options: object) -> None:
        original(self, *arguments, **options)  # type: ignore[arg-type]
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", read_and_stop)
    monkeypatch.chdir(tmp_path)

    def parsed(words: list[str]) -> str:
        """The fault, or nothing."""
        if words[:2] == ["roinspect", "train"] and words[2] not in TRAIN:
            Path(words[2].lstrip("/")).mkdir(parents=True, exist_ok=True)
            words = [*words[:2], words[2].lstrip("/"), *words[3:]]
        try:
            code = main(words[1:])
        except Parsed:
            return ""
        return "" if code == 0 else capsys.readouterr().err

    return parsed


@pytest.mark.parametrize("page", PAGES)
def test_every_command_has_a_verb_and_options_that_exist(
    page: str, parse: Callable[[list[str]], str]
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    # In a sentence a command may leave out what it is about; what it names has to exist.
    inline = [shlex.split(line) for line in re.findall(r"`(roinspect [a-z][^`\n]*)`", text)]
    spoken = [words for words in inline if not re.search(r"[A-Z]{3,}|\.\.\.|\|", " ".join(words))]
    shown = []
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        shown += commands(block)
    for words in [*spoken, *shown]:
        ours = words if is_ours(words) else launched(words)
        if ours and len(ours) > 1:
            assert ours[1] in VERBS or ours[1].startswith("--"), " ".join(words)
            fault = parse(ours) if len(ours) > 2 or words in shown else ""
            is_half = words in spoken and re.search("required|expected one argument", fault)
            assert not fault or is_half, f"{' '.join(words)}: {fault}"


@pytest.mark.parametrize("page", PAGES)
def test_every_other_command_is_of_this_project_or_known(page: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    makefile = (ROOT / "Makefile").read_text()
    for words in [words for block in blocks(page) for words in commands(block)]:
        line = " ".join(words)
        if is_ours(words) or launched(words):
            continue
        if words[0] == "python":
            script = (ROOT / words[1]).read_text(encoding="utf-8")
            assert all(f'"{word}"' in script for word in words if word.startswith("--")), line
        elif words[0] == "pip":
            named = re.search(r"\[([\w,]+)\]", line)
            assert words[1] == "install" and set(named[1].split(",") if named else ()) <= set(extras), line
        elif words[0] == "make":
            assert all(re.search(rf"^{word}:", makefile, re.M) for word in words[1:] if "=" not in word), line
        else:
            assert Path(words[0]).name in OTHERS or words[0].startswith(".venv/bin/"), line


def test_blocks_that_are_not_run_are_the_known_ones() -> None:
    marked = {page: {block.reason for block in blocks(page)} - {""} for page in PAGES}
    marked = {page: reasons for page, reasons in marked.items() if reasons}
    assert set(marked) <= set(NOT_RUN)
    assert all(reason.startswith(NOT_RUN[page]) for page in marked for reason in marked[page])


# -- run: what can be ----------------------------------------------------------------------------------------

TRAIN = {
    "roibank": "--method.backbone tf_efficientnet_lite0 --method.weights none --method.memory_size 100 "
    "--training.steps 60 --method.learning_rate 0.01",
    "ceod": "--method.backbone customnet --size 128 --training.steps 60 --method.learning_rate 0.01",
    "grdnet": "--method.width 8 --method.segmenter_width 8",
    "segmenter": "--method.backbone tf_efficientnet_lite0 --training.steps 20",
}
"""Settings with which a training takes a moment; all but the segmenter do without pretrained weights.

roibank's and CEOD's suffice to find the region, as without one nothing is inspectable.
"""
SHORT = ["--size", "64", "--training.epochs", "null", "--training.steps", "2", "--training.batch_size", "4"]


def shortened(words: list[str]) -> list[str]:
    """The command with sizes that take a moment in place of minutes; what is given last counts."""
    if words[0] == "synth" and "--defect-pixels" not in words:
        return [*words, "--count", "40", "--size", "64"]
    if words[0] == "train" and "--print_config" not in words:
        method = words[1] if words[1] in TRAIN else DEFAULT
        short = SHORT if "--tile" not in words else SHORT[2:]
        return [*words, *short, *TRAIN[method].split()]
    return words


@pytest.fixture(scope="session")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages speak of without making it, by its name there."""
    from roinspect.images.pixels import read_mask, write_image
    from roinspect.synthetic.products import write_dataset

    home = tmp_path_factory.mktemp("supplies")
    write_dataset("zipper", home / "parts", count=40, seed=0, size_hw=(64, 64), train_defects=0.5)
    write_dataset("zipper", home / "fresh", count=20, seed=1, size_hw=(64, 64))
    shutil.copytree(home / "fresh/train/good", home / "monday")
    shutil.copytree(home / "parts/test/good", home / "new")
    shutil.copytree(home / "parts", home / "teile")
    for folder in sorted((home / "teile").rglob("good")):
        folder.rename(folder.with_name("Gut"))
    shutil.copy(min((home / "new").iterdir()), home / "new/part.jpg")
    mask = read_mask(min((home / "parts/roi/train/good").iterdir()))
    write_image(home / "mask.png", mask * 255)
    with (home / "parts.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["file"], *([f"parts/test/good/{p.name}"] for p in (home / "new").glob("*.png"))]
        )
    for name in ("model", "other"):
        words = shortened(["train", str(home / "parts"), "--out", str(home / name)])
        assert main(words) == 0
    shutil.copytree(home / "model", home / "demo/model")
    return home


def made_by(words: list[str]) -> set[str]:
    """Paths that a command says it writes."""
    return {words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--out", "--overlays", "--maps")}


def supply(words: list[str], home: Path) -> None:
    """Lay here what the words name, is not here, and is not to be made by them."""
    for word in set(words) - made_by(words):
        name = Path(word).parts[0] if word and not word.startswith(("-", "/")) else ""
        if name and (home / name).exists() and not Path(name).exists():
            (shutil.copytree if (home / name).is_dir() else shutil.copy)(home / name, name)
        if name.endswith(".csv") and Path(name).exists():
            supply(["parts"], home)


def expanded(pattern: str) -> list[str]:
    return [str(path) for path in sorted(Path().glob(pattern))] if "*" in pattern else [pattern]


def run_command(words: list[str], page: str, home: Path) -> None:
    needs_parquet = any(word.endswith(".parquet") for word in words) and not find_spec("pyarrow")
    is_repeated = words[1:2] == ["export"] and page not in EXPORTING
    if not is_ours(words) or set(words) & set(PARSED_ONLY) or needs_parquet or is_repeated:
        return
    if words[1] != "synth":
        supply(words, home)
    line = " ".join(words)
    if "--bf16" in words and words[1] == "export" and find_spec("openvino") and not OpenVino().has_bfloat16():
        # What the page says of such a processor: refused, and the export that is there stays.
        with pytest.raises(UserError, match="this processor has no bfloat16"):
            export(Path(words[2]), "openvino", bf16=home / "parts", tell=str)
        return
    # A model that learned for a moment may miss a plan's limits.
    ends = (0, 1) if words[1] == "qualify" else (0,)
    assert main(shortened([word for pattern in words[1:] for word in expanded(pattern)])) in ends, line
    if words[1] == "synth" and words[3] == "parts" and words[2] != "zipper":
        # What the page calls new and fresh is of its own product, not of the one in supplies.
        assert main(shortened(["synth", words[2], "fresh", "--seed", "1"])) == 0
        shutil.copytree("parts/test/good", "new")
    assert all(Path(path).exists() for path in made_by(words)), line


def run_python(text: str, page: str, names: dict[str, object], home: Path) -> None:
    supply(re.findall(r'"([\w./-]+)"', text), home)
    text = re.sub(r"\bsteps=\d+", "steps=2", re.sub(r'\bsize="\d+"', 'size="64"', text))
    exec(compile(text, page, "exec"), names)


RUN = [
    page for page in PAGES if any(block.language in ("sh", "bash", "python", "") for block in blocks(page))
]


def test_the_page_on_exports_runs_on_a_processor_without_bfloat16(
    supplies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(OpenVino, "has_bfloat16", lambda self: False)
    lines = [words for block in blocks("docs/deploy.md") for words in commands(block) if "--bf16" in words]
    assert lines
    for words in lines:
        run_command(words, "docs/deploy.md", supplies)


@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_from_top_to_bottom(
    page: str, supplies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROINSPECT_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.reason:
            continue
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        if block.language == "python" and page not in PYTHON_ELSEWHERE:
            run_python(block.text, page, names, supplies)
        for words in commands(block):
            run_command(words, page, supplies)


def test_what_is_not_run_here_is_run_elsewhere() -> None:
    for reason in {*PARSED_ONLY.values(), *PYTHON_ELSEWHERE.values()}:
        (place,) = re.findall(r"tests/[\w/.]+", reason)
        assert (ROOT / place).exists(), place

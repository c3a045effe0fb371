"""Settings: what an annotation does not allow is refused in one line that names the setting."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from roinspect.cli import main
from roinspect.errors import UserError
from roinspect.production.watch import WatchSettings
from roinspect.server.settings import ServeSettings
from roinspect.settings import Count, Positive, Share, check

pytest.importorskip("torch")

from roinspect.comparison.compare import CompareSettings
from roinspect.methods.ceod_settings import CeodSettings
from roinspect.methods.grdnet_settings import GrdNetSettings
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.segmenter.settings import SegmenterSettings
from roinspect.training.settings import TrainingSettings

CLASSES = (
    CeodSettings, CompareSettings, GrdNetSettings, RoiBankSettings, SegmenterSettings, ServeSettings,
    TrainingSettings, WatchSettings,
)  # fmt: skip


@dataclasses.dataclass
class Dial:
    level: Share = 0.5
    count: Count | None = None
    width: Annotated[int, Ge(8), MultipleOf(8)] = 8
    seconds: Annotated[float, Gt(0), Lt(math.inf)] = 1.0
    lamp: Literal["ring", "bar"] = "ring"
    folds: Literal[1, 2] = 1
    gain: Positive | Literal["auto"] = "auto"
    anything: int | str = 0

    def __post_init__(self) -> None:
        check(self, "--")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("level", (0, 1, 0.5)), ("count", (None, 1, 10**9)), ("width", (8, 64)), ("seconds", (1e-9, 1e9)),
        ("lamp", ("bar",)), ("folds", (2,)), ("gain", ("auto", 0.1)), ("anything", ("x", -1)),
    ],
)  # fmt: skip
def test_what_an_annotation_allows_is_taken(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        assert getattr(Dial(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("level", (-0.1, 1.1, math.nan, None, "half"), "at least 0 and at most 1"),
        ("count", (0, -1, math.nan), "at least 1"),
        ("width", (0, 7, 12), "at least 8 and a multiple of 8"),
        ("seconds", (0, math.inf), "above 0 and finite"),
        ("lamp", ("rin", None, 0), "one of ring, bar"),
        ("folds", (3, "1"), "one of 1, 2"),
        ("gain", (0, "Auto", None), "above 0 or one of auto"),
    ],
)
def test_anything_else_is_named_in_one_line(name: str, values: tuple[Any, ...], allowed: str) -> None:
    for value in values:
        with pytest.raises(UserError) as caught:
            Dial(**{name: value})
        assert str(caught.value) == f"--{name}: must be {allowed}, not {value}"


def test_an_option_is_named_as_on_the_command_line() -> None:
    with pytest.raises(UserError, match=r"^--max-body-mb: must be above 0 and finite, not 0$"):
        ServeSettings(max_body_mb=0)
    with pytest.raises(UserError, match=r"^training\.batch_size: must be at least 1, not 0$"):
        TrainingSettings(batch_size=0)


@pytest.mark.parametrize("settings_class", CLASSES)
def test_every_limit_of_every_setting_holds(settings_class: Any) -> None:
    refused = 0
    for name, hint in get_type_hints(settings_class, include_extras=True).items():
        for part in (hint, *get_args(hint)):
            beyond: list[Any] = ["nothing of the kind"] if get_origin(part) is Literal else []
            for limit in get_args(part)[1:] if get_origin(part) is Annotated else ():
                match limit:
                    case Ge(ge=bound):
                        beyond += [bound - 1, math.nan]
                    case Gt(gt=bound) | Lt(lt=bound):
                        beyond.append(bound)
                    case Le(le=bound):
                        beyond.append(bound + 1)
            for value in beyond:
                with pytest.raises(UserError) as caught:
                    settings_class(**{name: value})
                assert caught.value.where.endswith((name, name.replace("_", "-"))), (name, value)
                refused += 1
    assert refused > 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ceod", "--method.omega", "-1"], "method.omega: must be at least 0 and at most 1000000, not -1.0"),
        (
            ["segmenter", "--method.width", "12"],
            "method.width: must be at least 8 and a multiple of 8, not 12",
        ),
        (["roibank", "--training.held_out=1"], "training.held_out: must be at least 0 and below 1, not 1.0"),
        (["grdnet", "--method.stem", "3"], "--method.stem: Expected a Literal[1, 2]. Got value: 3"),
    ],
)
def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    method, *settings = arguments
    code = main(["train", method, str(tmp_path), "--out", str(tmp_path / "out"), *settings])
    error = capsys.readouterr().err
    assert code == 2 and error.startswith(f"roinspect: {line}") and error.count("\n") == 1

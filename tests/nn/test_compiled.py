"""Where nothing can be compiled, that is said at once, with what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from roinspect.errors import UserError  # noqa: E402
from roinspect.nn.compiled import refuse_no_compiler  # noqa: E402


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class MissingError(Exception):
        pass

    def broken(call: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            raise MissingError("\nNo working C++ compiler found\nsee the log")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError) as caught:
        refuse_no_compiler(torch.device("cpu"), "method.compile")
    line = str(caught.value)
    assert line.startswith("method.compile: ") and "\n" not in line
    assert "(No working C++ compiler found)" in line and "leave it off, or install a C++ compiler" in line
    with pytest.raises(UserError, match="Triton"):
        refuse_no_compiler(torch.device("cuda"), "method.compile")


def test_a_backend_that_works_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_, seen = torch.compile, []

    def traced(call: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        seen.append(call)
        return compile_(call, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    refuse_no_compiler(torch.device("cpu"), "method.compile")
    assert len(seen) == 1

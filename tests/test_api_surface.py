"""The public interface is what `api_surface.json` says: a change of it is made on purpose.

`python tests/test_api_surface.py` writes the file anew.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import roinspect

FILE = Path(__file__).with_name("api_surface.json")
NAMES = [name for name in roinspect.__all__ if name != "__version__"]


def surface() -> dict[str, object]:
    """Every public name: a function's signature, or those of a class and of its public methods."""
    return {name: described(getattr(roinspect, name)) for name in NAMES}


def described(thing: object) -> object:
    if not inspect.isclass(thing):
        return signature(thing)
    members = {
        name: "property" if isinstance(value, property) else signature(value)
        for name, value in vars(thing).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property | classmethod))
    }
    fields = [name for name in getattr(thing, "__annotations__", {}) if not name.startswith("_")]
    return {"": signature(thing), "attributes": fields, **dict(sorted(members.items()))}


def signature(thing: object) -> str:
    text = str(inspect.signature(getattr(thing, "__func__", thing)))  # type: ignore[arg-type]
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def test_the_public_interface_is_what_was_agreed() -> None:
    pytest.importorskip("torch")
    assert surface() == json.loads(FILE.read_text(encoding="utf-8")), (
        "see CONTRIBUTING.md, The public interface"
    )


def test_every_public_name_is_documented() -> None:
    pytest.importorskip("torch")
    assert all(
        inspect.getdoc(getattr(roinspect, name)) for name in roinspect.__all__ if name != "__version__"
    )
    assert set(dir(roinspect)) == set(roinspect.__all__)


def test_no_public_name_is_hidden_by_a_module_of_the_same_name() -> None:
    pytest.importorskip("torch")
    program = (
        "import pkgutil, importlib, roinspect\n"
        "names = {m.name for m in pkgutil.iter_modules(roinspect.__path__)}\n"
        "assert not names & set(roinspect.__all__), names & set(roinspect.__all__)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        roinspect.nothing  # noqa: B018


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1) + "\n", encoding="utf-8")

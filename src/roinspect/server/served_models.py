"""A served model, reloaded when its bundle changes; a faulty bundle never replaces a good one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from roinspect.errors import UserError
from roinspect.inspection.bundle import bundle_version
from roinspect.inspection.inspector import Inspector

Load: TypeAlias = Callable[[Path], Inspector]
Fingerprint: TypeAlias = frozenset[tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What answers at the moment.

    Attributes:
        inspector: warm: it has answered once.
        version: as `bundle_version`.
    """

    inspector: Inspector
    version: str


class ServedModel:
    """A bundle under a name.

    Args:
        name: for requests.
        path: the bundle.
        load: opens a bundle.

    Attributes:
        loaded: what answers; replaced as a whole, so it is to be read once a request.
        is_stale: whether the bundle on disk has changed and could not be loaded.

    Raises:
        UserError: the bundle cannot be loaded, or does not answer.
    """

    def __init__(self, name: str, path: Path, load: Load = Inspector.load) -> None:
        self.name, self.path, self.is_stale = name, path, False
        self._load = load
        self._tried = self._seen = fingerprint(path)
        self.loaded = _load_copy(path, load)

    def refresh(self) -> bool:
        """Reload the bundle if it has changed and been stable since the last call.

        Returns:
            Whether another one answers from now on.

        Raises:
            UserError: the new one cannot be loaded; the former goes on. Raised once for each state on disk.
        """
        found, before = fingerprint(self.path), self._seen
        self._seen = found
        if found == self._tried or found != before:
            return False
        self._tried, self.is_stale = found, True
        self.loaded = _load_copy(self.path, self._load)
        self.is_stale = False
        return True


def named(bundles: Sequence[str]) -> dict[str, Path]:
    """Bundles by name, from words such as "zipper.model" or "left=models/zipper.model".

    Raises:
        UserError: a name is taken twice, or cannot stand in an address.
    """
    found: dict[str, Path] = {}
    for word in bundles:
        name, is_named, path = word.partition("=")
        if not is_named:
            name, path = "", word
        name = name or Path(path).resolve().name
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or set(name) == {"."}:
            raise UserError(
                f"{name!r} is no name for a model",
                where=word,
                remedy="write NAME=BUNDLE, with letters, digits, dots, dashes and underscores",
            )
        if name in found:
            raise UserError(f"two models are named {name}", where=word, remedy="write NAME=BUNDLE")
        found[name] = Path(path)
    return found


def fingerprint(path: Path) -> Fingerprint:
    """Tells one state of a bundle's files from another without reading them."""
    states = set()
    # Unlike rglob, a walk goes on where a folder is taken away under it.
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            file = Path(folder) / name
            try:
                state = file.stat()
            except OSError:
                continue
            states.add((str(file), state.st_ino, state.st_size, state.st_mtime_ns))
    return frozenset(states)


def _load_copy(path: Path, load: Load) -> LoadedModel:
    # From a copy: its checksums refuse a mixture of two states, and a file that is written over in place,
    # which a runtime may have mapped into memory, cannot change the network that answers.
    try:
        with tempfile.TemporaryDirectory(prefix="roinspect-") as scratch:
            copy = Path(scratch) / "bundle"
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns("*.tmp"))
            inspector = load(copy)
            version = bundle_version(copy)
            inspector.inspect(np.zeros((*inspector.bundle.size_hw, 3), np.uint8))
    except UserError as error:
        raise UserError(str(error).replace(str(copy), str(path))) from None
    except OSError as error:
        raise UserError(
            f"cannot be read, or not be copied to the temporary folder ({error.strerror or error})",
            where=path,
            remedy="name a folder that training wrote, and leave room for a copy",
        ) from None
    except Exception as error:
        # Engines raise what they like.
        raise UserError(f"does not run ({error})", where=path, remedy="export it again") from error
    return LoadedModel(inspector, version)

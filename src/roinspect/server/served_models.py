"""A served model, reloaded when its bundle changes; a faulty bundle never replaces a working one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from roinspect.errors import UserError
from roinspect.inspection.bundle import bundle_version
from roinspect.inspection.inspector import Inspector

Load: TypeAlias = Callable[[Path], Inspector]
Fingerprint: TypeAlias = frozenset[tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded version of a model.

    Attributes:
        inspector: warmed up with one image.
        version: result of `bundle_version`.
    """

    inspector: Inspector
    version: str


class ServedModel:
    """A bundle under a name.

    Args:
        name: in requests.
        path: the bundle.
        load: opens a bundle.

    Attributes:
        loaded: the current version; may be replaced at any time, so read it once per request.
        is_stale: whether the bundle on disk has changed but could not be loaded.

    Raises:
        UserError: the bundle cannot be loaded or does not run.
    """

    def __init__(self, name: str, path: Path, load: Load = Inspector.load) -> None:
        self.name, self.path, self.is_stale = name, path, False
        self._load = load
        self._tried = self._seen = fingerprint(path)
        self.loaded = _load_copy(path, load)

    def refresh(self) -> bool:
        """Reload the bundle if it has changed, and has been stable since the last call.

        Returns:
            Whether a new version was loaded.

        Raises:
            UserError: it cannot be loaded; the previous version stays. Raised once per state on disk.
        """
        current, previous = fingerprint(self.path), self._seen
        self._seen = current
        if current == self._tried or current != previous:
            return False
        self._tried, self.is_stale = current, True
        self.loaded = _load_copy(self.path, self._load)
        self.is_stale = False
        return True


def named(bundles: Sequence[str]) -> dict[str, Path]:
    """Bundles by name, from arguments such as "zipper.model" or "left=models/zipper.model".

    Raises:
        UserError: a name is used twice, or is not valid in a URL.
    """
    paths: dict[str, Path] = {}
    for word in bundles:
        name, is_named, path = word.partition("=")
        if not is_named:
            name, path = "", word
        name = name or Path(path).resolve().name
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or set(name) == {"."}:
            raise UserError(
                f"{name!r} is not a valid model name",
                where=word,
                remedy="write NAME=BUNDLE, with letters, digits, dots, dashes and underscores",
            )
        if name in paths:
            raise UserError(f"two models are named {name}", where=word, remedy="write NAME=BUNDLE")
        paths[name] = Path(path)
    return paths


def fingerprint(path: Path) -> Fingerprint:
    """Identifies the state of a bundle's files without reading them."""
    states = set()
    # Unlike rglob, os.walk continues if a folder is removed meanwhile.
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
    # A copy cannot change while it is in use, even if a runtime maps its files into memory. Its checksums
    # reject a mixture of two states.
    try:
        with tempfile.TemporaryDirectory(prefix="roinspect-") as scratch:
            copy = Path(scratch) / "bundle"
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns("*.tmp"))
            inspector = load(copy)
            version = bundle_version(copy)
            inspector.warm_up()
    except UserError as error:
        raise UserError(str(error).replace(str(copy), str(path))) from None
    except OSError as error:
        raise UserError(
            f"cannot be copied to the temporary folder ({error.strerror or error})",
            where=path,
            remedy="name a folder that training wrote, and free space for a copy",
        ) from None
    except Exception as error:
        # Engines raise exceptions of any type.
        raise UserError(f"does not run ({error})", where=path, remedy="export it again") from error
    return LoadedModel(inspector, version)

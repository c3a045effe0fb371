"""A served model, reloaded when its bundle changes; a faulty bundle never replaces a working one."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from roinspect.audit.recording import record
from roinspect.errors import UserError
from roinspect.files import open_regular
from roinspect.inspection.bundle import bundle_version
from roinspect.inspection.drift import PARTS_BETWEEN, DriftMonitor, monitor_of
from roinspect.inspection.exported import bundle_files
from roinspect.inspection.inspector import Inspector
from roinspect.isolated import CancelledError

Load: TypeAlias = Callable[[Path], Inspector]
TryOut: TypeAlias = Callable[[Path, threading.Event], object]
"""Raises a UserError if a bundle must not be loaded here; gives up when the event is set."""
Fingerprint: TypeAlias = frozenset[tuple[str, int, int, int]]

_load = partial(Inspector.load, is_recorded=False)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded version of a model.

    Attributes:
        inspector: warmed up with one image.
        version: result of `bundle_version`.
        drift: of the parts that this version has inspected; None if the bundle does not say what is usual.
    """

    inspector: Inspector
    version: str
    drift: DriftMonitor | None = None


class ServedModel:
    """A bundle under a name.

    Args:
        name: in requests.
        path: the bundle.
        load: opens a bundle; the audit log hears of it here, under the bundle's own path.
        try_out: called before `load`, see `trial.try_out`.
        parts_between: parts between two false alarms of drift, on average; 0 does not look for it.

    Attributes:
        loaded: the current version; may be replaced at any time, so read it once per request.
        fault: why the changed bundle on disk could not be loaded, in one line; "" if it is the one loaded.
        unfit: what the last self-test found, in one line; "" if it was passed.

    Raises:
        UserError: the bundle cannot be loaded or does not run.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        load: Load = _load,
        try_out: TryOut = lambda path, stop: None,
        parts_between: float = PARTS_BETWEEN,
    ) -> None:
        self.name, self.path, self.fault, self.unfit = name, path, "", ""
        self._load, self._try_out, self._parts_between = load, try_out, parts_between
        self._tried = self._seen = fingerprint(path)
        self.loaded = self._load_copy(threading.Event())

    def refresh(self, stop: threading.Event | None = None) -> bool:
        """Reload the bundle if it has changed, and has been stable since the last call.

        Args:
            stop: set from another thread to give up.

        Returns:
            Whether a new version was loaded.

        Raises:
            UserError: it cannot be loaded; the previous version stays. Raised once per state on disk.
            CancelledError: `stop` was set.
        """
        current, previous = fingerprint(self.path), self._seen
        self._seen = current
        if current == self._tried or current != previous:
            return False
        self._tried = current
        try:
            self.loaded = self._load_copy(stop or threading.Event())
        except UserError as error:
            self.fault = str(error)
            raise
        self.fault = self.unfit = ""
        return True

    def test(self) -> str:
        """Run the self-test of the loaded version, and return `unfit`."""
        inspector = self.loaded.inspector
        try:
            result = inspector.self_test()
        except Exception as error:
            # Engines raise exceptions of any type.
            self.unfit = f"the self-test failed: {str(error).strip()[:300]}"
            return self.unfit
        self.unfit = f"the self-test failed: {result}" if result.tested and not result.is_passed else ""
        return self.unfit

    def _load_copy(self, stop: threading.Event) -> LoadedModel:
        # A copy cannot change while it is in use, even if a runtime maps its files into memory. Its checksums
        # reject a mixture of two states.
        copy = Path()
        try:
            with tempfile.TemporaryDirectory(prefix="roinspect-") as scratch:
                copy = Path(scratch) / "bundle"
                _copy(self.path, copy)
                self._try_out(copy, stop)
                inspector = self._load(copy)
                version = bundle_version(copy)
                inspector.warm_up()
                facts = {"threshold": inspector.threshold, "runtime": inspector.runtime}
                record("loaded", self.path, {"version": version, "served_as": self.name, **facts})
        except UserError as error:
            fault = self._fault(error.what, error.where, error.remedy, copy)
            record("not loaded", self.path, {"served_as": self.name, "error": str(fault)})
            raise fault from None
        except OSError as error:
            raise UserError(
                f"cannot be copied to the temporary folder ({error.strerror or error})",
                where=self.path,
                remedy="name a folder that training wrote, and free space for a copy",
            ) from None
        except CancelledError:
            raise
        except Exception as error:
            # Engines raise exceptions of any type.
            what = f"does not run ({str(error).strip()[:300]})"
            raise self._fault(what, self.path, "export it again", copy) from error
        drift = monitor_of(inspector.bundle.usual, self._parts_between, self.name)
        return LoadedModel(inspector, version, drift)

    def _fault(self, what: str, where: object, remedy: str, copy: Path) -> UserError:
        """An error about the bundle, not about its copy."""
        words = (str(word).replace(str(copy), str(self.path)) for word in (what, where, remedy))
        what, place, remedy = words
        place = place if place.startswith(str(self.path)) else f"{self.path}, {place}"
        return UserError(what, where=place, remedy=remedy)


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
    for name in bundle_files():
        try:
            state = (path / name).stat()
        except (OSError, ValueError):
            continue
        states.add((str(name), state.st_ino, state.st_size, state.st_mtime_ns))
    return frozenset(states)


def _copy(bundle: Path, target: Path) -> None:
    """Copy what loading reads, and nothing else that may lie in the folder."""
    for name in bundle_files():
        if not (bundle / name).exists():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with open_regular(bundle / name) as source, (target / name).open("wb") as copy:
            shutil.copyfileobj(source, copy)

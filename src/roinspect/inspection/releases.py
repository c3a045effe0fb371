"""Put a bundle on the line and roll back to an earlier one by name; needs no torch.

What the line uses, and all that it has used, lies whole in the `History`: a state is kept there first, and
only then replaces the line's model. So a crash at any point loses nothing.
"""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple

from roinspect.errors import UserError
from roinspect.files import remove_unfinished, writing
from roinspect.inspection.bundle import (
    MANIFEST,
    Threshold,
    bundle_version,
    check_files,
    read_bundle,
    replace_threshold,
)
from roinspect.inspection.exported import has_export, read_export
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.references import OnFailure
from roinspect.inspection.release_files import copy_files, digest_of
from roinspect.inspection.release_history import History, history_of, refuse_kept, refuse_unportable
from roinspect.inspection.targets import TARGETS

log = logging.getLogger(__name__)


class Swap(NamedTuple):
    """What the line uses and used before, by name.

    Attributes:
        present: the state that the line uses now.
        former: the one before; the same if nothing changed, None if there was none.
    """

    present: str
    former: str | None


def release(
    bundle: Path,
    line: Path,
    *,
    name: str | None = None,
    self_test: OnFailure = "stop",
    runtime: str = "auto",
) -> Swap:
    """Replace the line's model by a copy of a bundle; the former one stays in the history.

    Args:
        bundle: the new model.
        line: the bundle that the line's programs open; created if missing.
        name: of the new state; by default the date and the bundle's version.
        self_test: see `Inspector.load`; "off" does not run the model at all.
        runtime: that runs the self-test, see `Inspector.load`.

    Returns:
        The change; nothing is replaced if the line already uses the same files.

    Raises:
        UserError: the bundle is missing, damaged or a segmenter's, or an export is damaged; it does not run
            here or fails the self-test; the name is taken; another release is running; the disk refuses.
            The line's model is then unchanged.
    """
    history = history_of(line)
    if name is not None:
        refuse_unportable(name)
    digest = _checked(bundle)
    for fault in _faults_of_exports(bundle):
        raise fault
    version = bundle_version(bundle)
    if not _has(history, digest):
        _try_out(bundle, self_test, runtime)
    with history.locked():
        found = history.find(digest)
        if name is not None:
            _refuse_taken(history, name, found)
        former = _keep_line(history, {} if name is None else {digest: name})
        if former is not None and former.digest == digest:
            return Swap(former.name, former.name)
        if found is None:
            found = name or history.free_name(date.today(), version)
            history.keep(bundle, found, digest)
        history.put(found, digest)
    return Swap(found, former and former.name)


def roll_back(line: Path, name: str, *, self_test: OnFailure = "stop", runtime: str = "auto") -> Swap:
    """Replace the line's model by a state of its history; the present one stays there.

    For the arguments and errors see `release`. An export that is damaged or out of date is only reported: it
    was so when the line used this state, and loading never uses it.
    """
    history = history_of(line)
    folder = history.folder(name)
    digest = _checked(folder)
    if history.digests().get(name, digest) != digest:
        raise UserError(
            "was changed since it was kept",
            where=folder,
            remedy=f"to use it as it is, run: roinspect release {shlex.quote(str(folder))} "
            f"--to {shlex.quote(str(line))} --name NEW_NAME",
        )
    if self_test == "off":
        # Loading for the self-test reports them as well.
        for fault in _faults_of_exports(folder):
            log.warning(str(fault))
    if not _has(history, digest):
        _try_out(folder, self_test, runtime)
    with history.locked():
        former = _keep_line(history)
        if former is None or former.name != name:
            history.put(name, digest)
    return Swap(name, former and former.name)


def change_threshold(bundle: Path, threshold: Threshold) -> Swap | None:
    """Replace a bundle's threshold; where it has a history, the former and the new state are kept in it.

    Returns:
        The change; None without a history.

    Raises:
        UserError: see `read_bundle`, another release is running, or the disk refuses.
    """
    read_bundle(bundle)
    # A link's history is beside the folder it points to.
    bundle = bundle.resolve() if bundle.is_symlink() or bundle.name in ("", "..") else bundle
    # One inside another bundle may have its threshold, though no release goes there.
    refuse_kept(bundle)
    history = History(bundle)
    if not history.path.is_dir():
        replace_threshold(bundle, threshold)
        return None
    with history.locked():
        former = _keep_line(history)
        assert former is not None
        with (
            writing(history.path),
            tempfile.TemporaryDirectory(prefix=".threshold.", suffix=".tmp", dir=history.path) as scratch,
        ):
            copy = Path(scratch) / "bundle"
            copy_files(bundle, copy, former.digest)
            replace_threshold(copy, threshold, is_recorded=False)
            digest = digest_of(copy)
            present = history.find(digest)
            if present is None:
                present = history.free_name(date.today(), bundle_version(copy))
                history.keep(copy, present, digest)
        if digest != former.digest:
            # The manifest alone: that programs have other files open is no obstacle.
            remove_unfinished(bundle, MANIFEST)
            replace_threshold(bundle, threshold)
            history.note("released", present, digest)
    return Swap(present, former.name)


class _State(NamedTuple):
    name: str
    digest: str


def _keep_line(history: History, names: Mapping[str, str] | None = None) -> _State | None:
    """Keep what the line uses, unless it is kept already; None if there is nothing.

    Args:
        history: to keep it in.
        names: by digest; by default the date of the manifest and the version.
    """
    line = history.line
    if not line.exists():
        return None
    digest = digest_of(line)
    name = history.find(digest)
    if name is None:
        changed_on = date.fromtimestamp((line / MANIFEST).stat().st_mtime)
        name = (names or {}).get(digest) or history.free_name(changed_on, bundle_version(line))
        try:
            _check(line)
        except UserError as fault:
            log.warning(f"{fault.where}: {fault.what}; it is kept as {name}, but cannot be rolled back to")
        history.keep(line, name, digest)
    return _State(name, digest)


def _refuse_taken(history: History, name: str, found: str | None) -> None:
    """Raise a UserError if a name has another content, or the content another name."""
    if found is not None and found != name:
        raise UserError(
            f"the same bundle has been released as {found}",
            where=f"--name {name}",
            remedy=f"leave --name out, or run: roinspect release --to {shlex.quote(str(history.line))} "
            f"--back {shlex.quote(found)}",
        )
    # Windows does not distinguish upper and lower case.
    if found is None and (taken := {one.casefold(): one for one in history.names()}.get(name.casefold())):
        raise UserError(
            f"is the name of another bundle, {history.path / taken}",
            where=f"--name {name}",
            remedy="choose another --name, or leave it out",
        )


def _checked(bundle: Path) -> str:
    """The digest of a bundle that is whole."""
    read_bundle(bundle)
    # Before the check: a bundle that changes after it has another digest when it is copied, and is refused.
    digest = digest_of(bundle)
    _check(bundle)
    return digest


def _check(bundle: Path) -> None:
    """Raise a UserError if a bundle is damaged, exports apart, or gives no verdicts."""
    read_bundle(bundle)
    check_files(bundle)


def _faults_of_exports(bundle: Path) -> Iterator[UserError]:
    """Why exports of a bundle cannot be used."""
    for target in TARGETS:
        try:
            if has_export(bundle, target):
                read_export(bundle, target)
        except UserError as fault:
            yield fault


def _try_out(bundle: Path, self_test: OnFailure, runtime: str) -> None:
    """Run a bundle here; a released one runs here as well."""
    if self_test != "off":
        Inspector.load(bundle, runtime, self_test=self_test, is_recorded=False).warm_up()


def _has(history: History, digest: str) -> bool:
    return history.line.exists() and digest_of(history.line) == digest

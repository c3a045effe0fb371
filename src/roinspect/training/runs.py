"""A training run's folder next to the bundle: its settings, and whether it can be resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from roinspect.data.annotations.drawn import MaskSource
from roinspect.data.dataset import DecodedCache
from roinspect.errors import UserError
from roinspect.files import read_file, remove_unfinished, sha256, whole_file


def prepare_run(run: Path, settings: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Make the run's folder, or find the checkpoint to go on from.

    Returns:
        The checkpoint, or None to start over.

    Raises:
        UserError: the run to resume had other settings, or the folder is no run's or cannot be written.
    """
    note, checkpoint = run / "settings.json", run / "last.ckpt"
    plain = json.loads(json.dumps(settings))
    try:
        if resume and note.is_file():
            before = json.loads(note.read_bytes())
            if before != plain:
                raise UserError(
                    f"the run had other settings: {', '.join(sorted(_differences(before, plain)))}",
                    where=note,
                    remedy="resume with the same settings and data, or start over without --resume",
                )
            remove_unfinished(run)
            return checkpoint if checkpoint.is_file() else None
        if run.exists() and not note.is_file() and (not run.is_dir() or any(run.iterdir())):
            raise UserError(
                "is no training run and is not overwritten", where=run, remedy="choose another --out"
            )
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        with whole_file(note) as partial:
            partial.write_text(json.dumps(plain, indent=1), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=run, remedy="choose another --out"
        ) from error
    except ValueError:
        raise UserError("is damaged", where=note, remedy="start over without --resume") from None
    return None


def refuse_differences(firsts: Mapping[str, Any], own: Mapping[str, Any], *, rank: int) -> None:
    """Raise a UserError where this process is about to train something else than the first one is."""
    if firsts != own:
        raise UserError(
            f"not the same as in the first process: {', '.join(sorted(_differences(firsts, own)))}",
            where=f"process {rank}",
            remedy="give all machines the same command, photographs, masks and version of roinspect",
        )


def fingerprints_of(*caches: DecodedCache) -> dict[str, str]:
    """Of the photographs and of the ROI masks that a training uses, as `fingerprint`.

    They do not depend on which photographs are held out.
    """
    rows = [row for cache in caches for row in zip(cache.records, cache.digests, strict=True)]
    rows.sort(key=lambda row: row[0].key)
    return {
        "data": _united(digest for _, digest in rows),
        "roi": fingerprint((record.roi_path for record, _ in rows), _known(caches)),
    }


def _known(caches: Iterable[DecodedCache]) -> dict[MaskSource, str]:
    return {source: digest for cache in caches for source, digest in cache.mask_digests.items()}


def fingerprint(sources: Iterable[MaskSource | None], known: Mapping[MaskSource, str] | None = None) -> str:
    """SHA-256 over the contents of files and drawings, in order; "none" without any.

    Args:
        sources: the files and drawings.
        known: SHA-256 of some of them; the others are read.
    """
    present = [source for source in sources if source is not None]
    if not present:
        return "none"
    # One mask may serve every image; it is read once.
    digests = dict(known or {})
    for source in dict.fromkeys(present):
        if source not in digests:
            digests[source] = sha256(_content(source))
    return _united(digests[source] for source in present)


def _united(digests: Iterable[str]) -> str:
    return sha256(map(bytes.fromhex, digests))


def _content(source: MaskSource) -> bytes:
    return read_file(source) if isinstance(source, Path) else source.content()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}"

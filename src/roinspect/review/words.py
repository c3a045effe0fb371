"""A review in words, and as plain values for JSON."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roinspect.review.rates import Estimate, Stratum
from roinspect.review.review import OfVersion, Reviewed, by_version, looked_at
from roinspect.review.threshold import Proposal
from roinspect.review.training_set import TrainingSet

_WERE = {"rejected": "was rejected", "passed": "passed"}
NAMED = 5
"""Most parts that a line names."""


def summary(reviewed: Reviewed, results: Path) -> Iterator[str]:
    """What the line decided, what people found, and the rates."""
    versions = by_version(reviewed)
    yield f"{results}: {counted(len(reviewed.rows), 'row')}{_dates(reviewed)}."
    if reviewed.outside:
        yield f"{counted(reviewed.outside, 'row')} of another time, or without one, are left out."
    if len(versions) > 1:
        others = ", ".join(one.version for one in versions if not one.is_present)
        yield f"They are of {len(versions)} versions of the model, with figures of their own: also {others}."
    seen = looked_at(reviewed)
    people = ", ".join(f"{name} {count:,}" for name, count in seen.most_common())
    yield f"Looked at by people: {seen.total():,} of these parts{f' ({people})' if people else ''}."
    if reviewed.disputed:
        more = ", ..." if len(reviewed.disputed) > NAMED else ""
        yield (
            f"{counted(len(reviewed.disputed), 'part')} on which people disagree: "
            f"{', '.join(reviewed.disputed[:NAMED])}{more}; the last word counts."
        )
    if reviewed.strays:
        yield f"Corrections of photographs that are not in these results: {reviewed.strays:,}."
    for one in versions:
        yield ""
        yield from _of_version(one, reviewed)


def _dates(reviewed: Reviewed) -> str:
    times = [row.time for row in reviewed.rows if row.time is not None]
    return f", {min(times):%Y-%m-%d %H:%M} to {max(times):%Y-%m-%d %H:%M} UTC" if times else ""


def _of_version(one: OfVersion, reviewed: Reviewed) -> Iterator[str]:
    name = f"Version {one.version}{' (the bundle)' if one.is_present else ''}"
    yield (
        f"{name}: {one.rejected.parts:,} rejected, {one.passed.parts:,} passed, {one.not_inspectable:,} not "
        f"inspectable, {one.without_verdict:,} could not be inspected."
    )
    if one.repeated:
        yield (
            f"  Left out: {counted(one.repeated, 'repeated row')} of photographs that were inspected again; "
            "the last row of each counts."
        )
    if one.is_present and one.unstated:
        yield (
            f"  {counted(one.unstated, 'row')} do not say of which version, and are taken to be of this one."
        )
    rates = one.rates
    yield f"  {_stratum('rejected', 'good', one.rejected, rates.good_of_rejected)}."
    yield f"  {_stratum('passed', 'defective', one.passed, rates.defective_of_passed)}."
    yield f"  Of all good parts, rejected: {_rate(rates.false_reject, one)}."
    yield f"  Of all defective parts, found: {_rate(rates.detection, one)}."
    if one.not_inspectable_good or one.not_inspectable_defective:
        yield (
            f"  Of the {one.not_inspectable:,} not inspectable, {one.not_inspectable_good:,} were found good "
            f"and {one.not_inspectable_defective:,} defective; the rates are of the others."
        )
    by_chance = [
        word for word, part in (("rejected", one.rejected), ("passed", one.passed)) if _needs_chance(part)
    ]
    if by_chance:
        yield (
            f"  These hold only if the {' and the '.join(by_chance)} parts that were looked at were drawn by "
            "chance, not because something seemed wrong: draw some with --draw."
        )


def _needs_chance(stratum: Stratum) -> bool:
    """Whether the looked-at parts stand for others, and do not say that they were drawn."""
    return 0 < stratum.sample < stratum.parts and not stratum.is_drawn


def _stratum(verdict: str, odd: str, part: Stratum, share: Estimate) -> str:
    if not part.parts:
        return f"No part {_WERE[verdict]}"
    if not part.looked_at:
        return (
            f"Of {counted(part.parts, f'{verdict} part')}, none was looked at; {odd} ones: {_estimate(share)}"
        )
    chance = f" ({part.sample:,} drawn by chance)" if part.is_drawn else ""
    was = "was" if part.odd == 1 else "were"
    return (
        f"Of {counted(part.parts, f'{verdict} part')}, {part.looked_at:,} looked at{chance}, "
        f"{part.odd:,} {was} {odd}: {_estimate(share)}"
    )


def _rate(found: Estimate, one: OfVersion) -> str:
    """A rate in words; that nothing was rejected, or nothing passed, leaves no doubt about it."""
    for verdict, part in (("rejected", one.rejected), ("passed", one.passed)):
        if found.is_known and not part.parts:
            return f"{_percent(found.value)}, exact, as none {_WERE[verdict]}"
    return _estimate(found)


def _estimate(found: Estimate) -> str:
    if not found.is_known:
        return "unknown"
    if found.is_exact:
        return f"{_percent(found.value)}, exact, as all were looked at"
    return f"{_percent(found.value)}, between {_percent(found.low)} and {_percent(found.high)} (95% sure)"


def proposed(found: Proposal | None, bundle: Path) -> Iterator[str]:
    """The proposed threshold, with what it rests on; what it would let pass comes first."""
    if found is None:
        yield "No threshold is proposed: no part is known or taken to be good."
        return
    value, now, then = found.threshold.value, found.now, found.then
    if found.lost:
        more = ", ..." if len(found.lost) > NAMED else ""
        yield (
            f"NOTE: the proposed threshold lets {counted(len(found.lost), 'known defective part')} pass that "
            f"{'is' if len(found.lost) == 1 else 'are'} rejected now: {', '.join(found.lost[:NAMED])}{more}."
        )
    yield (
        f"Proposed threshold for a false-reject rate of {_percent(found.false_reject)}: {value:.4g}; now "
        f"{now.threshold:.4g}."
    )
    yield f"  {found.threshold.origin}."
    if found.threshold.warning:
        yield f"  Warning: {found.threshold.warning}."
    yield f"  Good parts rejected: {then.good_rejected:,} of {found.good:,}, now {now.good_rejected:,}."
    yield (
        f"  Known defective parts that pass: {then.defective_passed:,} of {found.defective:,}, now "
        f"{now.defective_passed:,}."
    )
    if found.not_used:
        yield (
            f"  Not used: {counted(found.not_used, 'rejected part')} that nobody looked at; good ones among "
            "them would raise the threshold."
        )
    if found.other_scores:
        yield f"  Not used: {counted(found.other_scores, 'row')} of models with other scores."
    yield f"  To set it: roinspect calibrate {shlex.quote(str(bundle))} --threshold {value!r}"


def written(made: TrainingSet) -> Iterator[str]:
    """What the next training set holds, and how to train on it."""
    added = ", ".join(f"{count:,} {label}" for label, count in made.added.items())
    yield (
        f"The next training set is {made.manifest}: {counted(made.records, 'photograph')} of the data and "
        f"{sum(made.added.values()):,} new to train with{f' ({added})' if added else ''}."
    )
    if made.predicted:
        yield (
            f"  The regions of the new ones are predicted by the model; look at them in "
            f"{made.manifest.parent / 'regions'}."
        )
    if made.known:
        yield f"  {counted(made.known, 'looked-at photograph')} are in the data already, with this label."
    for split, count in made.relabelled.items():
        stays = f"; they stay in its {split} split" if split != "train" else ""
        yield f"  {counted(count, 'photograph')} of the data have the label that people gave them{stays}."
    if made.left_out:
        yield f"  {counted(len(made.left_out), 'photograph')} are left out:"
        yield from (f"    {line}" for line in made.left_out)
    roi = "" if made.uses_roi else " --roi none"
    yield f"  To train: roinspect train {shlex.quote(str(made.manifest))}{roi} --out NEW_BUNDLE"


def as_values(reviewed: Reviewed, found: Proposal | None) -> dict[str, Any]:
    """The same figures for JSON; what is unknown is null."""
    times = [row.time for row in reviewed.rows if row.time is not None]
    return {
        "version": reviewed.version,
        "since": min(times).isoformat() if times else None,
        "until": max(times).isoformat() if times else None,
        "rows": len(reviewed.rows),
        "rows_outside": reviewed.outside,
        "looked_at": dict(looked_at(reviewed)),
        "corrections_of_other_photographs": reviewed.strays,
        "disputed": list(reviewed.disputed),
        "versions": [_plain(dataclasses.asdict(one)) for one in by_version(reviewed)],
        "proposal": None if found is None else _plain(dataclasses.asdict(found)),
        "remarks": list(reviewed.remarks),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "1 row" or "1,200 rows"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _percent(share: float) -> str:
    """Two significant digits: 0.25%, 3.1%, 43%."""
    return f"{100 * share:.2g}%" if 0 < share < 0.995 else f"{100 * share:.3g}%"

"""A table of a paper as data: what is trained, on what, and the paper's figure for every cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roinspect.reproduction.data_sets import DataSetName


@dataclass(frozen=True, slots=True)
class Entry:
    """A training that a table reports.

    Attributes:
        name: in file names and in `--settings`, the same in all tables that share the training.
        label: as printed.
        method: one of ours, or of anomalib's.
        settings: where they differ from the method's preset or anomalib's defaults.
        epochs: length of the training; None is the preset's.
    """

    name: str
    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure.

    Attributes:
        entry: the training's name.
        category: the product of the data set.
        measure: a name of `measures.MEASURES`.
        paper: the paper's figure, rates in [0, 1]; None if the paper has none.
    """

    entry: str
    category: str
    measure: str
    paper: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table to reproduce.

    Attributes:
        name: of `roinspect reproduce NAME`.
        title: what it shows.
        source: where it is printed; "" if nowhere.
        data_set: the data set whose folder is required.
        entries: the trainings.
        cells: the figures, in the order of the rows.
        protocol: one sentence each: what the paper states, and what is different here.
        size: height x width that images are resized to.
        needs_roi: every photograph needs a drawn or predicted ROI mask.
        makes_copies: the photographs are first turned into the 400 images of the CEOD paper.
    """

    name: str
    title: str
    source: str
    data_set: DataSetName
    entries: tuple[Entry, ...]
    cells: tuple[Cell, ...]
    protocol: tuple[str, ...] = ()
    size: str = "256"
    needs_roi: bool = False
    makes_copies: bool = False

    @property
    def categories(self) -> tuple[str, ...]:
        """The products, in the order of the rows."""
        return tuple(dict.fromkeys(cell.category for cell in self.cells))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order of the entries."""
        return tuple(dict.fromkeys(entry.method for entry in self.entries))

"""What debugging finds, as data: rows with distances, and the one where error is made."""

from dataclasses import dataclass

from ..ir import Node, Value
from ..sites import Location
from .measures import Distance, Statistics
from .segments import Segments
from .text import columns, plain

_MOST_NODES = 12
"""How many of a culprit's nodes are listed."""


@dataclass(frozen=True, eq=False)
class Row:
    """One tensor that both sides have: a module's output, a marker, or a tensor of two models."""

    name: str
    """How it is listed: the module, with call and output where there are several; a marker; a tensor."""
    module: str = ""
    """The path of the module, as in `module.get_submodule`; empty for the outermost one, or where there are none."""
    kind: str = ""
    """The module's class, or the operator."""
    tensor: str | None = None
    """The tensor of the model; None where there is none, for the `reason` given."""
    value: Value | None = None
    """The tensor as a value of the model's graph."""
    nodes: tuple[Node, ...] = ()
    """The nodes between this tensor and those of earlier rows."""
    local: Distance | None = None
    """The error that is made here: on the other side's own tensors as inputs."""
    accumulated: Distance | None = None
    """The error of a run of the whole model: what is made here and before."""
    tolerance: float = 0.0
    """The largest relative error that right kernels make in this dtype."""
    source: Location | None = None
    """Where torch calls the module, or where the node was written."""
    reason: str = ""
    """Why the row could not be aligned; else what is worth knowing of how it was."""
    counted: str = ""
    """What the row counts as in the report's coverage: a leaf module or a tensor; empty where as nothing."""
    expected: Statistics | None = None
    """What the tensor looks like on the side that is right by definition: torch, or the first model."""
    got: Statistics | None = None
    """What it looks like in the run of the whole model."""

    @property
    def is_aligned(self) -> bool:
        """Whether both sides have the tensor."""
        return self.tensor is not None

    @property
    def is_wrong(self) -> bool:
        """Whether error is made here."""
        return self.local is not None and self.local.relative > self.tolerance

    @property
    def label(self) -> str:
        """The name and the kind, as they are shown."""
        return plain(f"{self.name} ({self.kind})" if self.kind else self.name)

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True, eq=False, repr=False)
class Findings:
    """Rows in the order of execution. `reports.Report` adds what users do with them."""

    title: str
    rows: tuple[Row, ...]
    segments: Segments | None = None
    """The model cut at the rows' tensors, which a repro is made of; None where markers were compared."""
    counts: str = "leaf modules"
    """What is counted in the coverage."""

    @property
    def culprits(self) -> tuple[Row, ...]:
        """All rows where error is made, in order."""
        return tuple(row for row in self.rows if row.is_wrong)

    @property
    def culprit(self) -> Row | None:
        """The first row where error is made; None when none is."""
        return next(iter(self.culprits), None)

    @property
    def aligned(self) -> tuple[Row, ...]:
        """The rows of which both sides have the tensor."""
        return tuple(row for row in self.rows if row.is_aligned)

    @property
    def unaligned(self) -> tuple[Row, ...]:
        """The rows without a tensor in the model, each with its reason."""
        return tuple(row for row in self.rows if not row.is_aligned)

    @property
    def coverage(self) -> float:
        """The share of the leaf modules that were called (of the tensors, of two models) that could be aligned."""
        counted = {row.counted for row in self.rows if row.counted}
        found = {row.counted for row in self.aligned if row.counted}
        return len(found) / len(counted) if counted else 1.0

    @property
    def label(self) -> str:
        """The title, as it is shown."""
        return plain(self.title)

    @property
    def verdict(self) -> str:
        """What was found, in one sentence."""
        row = self.culprit
        if row is not None and row.local is not None:
            return f"error is made in {row}: {row.local.note or f'{row.local.relative:.1e} of the largest element'}"
        if any(row.local is not None for row in self.rows):
            return "no error is made beyond what rounding explains"
        return f"{len(self.aligned)} of {len(self.rows)} compared"

    def __repr__(self) -> str:
        found = f"culprit {self.culprit}" if self.culprit else "no culprit"
        return f"<Report {self.label!r}: {len(self.aligned)} of {len(self.rows)} rows aligned, {found}>"

    def __str__(self) -> str:
        return "\n".join([self.label, *_table(self), *_unaligned(self), *_coverage(self), self.verdict, *_place(self)])


def _table(report: Findings) -> list[str]:
    rows = report.aligned
    if not rows:
        return []
    local = any(row.local is not None for row in rows)
    header = ["", "tensor", *(["local"] if local else []), "max abs", "max rel", "MSE", "cosine"]
    lines = [
        [
            f"{'> ' if row is report.culprit else '  '}{row}",
            plain(row.tensor or ""),
            *([_number(row.local)] if local else []),
            *_measures(row.accumulated),
        ]
        for row in rows
    ]
    return columns(header, lines, left=2)


def _measures(found: Distance | None) -> list[str]:
    if found is None:
        return [""] * 4
    if found.note:
        return [found.note, "", "", ""]
    return [_number(found), _number(found.max_relative), _number(found.mse), f"{found.cosine:.6f}"]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return "0" if value == 0 else f"{float(value):.1e}"


def _coverage(report: Findings) -> list[str]:
    counted = any(row.counted for row in report.rows)
    return [f"{report.coverage:.0%} of the {report.counts} aligned"] if counted else []


def _place(report: Findings) -> list[str]:
    """Where the culprit was written, and the nodes that make it."""
    row = report.culprit
    if row is None:
        return []
    nodes = ", ".join(node.op_type for node in row.nodes[:_MOST_NODES])
    more = f" and {len(row.nodes) - _MOST_NODES} more" if len(row.nodes) > _MOST_NODES else ""
    found = [f"  nodes: {nodes}{more}"] if nodes else []
    return [*found, f"  at {plain(str(row.source))}"] if row.source is not None else found


def _unaligned(report: Findings) -> list[str]:
    lines = [f"  {row}: {plain(row.reason)}" for row in report.unaligned]
    return ["not aligned:", *lines] if lines else []

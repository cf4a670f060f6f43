"""What comes of a verification: a verdict with counts, or the exception that carries the smallest counterexample."""

import base64
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..emission import Emitter
from ..errors import GraphError
from ..ir import ModelData
from ..printing import model_text
from ..source import to_source
from ..types import as_dtype
from .judging import AGREE, NOTE, UNDEFINED, Judgement

_MOST_NODES = 8
"""Nodes of a model in a message."""

_MOST_SHOWN = 12
"""Elements of an array in a message."""

_LONGEST_SOURCE = 20_000
"""Characters of the source of a model in a script."""

_MOST_WRITTEN = 2000
"""Elements of an array in a script as numbers; longer ones are written as bytes."""


class Refuted(GraphError, AssertionError):
    """A counterexample was found: two models that should agree do not, or a rule changes what models compute."""

    __module__ = "graphdsl.verify"

    def __init__(
        self,
        message: str,
        *,
        feeds: Mapping[str, Any],
        judgement: Judgement,
        before: ModelData | None = None,
        after: ModelData | None = None,
        node: str | None = None,
        script: str = "",
    ) -> None:
        super().__init__(message)
        self.feeds: dict[str, Any] = dict(feeds)
        """The smallest input found, by input name."""
        self.judgement = judgement
        """What differs, with what both sides gave."""
        self.before = before
        self.after = after
        """The two models that differ on it."""
        self.node = node
        """The first node whose values differ, where the models share structure."""
        self.script = script
        """A program that shows the difference: it runs on its own, and fails."""


class Unfired(GraphError, AssertionError):
    """A rule fired on nothing that its pattern admits, so that nothing is known of it; the message says why."""

    __module__ = "graphdsl.verify"


@dataclass
class Verdict:
    """What was tried and found, where nothing was refuted. Prints as a short table.

    >>> import graphdsl as gd
    >>> from graphdsl import verify
    >>> x = gd.input("x", gd.float32["n"])
    >>> verdict = verify.equivalent(gd.build(x + x), gd.build(x * 2), examples=20)
    >>> verdict.judged
    20
    """

    subject: str
    """What was verified."""
    agreed: int = 0
    """Draws on which both sides agree."""
    noted: Counter[str] = field(default_factory=Counter)
    """Draws of which nothing can be said, by reason: overflow, for one."""
    undefined: Counter[str] = field(default_factory=Counter)
    """Draws that were set aside because the standard does not define what happens, by reason."""
    failed: Counter[str] = field(default_factory=Counter)
    """Draws that nothing here can compute, by reason."""
    tried: dict[str, Counter[str]] = field(default_factory=dict)
    """What was tried of rules: dtypes, opsets, ranks, and what came of instances of the pattern."""

    @property
    def judged(self) -> int:
        """The draws that were judged: those that agree, and those with a note."""
        return self.agreed + self.noted.total()

    def count(self, judgement: Judgement) -> None:
        """Count what came of a draw."""
        if judgement.kind == AGREE:
            self.agreed += 1
        else:
            counters = {NOTE: self.noted, UNDEFINED: self.undefined}
            counters.get(judgement.kind, self.failed)[judgement.reason] += 1

    def __str__(self) -> str:
        rows = [("agree", str(self.agreed))]
        for name, counter in (("noted", self.noted), ("undefined", self.undefined), ("not run", self.failed)):
            rows += [(name, f"{count}: {reason}") for reason, count in counter.most_common(4)]
        for name, counter in self.tried.items():
            shown = " ".join(f"{key} ({count})" for key, count in counter.most_common(12))
            rows.append((name, shown + (" ..." if len(counter) > 12 else "")))
        width = max(len(name) for name, _ in rows)
        return "\n".join([f"{self.subject}: not refuted", *(f"  {name:<{width}}  {text}" for name, text in rows)])


def message(what: str, judgement: Judgement, feeds: Mapping[str, Any], node: str | None, name: str) -> str:
    """The message of a refutation: what differs, on which input."""
    lines = [f"{what}: {judgement.reason}"]
    if judgement.before is not None:
        lines.append(f"  output {name!r}")
        lines += [f"    before: {shown(judgement.before)}", f"    after:  {shown(judgement.after)}"]
        lines += _place(judgement.before, judgement.after)
    if node is not None:
        lines.append(f"  first node that differs: {node}")
    lines += [f"  for {key} = {shown(value)}" for key, value in feeds.items()]
    return "\n".join(lines)


def _place(before: Any, after: Any) -> list[str]:
    """Where two large arrays begin to differ, since of each only the beginning is shown."""
    arrays = isinstance(before, np.ndarray) and isinstance(after, np.ndarray)
    if not arrays or before.shape != after.shape or before.size <= _MOST_SHOWN or before.dtype == object:
        return []
    differ = ~((before == after) | ((before != before) & (after != after)))  # NaN is no difference from NaN
    if not differ.any():
        return []
    place = tuple(np.argwhere(differ)[0].tolist())
    return [f"    at {list(place)}: {before[place]} before, {after[place]} after"]


def nodes_of(label: str, model: ModelData) -> list[str]:
    """The nodes of a small model, for a message."""
    text = model_text(model).splitlines()
    nodes = [line.partition(" #")[0].strip() for line in text[text.index("{") + 1 : -1]]
    return [f"  {label}", *(f"    {node}" for node in nodes)] if len(nodes) <= _MOST_NODES else []


def shown(value: Any) -> str:
    """A value in a message: small arrays whole, of large ones what they are."""
    if isinstance(value, np.ndarray) and value.size > _MOST_SHOWN:
        sample = ", ".join(map(str, value.ravel()[:4].tolist()))
        return f"{value.dtype}{list(value.shape)} of {sample}, ..."
    return written(value).replace("np.", "") if isinstance(value, np.ndarray) else repr(value)


def written(value: Any) -> str:
    """A value as Python source."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(written, value)) + "]"
    if not isinstance(value, (np.ndarray, np.generic)):
        return repr(value)
    array = np.asarray(value)
    if array.dtype.kind in "OUS":
        return f"np.array({array.tolist()!r}, object)"
    name = array.dtype.name
    if array.size > _MOST_WRITTEN:
        return f"np.frombuffer(bytes.fromhex({array.tobytes().hex()!r}), {name!r}).reshape({array.shape!r})"
    foreign = type(array.dtype.type).__module__ != "builtins" or array.dtype.kind == "V"
    if array.dtype.kind not in "biufc" or foreign:
        wide = written(array.astype(np.float64 if as_dtype(array.dtype).kind == "float" else np.int64))
        return f"{wide}.astype(gd.{as_dtype(array.dtype)}.numpy)"
    kind = "np.bool_" if name == "bool" else f"np.{name}"
    if not array.size:
        return f"np.zeros({array.shape!r}, {kind})"
    return f"np.array({_numbers(array.tolist())}, {kind})"


def _numbers(items: Any) -> str:
    if isinstance(items, list):
        return "[" + ", ".join(map(_numbers, items)) + "]"
    if isinstance(items, float) and not np.isfinite(items):
        return "np.nan" if items != items else "np.inf" if items > 0 else "-np.inf"
    return repr(items)


def program(title: str, before: ModelData, after: ModelData, feeds: Mapping[str, Any]) -> str:
    """A Python program that shows a difference: it holds both models and the input."""
    imports = {"import numpy as np", "import graphdsl as gd", "from graphdsl import verify"}
    models: list[str] = []
    for name, model in (("before", before), ("after", after)):
        lines = _source(model).splitlines()
        imports.update(line for line in lines if line.startswith(("import ", "from ")))
        body = "\n".join(line for line in lines if not line.startswith(("import ", "from "))).strip()
        models += ["", "", body, "", "", f"{name} = model"]
    parts = [f'''"""{_plain(title)}\n\nThis program fails, and shows where the two models differ."""''', ""]
    parts += [*sorted(imports), *models, "feeds = {"]
    parts += [f"    {key!r}: {written(value)}," for key, value in feeds.items()]
    parts += ["}", "verify.equivalent(before, after, feeds=feeds)", ""]
    return "\n".join(parts)


def _source(model: ModelData) -> str:
    """A model as Python source; as bytes, where the source would be long or cannot be written."""
    with suppress(GraphError):
        text = to_source(model)
        if len(text) <= _LONGEST_SOURCE:
            return text
    raw = base64.b64encode(Emitter().model(model).SerializeToString()).decode()
    return f'import base64\n\n\nmodel = gd.load(base64.b64decode("{raw}"))'


def _plain(text: str) -> str:
    return text.replace("\\", "/").replace('"""', "'''")

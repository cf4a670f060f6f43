"""What comes of a campaign: tasks and their results, as a table, as JSON and as JUnit XML."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

AGREE, KNOWN, DIFFER, CRASH, NOT_RUN = "agree", "known", "differ", "crash", "not run"


@dataclass(frozen=True)
class Task:
    """One search: an operator at an opset with a dtype, or random models."""

    operator: str
    dtype: str
    opset: int
    examples: int
    seed: int
    witnesses: tuple[str, ...]
    seconds: float = 20.0
    """What one run may take."""

    @property
    def key(self) -> str:
        """What tells it apart from others, of other campaigns too."""
        return json.dumps(asdict(self), sort_keys=True)

    def __str__(self) -> str:
        return " ".join([self.operator, *([self.dtype] if self.dtype else []), f"opset {self.opset}"])


@dataclass(frozen=True)
class Result:
    """What came of a task."""

    task: Task
    status: str
    """`"agree"`, `"known"` (but for known faults of others), `"differ"`, `"crash"` or `"not run"`."""
    examples: int = 0
    """The runs of a model on feeds that were compared."""
    ran: Mapping[str, int] = field(default_factory=dict)
    """How many of them each witness ran."""
    known: Mapping[str, int] = field(default_factory=dict)
    """How many met a known fault of others, by its heading in docs/upstream.md."""
    undefined: int = 0
    """How many were set aside, since the standard does not define them."""
    seconds: float = 0.0
    reason: str = ""
    """What is wrong, or why nothing was run."""
    repro: str = ""
    """A program that shows it, with the smallest model and input that were found."""

    def __str__(self) -> str:
        runs = ", ".join(f"{witness} {count}" for witness, count in self.ran.items())
        lines = [f"{self.task}: {self.status}", f"  ran    {runs or 'nothing'}"]
        lines += [f"  known  {count}: {heading}" for heading, count in self.known.items()]
        return "\n".join(lines + ([f"  {self.reason}"] if self.reason else []))

    @classmethod
    def read(cls, line: str) -> "Result":
        """The result that a line of the file holds."""
        found = json.loads(line)
        task = found.pop("task")
        return cls(Task(**{**task, "witnesses": tuple(task["witnesses"])}), **found)


class Campaign:
    """The results of a campaign. Prints as a table of the operators."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.results = list(results)

    @property
    def findings(self) -> list[Result]:
        """The results of tasks in which witnesses differ, or one crashed."""
        return [result for result in self.results if result.status in (DIFFER, CRASH)]

    @property
    def operators(self) -> dict[str, Counter[str]]:
        """How the tasks of each operator ended."""
        found: dict[str, Counter[str]] = {}
        for result in self.results:
            found.setdefault(result.task.operator, Counter())[result.status] += 1
        return found

    def __str__(self) -> str:
        heads = ("operator", AGREE, KNOWN, DIFFER, CRASH, NOT_RUN)
        rows = [(name, *(str(counts[head] or "") for head in heads[1:])) for name, counts in self.operators.items()]
        totals = Counter(result.status for result in self.results)
        rows.append((f"{len(self.operators)} in all", *(str(totals[head]) for head in heads[1:])))
        widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [heads, *rows]
        ]
        lines += [f"{result.task}: {result.reason}" for result in self.findings]
        return "\n".join(lines)

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write all results as JSON."""
        Path(path).write_text(json.dumps([asdict(result) for result in self.results], indent=1), encoding="utf-8")

    def to_junit(self, path: str | PathLike[str]) -> None:
        """Write all results as JUnit XML, which CI services read: a test suite for each operator."""
        root = ElementTree.Element("testsuites", name="graphdsl.verify")
        for operator, counts in self.operators.items():
            own = [result for result in self.results if result.task.operator == operator]
            suite = ElementTree.SubElement(
                root,
                "testsuite",
                name=operator,
                tests=str(len(own)),
                failures=str(counts[DIFFER]),
                errors=str(counts[CRASH]),
                skipped=str(counts[NOT_RUN]),
                time=f"{sum(result.seconds for result in own):.3f}",
            )
            for result in own:
                name = f"{result.task.dtype} opset {result.task.opset} seed {result.task.seed}"
                case = ElementTree.SubElement(
                    suite, "testcase", classname=operator, name=name, time=f"{result.seconds:.3f}"
                )
                tag = {DIFFER: "failure", CRASH: "error", NOT_RUN: "skipped"}.get(result.status)
                if tag:
                    ElementTree.SubElement(case, tag, message=_printable(result.reason)).text = _printable(result.repro)
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """A text without the characters that XML has not."""
    return "".join(c if c in "\n\t" or c.isprintable() else "?" for c in text)

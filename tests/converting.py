"""ONNX's own backend suite converted to later opsets, each case compared with its original.

    python tests/converting.py             # all node cases and stored models, to every later opset
    python tests/converting.py --every 7   # a sample

Of each case and opset: the conversion is refused with a reason, or it passes ONNX's checker and gives what the original
gives, bit for bit, on the case's own inputs: on ONNX Runtime, unoptimised and with one thread, or in ONNX's reference
evaluator where the runtime does not take one of them. Opsets at which no operator of the case changes are left out.
"""

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import onnx
from backend import (
    FOLDER,
    Case,
    _draws_numbers,
    _read,
    _shaped,
    differences,
    node_cases,
    on_reference,
    on_runtime,
    stored_cases,
)
from workers import Crash, each

import graphdsl as gd
from graphdsl import schemas

CLOSE = 1e-5
"""How far from the stored output a case may be whose original only the reference evaluator's authors could run."""


@dataclass
class Verdict:
    """What was found out about one case."""

    name: str
    problems: list[str] = field(default_factory=list)
    """What is wrong with converted models; the case fails if there is anything."""
    refused: list[str] = field(default_factory=list)
    """Why opsets were refused."""
    judged: list[str] = field(default_factory=list)
    """The opsets at which outputs were compared, and by what."""
    unjudged: list[str] = field(default_factory=list)
    """The opsets at which nothing here runs both, so that only the checker has seen them."""


def opset(model: onnx.ModelProto) -> int:
    """The opset of the default domain."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def operators(model: onnx.ModelProto) -> set[str]:
    """The operators of the default domain in a model, its bodies and functions."""
    found: set[str] = set()
    stack: list[object] = [model.graph, *model.functions]
    while stack:
        for node in stack.pop().node:  # type: ignore[attr-defined]
            found.update([node.op_type] if node.domain in ("", "ai.onnx") else [])
            for attribute in node.attribute:
                stack.extend([attribute.g] if attribute.HasField("g") else [])
                stack.extend(attribute.graphs)
    return found


def targets(model: onnx.ModelProto) -> list[int]:
    """The later opsets at which an operator of the model changes, and the newest."""
    changes = {version for name in operators(model) for version in schemas.since("", name)}
    return sorted({v for v in changes if v > opset(model)} | ({schemas.NEWEST_OPSET} - {opset(model)}))


def judge(case: Case) -> Verdict:
    """Convert one case to every later opset, and compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.errstate(all="ignore"):
            return _judge(case)


def _judge(case: Case) -> Verdict:
    verdict = Verdict(case.name)
    original = gd.load(case.model)
    engines = {}
    for engine in (on_runtime, on_reference):
        try:
            engines[engine] = engine(case.model, case.feeds)
        except Exception:
            continue
    sound = _is_sound(case.model)
    for target in targets(case.model):
        try:
            converted = gd.convert_opset(original, target).to_proto()
        except gd.OpsetError as error:
            verdict.refused.append(f"{target}: {str(error).splitlines()[1].strip()}")
            continue
        if sound:
            try:
                onnx.checker.check_model(converted, full_check=True)
            except Exception as error:
                verdict.problems.append(f"{target}: ONNX's checker: {' '.join(str(error).split())[:200]}")
                continue
        _compare(case, target, converted, engines, verdict)
    return verdict


def _is_sound(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:
        return False
    return True


def _compare(case: Case, target: int, converted: onnx.ModelProto, engines: dict, verdict: Verdict) -> None:  # type: ignore[type-arg]
    witnesses = [(engine, expected, differences) for engine, expected in engines.items()]
    stored = list(_stored_outputs(case))
    if stored and on_runtime not in engines:
        witnesses.insert(0, (on_runtime, stored, _far))
    last = f"{target}: nothing runs the original"
    for engine, expected, compare in witnesses:
        try:
            found = engine(converted, case.feeds)
        except Exception as error:
            last = f"{target}: {' '.join(str(error).split())[:120]}"
            continue
        wrong = compare(list(expected), list(found))
        if wrong and _draws_numbers(case.model):
            wrong = differences(list(map(_shaped, expected)), list(map(_shaped, found)))
        verdict.problems += [f"{target}: {engine.__name__}: {text}" for text in wrong]
        verdict.judged.append(f"{target}: {engine.__name__}{'' if compare is differences else ', stored outputs'}")
        return
    verdict.unjudged.append(last)


def _far(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> list[str]:
    """Which outputs are not those that the suite's authors stored."""
    pairs = enumerate(zip(expected, found, strict=True))
    return [
        f"output {i}: other values than stored: {one} {other}"
        for i, (one, other) in pairs
        if one.shape != other.shape or not np.allclose(one, other, CLOSE, CLOSE, equal_nan=True)
    ]


def _stored_outputs(case: Case) -> Iterator[np.ndarray]:
    folder = FOLDER / case.name / "test_data_set_0"
    for index, info in enumerate(case.model.graph.output):
        if (folder / f"output_{index}.pb").exists():
            yield _read(folder / f"output_{index}.pb", info.type)


def judge_all(cases: Sequence[Case], processes: int = 0) -> list[Verdict]:
    """The verdicts on all cases, in their order; a case on which the process dies is a problem."""
    verdicts = [Verdict(case.name) for case in cases]
    for place, found in each(judge, cases, processes):
        verdicts[place] = found
        if isinstance(found, Crash):
            verdicts[place] = Verdict(cases[place].name, [f"the process died: {found.reason}"])
    return verdicts


def report(verdicts: Sequence[Verdict]) -> str:
    """What was found out, in a few lines."""
    judged = Counter(text.partition(": ")[2] for verdict in verdicts for text in verdict.judged)
    lines = [f"{len(verdicts)} cases, {sum(judged.values())} conversions judged ({dict(judged)})"]
    lines.append(f"{sum(len(v.refused) for v in verdicts)} refused, {sum(len(v.unjudged) for v in verdicts)} unjudged")
    lines += [f"{v.name}: {problem}" for v in verdicts for problem in v.problems]
    return "\n".join(lines)


def main() -> int:
    """Judge all cases, and print what was found out."""
    parser = argparse.ArgumentParser(description="Convert ONNX's backend suite to later opsets.")
    parser.add_argument("--every", type=int, default=1, help="take each n-th case only")
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print all verdicts")
    options = parser.parse_args()
    verdicts = judge_all((node_cases() + stored_cases())[:: options.every], options.processes)
    print(json.dumps([asdict(v) for v in verdicts], indent=1) if options.json else report(verdicts))
    return 1 if any(verdict.problems for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())

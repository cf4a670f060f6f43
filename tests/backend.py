"""ONNX's own backend suite, each case rebuilt through the language and compared with its original.

    python tests/backend.py             # all node cases, and the models that the onnx package carries
    python tests/backend.py --every 7   # a sample

Of each case: the rebuilt model passes ONNX's checker, its types are no less precise than those that the case declares,
and it gives the same bits as the original on the case's own inputs: on ONNX Runtime, unoptimised and with one thread,
or in ONNX's reference evaluator where the runtime does not take the original.
"""

import argparse
import ctypes
import json
import math
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from rebuilding import output_types, rebuild
from workers import Crash, each

import graphdsl as gd
from graphdsl.types import DTYPES, as_dtype, to_proto, type_text

FOLDER = Path(onnx.__file__ or "").parent / "backend" / "test" / "data"

EXCUSED = {
    "test_affine_grid_3d_expanded": "not rebuilt: Split: axis 0 of input has size 5, too few for num_outputs=4",
    "test_affine_grid_3d_align_corners_expanded": "not rebuilt: Split: axis 0 of input has size 5, too few for num_out",
    "test_loop13_seq": "output 'seq_res' is inferred as sequence(float32), by ONNX as sequence(float32[()])",
}
"""Cases that do not pass, and how the one problem of each begins; docs/backend.md says why."""

DECIDED_BY_DATA = {
    "Compress": "how many elements are chosen",
    "ConcatFromSequence": "how many tensors a sequence has",
    "If": "which branch runs",
    "ImageDecoder": "the size of an image",
    "Loop": "how often the body runs",
    "NonMaxSuppression": "how many boxes are chosen",
    "NonZero": "how many elements are not zero",
    "SequenceEmpty": "what is put into a sequence",
    "StringNormalizer": "how many words are left",
    "StringSplit": "how many parts a text has",
    "Unique": "how many elements are different",
}
"""Operators some of whose sizes only a run tells, and what they depend on."""


class Case(NamedTuple):
    """A model and what it is run on."""

    name: str
    model: onnx.ModelProto
    feeds: list[Any]
    """The values of its inputs, in order."""


@dataclass
class Verdict:
    """What was found out about one case."""

    name: str
    problems: list[str] = field(default_factory=list)
    """What is wrong with the rebuilt model; the case fails if there is anything."""
    excused: list[str] = field(default_factory=list)
    """What is wrong with it and known to be; see `EXCUSED`."""
    engine: str = ""
    """What ran both models: "runtime", "reference" (", random" where no two runs are alike), or nothing."""
    reason: str = ""
    """Why the runtime did not, where it did not."""
    excuse: str = ""
    """Why the reference evaluator did not either."""
    checked: str = ""
    """"fully", or "without inference" where the original itself is refused with it."""
    precision: str = ""
    """What the declared sizes follow from: "types", "values" of inputs, or "data" (only a run tells them)."""
    declared: list[str] = field(default_factory=list)
    """The outputs whose rank is not inferred, so that it had to be declared."""
    operators: list[str] = field(default_factory=list)
    """The operators of the model."""


@lru_cache(1)
def node_cases() -> list[Case]:
    """The cases of one operator each, some also expanded into other operators."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they cast what overflows, on purpose
        return [
            Case(case.name, case.model, list(map(_array, case.data_sets[0][0]))) for case in collect_testcases(None)
        ]


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def stored_cases() -> list[Case]:
    """The small models that the onnx package carries on disk."""
    folders = [
        d for kind in ("simple", "pytorch-operator", "pytorch-converted") for d in sorted((FOLDER / kind).iterdir())
    ]
    return [_stored(folder) for folder in folders]


def _stored(folder: Path) -> Case:
    model = onnx.load(folder / "model.onnx")
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]
    feeds = [_read(folder / "test_data_set_0" / f"input_{index}.pb", info.type) for index, info in enumerate(inputs)]
    return Case(f"{folder.parent.name}/{folder.name}", model, feeds)


def _read(file: Path, kind: onnx.TypeProto) -> Any:
    raw = file.read_bytes()
    match kind.WhichOneof("value"):
        case "sequence_type":
            return numpy_helper.to_list(onnx.SequenceProto.FromString(raw))
        case "optional_type":
            return numpy_helper.to_optional(onnx.OptionalProto.FromString(raw))
    return numpy_helper.to_array(onnx.TensorProto.FromString(raw))


def sample(cases: Sequence[Case], every: int) -> list[Case]:
    """Each so many-th case, and all of control flow, sequences and optionals."""
    return [case for index, case in enumerate(cases) if index % every == 0 or _is_structured(case.model)]


def _is_structured(model: onnx.ModelProto) -> bool:
    kinds = {info.type.WhichOneof("value") for info in (*model.graph.input, *model.graph.output)}
    bodies = any(a.type == onnx.AttributeProto.GRAPH for node in model.graph.node for a in node.attribute)
    return bodies or kinds != {"tensor_type"}


# The verdict on one case


def judge(case: Case) -> Verdict:
    """Rebuild a case, and find out what is wrong with it."""
    verdict = _judge(case)
    known = EXCUSED.get(case.name)
    verdict.excused = [problem for problem in verdict.problems if known and problem.startswith(known)]
    verdict.problems = [problem for problem in verdict.problems if problem not in verdict.excused]
    if verdict.precision == "data" and not DECIDED_BY_DATA.keys() & set(verdict.operators):
        verdict.problems.append("its sizes are not inferred, and no operator is known to hide them")
    return verdict


def _judge(case: Case) -> Verdict:
    verdict = Verdict(case.name, operators=sorted({node.op_type for node in case.model.graph.node}))
    try:
        model = rebuild(case.model)
        inferred = {info.name: info.type for info in model.to_proto().graph.output}
        # the checker wants ranks, so those that cannot be inferred must be declared
        verdict.declared = sorted(name for name, kind in inferred.items() if not _has_rank(kind))
        if verdict.declared:
            kinds = {info.name: info.type for info in case.model.graph.output if info.name in verdict.declared}
            model = rebuild(case.model, kinds)
        proto = onnx.ModelProto.FromString(model.to_proto().SerializeToString())
    except gd.GraphError as error:
        verdict.problems.append(f"not rebuilt: {error}")
        return verdict
    _check(case.model, proto, verdict)
    _compare_types(case, inferred, verdict)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _compare_outputs(case, proto, verdict)
    return verdict


def _check(original: onnx.ModelProto, rebuilt: onnx.ModelProto, verdict: Verdict) -> None:
    full = True
    try:
        onnx.checker.check_model(original, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        full = False
    verdict.checked = "fully" if full else "without inference"
    try:
        onnx.checker.check_model(rebuilt, full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        verdict.problems.append(f"the checker refuses it: {error}")


def _has_rank(kind: onnx.TypeProto) -> bool:
    """Whether the checker takes the type of an output; it looks at tensors only."""
    return not kind.HasField("tensor_type") or kind.tensor_type.HasField("shape")


def _compare_types(case: Case, inferred: Mapping[str, onnx.TypeProto], verdict: Verdict) -> None:
    """Declared names of dimensions are hints; what is declared as a number must be inferred as that number."""
    declared = {info.name: info.type for info in case.model.graph.output}
    verdict.problems += [
        f"output {name!r} is inferred as {_text(inferred[name])}, declared as {_text(kind)}"
        for name, kind in declared.items()
        if contradicts(inferred[name], kind)
    ]
    verdict.problems += [
        f"output {name!r} is inferred as {_text(inferred[name])}, by ONNX as {_text(kind)}"
        for name, kind in _inferred_by_onnx(case.model).items()
        if not is_precise(inferred[name], kind)
    ]
    if all(is_precise(inferred[name], kind) for name, kind in declared.items()):
        verdict.precision = "types"
        return
    values = {
        info.name: value
        for info, value in zip(case.model.graph.input, case.feeds, strict=False)
        if isinstance(value, np.ndarray)
    }
    known = {name: onnx.TypeProto() if kind is None else kind for name, kind in _output_protos(case, values).items()}
    precise = all(is_precise(known[name], kind) for name, kind in declared.items())
    verdict.precision = "values" if precise else "data"


def _inferred_by_onnx(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """What ONNX's own inference knows of the outputs when nothing but the inputs' shapes are declared."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    _forget(bare.graph.output)
    stack = list(bare.graph.node)
    while stack:
        for attribute in stack.pop().attribute:
            for infos in (attribute.g.input, attribute.g.output, attribute.g.value_info):
                _forget(infos)
            stack += attribute.g.node
    try:
        found = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return {}
    return {info.name: info.type for info in found.graph.output}


def _forget(infos: Iterable[onnx.ValueInfoProto]) -> None:
    for info in infos:
        kind = info.type
        while (of := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
            kind = getattr(kind, of).elem_type
        if of == "tensor_type":
            kind.tensor_type.ClearField("shape")


def _output_protos(case: Case, values: Mapping[str, np.ndarray]) -> dict[str, onnx.TypeProto | None]:
    return {n: None if kind is None else to_proto(kind) for n, kind in output_types(case.model, values).items()}


def _parts(kind: onnx.TypeProto) -> tuple[str, int, list[int | None] | None]:
    """How a type is nested, the dtype of its tensors, and their dimensions."""
    nesting = []
    while (of := kind.WhichOneof("value") or "nothing") in ("sequence_type", "optional_type"):
        nesting.append(of)
        kind = getattr(kind, of).elem_type
    if of == "nothing":
        return "/".join([*nesting, of]), 0, None
    tensor = getattr(kind, of)
    dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return "/".join([*nesting, of]), tensor.elem_type, dims if tensor.HasField("shape") else None


def contradicts(inferred: onnx.TypeProto, declared: onnx.TypeProto) -> bool:
    """Whether no value can be of both types."""
    nesting, dtype, dims = _parts(inferred)
    wanted = _parts(declared)
    if (nesting, dtype) != wanted[:2]:
        return True
    if dims is None or wanted[2] is None:
        return False
    pairs = zip(dims, wanted[2], strict=False)
    return len(dims) != len(wanted[2]) or any(None not in pair and pair[0] != pair[1] for pair in pairs)


def is_precise(inferred: onnx.TypeProto, declared: onnx.TypeProto) -> bool:
    """Whether the inferred type says all that the declared one says, names of dimensions apart."""
    dims, wanted = _parts(inferred)[2], _parts(declared)[2]
    if contradicts(inferred, declared):
        return False
    if dims is None or wanted is None:
        return wanted is None
    return all(want is None or have == want for have, want in zip(dims, wanted, strict=True))


def _text(kind: onnx.TypeProto) -> str:
    return repr(gd.input("x", kind).type)


# Running


def _compare_outputs(case: Case, rebuilt: onnx.ModelProto, verdict: Verdict) -> None:
    try:
        expected = on_runtime(case.model, case.feeds)
        engine = on_runtime
    except Exception as error:
        verdict.reason = reason(str(error))
        try:
            expected = on_reference(case.model, case.feeds)
            engine = on_reference
        except Exception as error:
            verdict.excuse = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
            return
    verdict.engine = engine.__name__.removeprefix("on_")
    try:
        found = engine(rebuilt, case.feeds)
    except Exception as error:
        verdict.problems.append(f"the {verdict.engine} runs the original only: {error}")
        return
    again = (engine(case.model, case.feeds) for _ in range(8 if _draws_numbers(case.model) else 0))
    if any(differences(expected, other) for other in again):
        verdict.engine += ", random"
        expected, found = map(_shaped, expected), map(_shaped, found)
    verdict.problems += differences(list(expected), list(found))


def _draws_numbers(model: onnx.ModelProto) -> bool:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    return any(
        onnx.defs.has(node.op_type, node.domain)
        and onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain).non_deterministic
        for node in model.graph.node
    )


def _shaped(value: Any) -> Any:
    """What can be compared of a value that is random: dtype and shape."""
    return np.zeros_like(value)


def on_runtime(model: onnx.ModelProto, feeds: Sequence[Any]) -> list[Any]:
    """The outputs as ONNX Runtime computes them, always with the same random numbers."""
    import onnxruntime

    onnxruntime.set_seed(1)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    native = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers, enable_fallback=0)
    fed = {info.name: _foreign(feed) for info, feed in zip(native.get_inputs(), feeds, strict=True)}
    if not any(info.type in _FOREIGN for info in native.get_outputs()):
        found: list[Any] = native.run(None, fed)
        return found
    values = {
        n: onnxruntime.OrtValue.ortvalue_from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in fed.items()
    }
    return list(map(_raw, native.run_with_ort_values(None, values)))


_FOREIGN = {type_text(dtype[()]): dtype for dtype in DTYPES if dtype.numpy.type.__module__ != "numpy"}
"""The dtypes that NumPy lacks, by the names of tensors of them."""


def _foreign(value: Any) -> Any:
    """A value as the runtime's Python API takes it: arrays of dtypes that NumPy lacks are handed over as memory."""
    dtype = as_dtype(value.dtype) if isinstance(value, np.ndarray) else gd.float32
    if type_text(dtype[()]) not in _FOREIGN:
        return value
    from onnxruntime import OrtValue

    packed = np.frombuffer(numpy_helper.from_array(value).raw_data, np.uint8)
    memory = np.zeros(value.shape, np.uint16 if dtype.bits == 16 else np.uint8)
    memory.reshape(-1).view(np.uint8)[: packed.size] = packed
    return OrtValue.ortvalue_from_numpy_with_onnx_type(memory, dtype.code)


def _raw(value: Any) -> Any:
    """An output as an array, or as its name, shape and bytes where NumPy lacks the dtype."""
    dtype = _FOREIGN.get(value.data_type())
    if dtype is None:
        return value.numpy()
    size = math.ceil(math.prod(value.shape()) * dtype.bits / 8)
    return dtype.name, tuple(value.shape()), ctypes.string_at(value.data_ptr(), size) if size else b""


def on_reference(model: onnx.ModelProto, feeds: Sequence[Any]) -> list[Any]:
    """The outputs as ONNX's reference evaluator computes them."""
    from onnx.reference import ReferenceEvaluator

    constants = {tensor.name for tensor in model.graph.initializer}
    names = [info.name for info in model.graph.input if info.name not in constants]
    found: list[Any] = ReferenceEvaluator(model).run(None, dict(zip(names, feeds, strict=True)))
    return found


def differences(expected: Sequence[Any], found: Sequence[Any]) -> list[str]:
    """Which outputs differ in kind, dtype, shape or a single bit."""
    if len(expected) != len(found):
        return [f"{len(found)} outputs, not {len(expected)}"]
    return [f"output {i}: {why}" for i, pair in enumerate(zip(expected, found, strict=True)) if (why := _unlike(*pair))]


def _unlike(expected: Any, found: Any) -> str:
    if type(expected) is not type(found):
        return f"{type(found).__name__}, not {type(expected).__name__}"
    if isinstance(expected, list):
        return "; ".join(differences(expected, found))
    if not isinstance(expected, (np.ndarray, np.generic)):
        return "" if expected == found else f"{found!r}, not {expected!r}"
    if (expected.dtype, expected.shape) != (found.dtype, found.shape):
        return f"{found.dtype}{list(found.shape)}, not {expected.dtype}{list(expected.shape)}"
    same = expected.tolist() == found.tolist() if expected.dtype == object else expected.tobytes() == found.tobytes()
    return "" if same else f"other values:\n{found}\nnot\n{expected}"


_REASONS = (
    (r"Opset \d+ is under development|Unsupported model IR version", "an opset newer than the runtime's"),
    (r"Could not find an implementation for|Failed to find kernel for", "no kernel for the types or the version"),
    (r"is not a registered function/op", "an operator that the runtime lacks"),
    (r"Unrecognized attribute", "an attribute that the runtime does not know"),
    (r"Type Error", "types that the runtime's own inference refuses"),
    (r"Exception during initialization", "a variant that the kernel does not support"),
    (r"Non-zero status code returned while running", "inputs that the kernel refuses"),
)


def reason(message: str) -> str:
    """A message of the runtime in few words, the same for all cases of one kind."""
    for pattern, words in _REASONS:
        if re.search(pattern, message):
            return words
    return "other: " + " ".join(message.split())[:160]


# Cases together


def judge_all(cases: Sequence[Case], processes: int = 0) -> list[Verdict]:
    """The verdicts on cases, in order; the ones on which a process died say so."""
    verdicts: dict[int, Verdict] = {}
    for place, result in each(judge, cases, processes):
        crash = f"the process died: {result.reason}" if isinstance(result, Crash) else ""
        verdicts[place] = Verdict(cases[place].name, [crash]) if crash else result
    return [verdicts[place] for place in sorted(verdicts)]


def report(verdicts: Sequence[Verdict]) -> str:
    """What was found, in numbers and in names."""
    failed = [verdict for verdict in verdicts if verdict.problems]
    excused = [verdict for verdict in verdicts if verdict.excused and not verdict.problems]
    passed = len(verdicts) - len(failed) - len(excused)
    lines = [
        f"{len(verdicts)} cases: {passed} pass, {len(excused)} are excused, {len(failed)} fail",
        f"  run alike by: {_counted(verdict.engine or 'nothing' for verdict in verdicts)}",
        f"  declared sizes follow from: {_counted(verdict.precision or 'nothing' for verdict in verdicts)}",
        f"  accepted by the checker: {_counted(verdict.checked or 'nothing' for verdict in verdicts)}",
        f"  outputs whose rank had to be declared: {sum(len(verdict.declared) for verdict in verdicts)}",
    ]
    for title, words in (("not run by ONNX Runtime", "reason"), ("nor by the reference evaluator", "excuse")):
        lines.append(f"  {title}:")
        groups = Counter(getattr(verdict, words) for verdict in verdicts if getattr(verdict, words))
        lines += [f"    {count:5} {group}" for group, count in groups.most_common()]
    for verdict in failed:
        lines.append(f"FAILED {verdict.name}: " + "; ".join(verdict.problems))
    lines += [f"excused {verdict.name}: {'; '.join(verdict.excused).splitlines()[0]}" for verdict in excused]
    return "\n".join(lines)


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common())


def main() -> int:
    """Judge all cases, or a sample, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="of the node cases, only each so many-th one")
    parser.add_argument("--json", type=Path, help="where to write the verdicts")
    options = parser.parse_args()
    verdicts = judge_all([*sample(node_cases(), options.every), *stored_cases()])
    if options.json:
        options.json.write_text(json.dumps(list(map(asdict, verdicts))), encoding="utf-8")
    print(report(verdicts))
    return int(any(verdict.problems for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())

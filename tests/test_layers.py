"""The layers: a file imports only from files above it in `LAYERS`, and no module's name hides a public one.

Every import counts: those inside functions, and those that only type checkers see.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import graphdsl as gd
from graphdsl import sites

PACKAGE = Path(__file__).parent.parent / "graphdsl"

LAYERS = {
    "sites": "where the user wrote a thing; errors of every layer end with it",
    "errors": "every layer raises them",
    "garbage": "the garbage collector, paused",
    "wire": "how protobuf writes fields",
    "algebra": "canonical expressions, which dimensions are",
    "dims": "dimension expressions, which types hold",
    "types": "dtypes and types, which values hold",
    "schemas": "operators, which nodes hold",
    "ir": "the graph as data",
    "walk": "the traversals of that data",
    "attributes": "attribute values, which inference and emission turn into protos",
    "contents": "what is known of tensors made of shapes",
    "demands": "what operators demand of shapes, where ONNX's inference is silent",
    "ranks": "ranks that types alone determine",
    "refusals": "the words of a refused call",
    "uninferred": "types that ONNX's inference leaves out",
    "contributed": "types of ONNX Runtime's own operators",
    "bodies": "types that come from graphs in attributes",
    "sharpening.call": "what the rules of shapes look at",
    "sharpening.agreement": "sizes that must agree",
    "sharpening.moves": "shapes of what joins, cuts and rearranges",
    "sharpening.windows": "shapes of what slides windows and stretches",
    "sharpening.special": "shapes of attention and spectra",
    "sharpening": "what inference adds to ONNX's answer",
    "inference": "the types of a node's outputs, which the constructor of nodes asks for",
    "allowed": "attribute values that the standard lists, which the constructor checks",
    "forms": "the words of a call that does not fit its schema",
    "tensor.handle": "what a user holds, without operators",
    "tensor.lifting": "Python values as constants",
    "tensor.measuring": "sizes as values, made through a trace",
    "tensor.calling": "the one constructor of nodes",
    "tensor.division": "floor division, as calls of the constructor",
    "tensor.mathematics": "what NumPy has and ONNX composes",
    "tensor.elementwise": "operators on tensors, as calls of the constructor",
    "tensor.ndarray": "what arrays have besides, or tensors refuse",
    "tensor.sizes": "sizes known at run time, computed with the operators",
    "tensor.shaping": "methods that rearrange axes",
    "tensor.reducing": "methods along axes",
    "tensor.keys": "what stands in the brackets of t[...]",
    "tensor.indexing": "t[...] and the methods that pick elements",
    "tensor.ufuncs": "NumPy's ufuncs on tensors",
    "tensor.array_functions": "NumPy's functions on tensors",
    "tensor": "Tensor: the handle with all its manners",
    "tracing": "callables on tensors",
    "control": "branches and loops from callables, which op calls for four operators",
    "operators": "the functions that call operators",
    "op": "operators under their ONNX names",
    "declarations": "what is declared of outputs beyond what is inferred",
    "messages": "parts of protos that need no names",
    "ir_versions": "the IR version that a model needs",
    "emission": "graph data to protos",
    "interfaces": "signatures of Python functions as schemas",
    "functions": "local functions, known apart by their bytes",
    "custom": "operators that only others implement",
    "external": "the bytes of models and weights",
    "printing": "models as text",
    "progress": "bars for what takes long",
    "saving": "models to files",
    "feeds": "what a model is given to run on, checked",
    "failures": "a runtime's messages, led back to nodes",
    "inlining": "models called on tensors",
    "repetition": "loops for ONNX's evaluator",
    "reference": "operators with a NumPy body, run in ONNX's evaluator",
    "runtime": "sessions, which a model runs on",
    "lookup": "tensors of a model by name",
    "apart": "models run in a process of their own, by sessions of the runtime",
    "models": "the model that users hold: emitted, saved, run",
    "fitting": "whether a node in a file is one that its operator has",
    "guarding": "what a file must not contain, checked before anything is made of it",
    "loading.ordering": "files whose nodes are in any order",
    "loading.values": "types of what was read, found when they are asked for",
    "loading.graphs": "graphs from protos, by name",
    "loading.reading": "protos from files and bytes",
    "loading": "models from files, bytes and protos",
    "notes": "what is doubtful about a valid model",
    "checking": "what is wrong with a model, or doubtful",
    "renewal": "nodes on other inputs",
    "generic": "functions whose calls differ in types",
    "transforming": "the sweep that changed models come from",
    "copying": "nodes made anew as they are, on other values",
    "conversion.changes": "what changed in operators from opset to opset",
    "conversion": "models at another opset",
    "renaming": "tensors under other names",
    "weights": "the weights of a model, replaced",
    "entrances": "tools for models alone, for what is loaded as well",
    "rewriting.effective": "what attributes mean where they are absent",
    "rewriting.patterns": "patterns as data",
    "rewriting.conditions": "when a value or attribute is what a pattern asks for",
    "rewriting.writing": "patterns, traced from callables",
    "rewriting.matching": "where a pattern fits",
    "rewriting.lineage": "what stands in whose place",
    "rewriting.engine": "the sweeps that apply rules",
    "rewriting.rules": "rules, as users hold them",
    "rewriting": "rules that change models",
    "extraction.naming": "what users call tensors",
    "extraction.missing": "why a cut does not do, and which would",
    "extraction.cutting": "the part between tensors",
    "extraction.calls": "tensors inside functions",
    "extraction.extracting": "what users say of a cut",
    "extraction.tapping": "tensors led out of branches and loops",
    "extraction.exposing": "inner tensors as outputs",
    "extraction.intermediates": "the values of all tensors",
    "extraction.splitting": "chains of parts",
    "extraction": "parts of models",
    "building": "models from tensors and functions",
    "passes.outputs": "outputs under their names, which passes leave behind",
    "passes.pipeline": "what all passes take and give",
    "passes.vanishing": "numbers too small for constants that passes compute",
    "passes.rules.known": "what is known of types in rules",
    "passes.rules.identities": "rules for what does nothing",
    "passes.rules.movement": "rules that merge what moves data",
    "passes.rules.fusion": "rules that fuse what computes",
    "passes.rules": "the rules of the passes",
    "passes.declared_types": "types that are written into a model",
    "passes.dimensions": "passes that change sizes",
    "passes.determinism": "what may be merged or folded",
    "passes.evaluation": "the values of nodes on constants",
    "passes.folding": "the pass that computes what is known",
    "passes.unused": "passes that drop what nothing uses",
    "passes.identities": "passes that drop what does nothing",
    "passes.duplicates": "the pass that computes things once",
    "passes.mergers": "passes that merge what moves data",
    "passes.fusions": "passes that fuse what computes",
    "passes.storage": "passes between Constant nodes and initializers",
    "passes.precision": "computing in float16",
    "passes.simplification": "all that is sound, together",
    "passes": "the stock passes",
    "debug.measures": "how far arrays are apart",
    "debug.calling": "calls of torch modules",
    "debug.faithfulness": "arguments that models took for constants",
    "debug.exporting": "models from torch modules",
    "debug.recording": "what a torch module does when it is called",
    "debug.scopes": "which nodes each call became",
    "debug.segments": "a model run on another run's tensors",
    "debug.text": "names and tables as text",
    "debug.rows": "what debugging finds, as data",
    "debug.drawing": "a report as a picture",
    "debug.pages": "a report as a page",
    "debug.repros": "one segment to run on its own",
    "debug.reports": "the report that users hold",
    "debug.matching": "which tensor is which",
    "debug.judging": "where error is made, and which matches were none",
    "debug.comparing": "two models side by side",
    "debug.aligning": "a torch module beside its model",
    "debug.marking": "markers in torch modules, compared by name",
    "debug": "the public names of debugging, which graphdsl itself never imports",
    "differences.labels": "nodes as numbers, alone and with what is around them",
    "differences.alignment": "sequences, aligned",
    "differences.matching": "which node is which",
    "differences.weights": "how far arrays are apart",
    "differences.reports": "what comparing finds",
    "differences.comparing": "graphs whose nodes are matched",
    "differences": "what changed between models",
    "source.literals": "values and names as Python text",
    "source.spelling": "nodes as Python text",
    "source.layout": "expressions and statements as lines",
    "source.statements": "graphs as statements",
    "source.modules": "a model as a module",
    "source.vetting": "what a source may do",
    "source": "models as source",
    "": "the public names",
    "verify.choices": "choices, drawn one by one or read from bytes",
    "verify.arrays": "arrays of a type, which all strategies draw",
    "verify.sources": "which inputs hold the elements of a value",
    "verify.ranges": "what operators demand of the values of inputs",
    "verify.inputs": "feeds of a model, within those ranges",
    "verify.scopes": "what a body of a random program can use",
    "verify.drafts": "calls while they are made up, of what scopes have",
    "verify.recipes.elementwise": "calls of operators that work element by element",
    "verify.recipes.moving": "calls of operators that move elements",
    "verify.recipes.along_axes": "calls of operators that compute along axes",
    "verify.recipes.windows": "calls of operators on images and signals",
    "verify.recipes.others": "calls of quantized operators, of text and of sequences",
    "verify.recipes": "how each operator is called",
    "verify.programs": "random models, step by step, by those recipes",
    "verify.interpreters": "models by the functions of NumPy and torch",
    "verify.witnesses": "who runs models",
    "verify.undefined": "what the standard leaves undefined, where nothing is compared",
    "verify.recurrent": "recurrent operators, with all that they may have",
    "verify.precise": "operators computed more carefully than the reference does",
    "verify.alone": "one operator on arrays",
    "verify.evaluation": "models in float64, value by value",
    "verify.judging": "whether two sides agree on one draw",
    "verify.advice": "what a refutation comes from",
    "verify.comparing": "whether witnesses of one run agree",
    "verify.draws": "the draws on which sides are compared",
    "verify.verdicts": "what comes of a verification",
    "verify.equivalence": "models against models and functions",
    "verify.refuting.plans": "the dtypes of a pattern",
    "verify.refuting.calls": "calls that are being completed",
    "verify.refuting.hints.products": "what products accept",
    "verify.refuting.hints.windows": "what windows over images accept",
    "verify.refuting.hints.along_axes": "what computes along axes accepts",
    "verify.refuting.hints.moving": "what moves elements accepts",
    "verify.refuting.hints.recurrent": "what RNN, GRU and LSTM accept",
    "verify.refuting.hints.others": "what spectra, text and sequences accept",
    "verify.refuting.hints": "what operators accept",
    "verify.refuting.instances": "models made from a pattern",
    "verify.refuting.refuter": "rules judged on instances of their patterns",
    "verify.refuting": "rules against their own patterns",
    "verify.origins": "nodes at which witnesses begin to differ",
    "verify.faults": "what is said of a known fault",
    "verify.runtime_faults": "known faults of ONNX Runtime",
    "verify.reference_faults": "known faults of ONNX's reference",
    "verify.known": "faults of others that are known",
    "verify.results": "tasks, results, and the files they go to",
    "verify.campaigns": "searches for what witnesses differ in",
    "verify": "strategies, witnesses and verdicts: an extra, which the public names do not load",
    "verify.__main__": "campaigns as a command",
    "pytest_plugin": "verification as a marker and a fixture of pytest",
    "cli": "all of it, on files",
}
"""Each module, top layer first, and why it stands where it does."""


def imported(source: str, module: str, is_package: bool, modules: Iterable[str]) -> dict[str, int]:
    """The modules of the package that a source imports, each with the first line that does so."""
    known = set(modules)
    inside = ["graphdsl", *module.split(".")] if module else ["graphdsl"]
    package = inside if is_package else inside[:-1]
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            # `from . import op` means the module op; `from .op import opset` the module it comes from
            targets = [f"{base}.{a.name}" if _inner(f"{base}.{a.name}") in known else base for a in node.names]
        for target in targets:
            name = _inner(target)
            if name is not None:
                found.setdefault(name, node.lineno)
    return found


def _inner(target: str) -> str | None:
    """The name within the package: `tensor.calling` of `graphdsl.tensor.calling`; None for another package's."""
    if target == "graphdsl":
        return ""
    return target.removeprefix("graphdsl.") if target.startswith("graphdsl.") else None


def violations(sources: Mapping[str, tuple[str, bool]], layers: Iterable[str]) -> list[str]:
    """What breaks the order: an import from the same layer or below, or a module without a place."""
    order = {name: place for place, name in enumerate(layers)}
    wrong = [f"{name} has no place in LAYERS" for name in sources if name not in order]
    wrong += [f"{name} in LAYERS is no module" for name in order if name not in sources]
    for name, (source, is_package) in sources.items():
        for target, line in imported(source, name, is_package, sources).items():
            if order.get(target, 0) >= order.get(name, len(order)):
                wrong.append(
                    f"{name or '__init__'}, line {line}: imports {target or '__init__'}, which is not above it"
                )
    return wrong


def hidden_names(modules: Iterable[str], public: Mapping[str, object]) -> list[str]:
    """The public names that a module of the package is called by too, unless it is the module that is public."""
    return [name for name in modules if name in public and getattr(public[name], "__name__", "") != f"graphdsl.{name}"]


def read_package() -> dict[str, tuple[str, bool]]:
    """The sources of the package by module name; the empty name is the package itself."""
    sources = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = list(file.relative_to(PACKAGE).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        sources[".".join(parts[:-1] if is_package else parts)] = file.read_text(encoding="utf-8"), is_package
    return sources


def test_files_import_only_from_files_above_them() -> None:
    assert violations(read_package(), LAYERS) == []


def test_every_folder_counts_as_the_library_when_the_caller_is_looked_for() -> None:
    folders = [f"graphdsl.{name}".rstrip(".") for name, (_, is_package) in read_package().items() if is_package]
    assert [folder for folder in folders if folder not in sites._LIBRARY] == []


def test_no_module_hides_a_public_name() -> None:
    assert hidden_names(read_package(), {name: getattr(gd, name) for name in gd.__all__}) == []


@pytest.mark.parametrize(
    "source",
    [
        "from .low import f",
        "from . import low",
        "import graphdsl.low",
        "from graphdsl.low import f",
        "def f():\n    from .low import g",
        "if TYPE_CHECKING:\n    from .low import Low",
        "from .low.part import f",
    ],
)
def test_the_check_sees_an_import_from_below(source: str) -> None:
    sources = {"high": (source, False), "low": ("", True), "low.part": ("", False)}
    (problem,) = violations(sources, ["high", "low", "low.part"])
    assert problem.startswith("high, line ") and "imports low" in problem and problem.endswith("which is not above it")


def test_the_check_sees_imports_within_a_folder_and_of_the_package() -> None:
    sources = {"folder.a": ("from .b import f\nfrom ..c import g", False), "folder.b": ("", False), "c": ("", False)}
    assert violations(sources, ["folder.a", "folder.b", "c"]) == [
        "folder.a, line 1: imports folder.b, which is not above it",
        "folder.a, line 2: imports c, which is not above it",
    ]
    assert violations({"a": ("import graphdsl", False), "": ("from .a import f", True)}, ["a", ""]) == [
        "a, line 1: imports __init__, which is not above it"
    ]


def test_the_check_lets_imports_from_above_pass() -> None:
    sources = {"high": ("import numpy", False), "low": ("from .high import f\nimport onnx", False)}
    assert violations(sources, ["high", "low"]) == []


def test_the_check_wants_a_place_for_every_module() -> None:
    assert violations({"new": ("", False)}, ["old"]) == ["new has no place in LAYERS", "old in LAYERS is no module"]


def test_the_check_sees_a_hidden_name() -> None:
    assert hidden_names(["build", "op"], {"build": gd.build, "op": gd.op}) == ["build"]


def test_the_tour_of_the_code_names_every_file_or_its_folder() -> None:
    tour = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    files = [name.replace(".", "/") + ".py" for name, (_, is_package) in read_package().items() if not is_package]
    folders = [file.rpartition("/")[0] + "/" for file in files]
    places = zip(files, folders, strict=True)
    assert [file for file, folder in places if f"`{file}`" not in tour and f"`{folder}`" not in tour] == []
    named = re.findall(r"`([\w/]+\.py)`", tour)
    assert [file for file in named if not (PACKAGE / file).exists() and not (PACKAGE.parent / file).exists()] == []

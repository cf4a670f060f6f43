"""The last look at a source before anyone runs it: nothing but known calls on known names.

A model's names and strings come from strangers. Everything that is written is quoted or made anew, so this never finds
anything; it is here because a mistake there would be a way to run a stranger's code.
"""

import ast

from ..errors import SourceError

_NODES = (
    *(ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.FunctionDef, ast.Return, ast.Assign, ast.Expr, ast.Lambda),
    *(ast.arguments, ast.arg, ast.keyword, ast.Call, ast.Name, ast.Attribute, ast.Constant, ast.Subscript, ast.Slice),
    *(ast.List, ast.Tuple, ast.Dict, ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop),
    *(ast.expr_context,),
)
_IMPORTS = (
    *("import base64", "import numpy as np", "import onnx", "import graphdsl as gd", "from graphdsl import op"),
    *("from dataclasses import replace", "from pathlib import Path"),
)
_BUILTINS = frozenset(("float", "int", "str", "list", "complex", "object", "__file__"))
_CALLS = {
    "gd": {"constant", "custom_op", "domain", "function", "map_of", "model", "optional", "sequence", "sparse"},
    "np": {"array", "frombuffer", "full", "load", "zeros"},
    "base64": {"b64decode"},
    "onnx.AttributeProto": {"FromString"},
    "onnx.SparseTensorProto": {"FromString"},
}
_METHODS = frozenset(("astype", "named", "reshape", "view", "with_suffix"))


def vet(source: str) -> None:
    """Check that a source does nothing but make a model.

    Raises:
        SourceError: it has a statement, a name or a call that no source needs.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise SourceError(f"the source cannot be parsed: {error}") from None
    nodes = list(ast.walk(tree))
    known = set(_BUILTINS)
    spaces = {"op"}
    functions = {"Path", "replace", "complex"}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            known.add(node.name)
            functions.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if ast.unparse(node) not in _IMPORTS:
                raise SourceError(f"the source has {ast.unparse(node)!r}")
            known.update(alias.asname or alias.name for alias in node.names)
        if isinstance(node, ast.Assign) and _dotted(node.value).startswith("gd.domain("):
            spaces.update(target.id for target in node.targets if isinstance(target, ast.Name))
    for node in nodes:
        problem = _problem(node, known, functions, spaces)
        if problem:
            raise SourceError(f"the source has {problem} in line {getattr(node, 'lineno', '?')}")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return f"{_dotted(node.func)}("
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _problem(node: ast.AST, known: set[str], functions: set[str], spaces: set[str]) -> str:
    if not isinstance(node, _NODES):
        return f"a {type(node).__name__}"
    if isinstance(node, ast.Name) and node.id not in known:
        return f"the name {node.id!r}"
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return f"the attribute {node.attr!r}"
    if isinstance(node, ast.Expr) and not _is_documentation(node) and not _is_naming(node):
        return "an expression as a statement"
    if isinstance(node, ast.Call) and not _is_known_call(node.func, functions, spaces):
        return f"a call of {ast.unparse(node.func)[:60]!r}"
    return ""


def _is_documentation(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_naming(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Call) and getattr(node.value.func, "attr", "") == "named"


def _is_known_call(called: ast.expr, functions: set[str], spaces: set[str]) -> bool:
    if isinstance(called, ast.Name):
        return called.id in functions
    if not isinstance(called, ast.Attribute):
        return False
    if called.attr in _METHODS:
        return True
    name = _dotted(called.value)
    if name in spaces:
        return True
    return called.attr in _CALLS.get(name, ()) or (name == "np" and called.attr in _SCALARS)


_SCALARS = frozenset(
    (
        *("float16", "float32", "float64", "complex64", "complex128", "bool_"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
)

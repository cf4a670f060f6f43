"""Wrong rules made of right ones: each operand, attribute, number and condition of their functions changed in turn.

A mutant is the source of a rule's function, or of a function of the same file that it calls, with one change, compiled
in the names of that file. The pattern stays.
"""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, NamedTuple

import graphdsl as gd

Change = Callable[[], None]
"""Makes one change in a tree."""


class Mutant(NamedTuple):
    """One change of one function, and the rules that it changes."""

    label: str
    """The function, which of its changes this is, and what is changed."""
    rules: list[gd.Rule]
    """Each rule whose function it is, or that calls it, with the change."""


def mutants(*rules: gd.Rule) -> list[Mutant]:
    """Every change of a function that makes rules other ones; functions that rules share are changed in all of them."""
    found: dict[str, Mutant] = {}
    for rule in rules:
        function = rule.function
        assert isinstance(function, FunctionType)
        sources = [function, *_called(function)]
        trees = {source.__name__: _tree(source) for source in sources}
        for name, tree in trees.items():
            for number, (_, what) in enumerate(_changes(tree)):
                changed = copy.deepcopy(tree)
                list(_changes(changed))[number][0]()
                names = dict(function.__globals__)
                for part in ({**trees, name: changed}).values():
                    exec(compile(ast.unparse(ast.fix_missing_locations(part)), f"<mutant of {name}>", "exec"), names)
                label = f"{name} {number}: {what}"
                made = gd.rule(rule.recipe.function, name=f"{rule.name}, {label}", refine=rule.refine)
                found.setdefault(label, Mutant(label, [])).rules.append(made(names[function.__name__]))
    return list(found.values())


def changed(rule: gd.Rule) -> list[str]:
    """The names of the functions that are changed for a rule."""
    assert isinstance(rule.function, FunctionType)
    return [source.__name__ for source in (rule.function, *_called(rule.function))]


def _tree(function: FunctionType) -> ast.Module:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    if ast.get_docstring(definition):
        del definition.body[0]
    return tree


def _called(function: FunctionType) -> list[FunctionType]:
    """The functions of the same package of rules that a function calls, and those that these call."""
    found: dict[str, FunctionType] = {}
    waiting = [function]
    while waiting:
        for name in waiting.pop().__code__.co_names:
            other = function.__globals__.get(name)
            if isinstance(other, FunctionType) and other.__module__ == function.__module__ and name not in found:
                found[name] = other
                waiting.append(other)
    return list(found.values())


_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}

_OTHER: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
}


def _changes(tree: ast.AST) -> Iterator[tuple[Change, str]]:
    """Each change that can be made in a tree, with its description."""
    for node in ast.walk(tree):
        shown = ast.unparse(node) if isinstance(node, (ast.expr, ast.stmt)) else ""
        shown = shown.splitlines()[0][:60] if shown else ""
        match node:
            case ast.Compare(ops=[only]) if type(only) in _OPPOSITE:
                yield _setter(node, "ops", [_OPPOSITE[type(only)]()]), f"the opposite of {shown}"
            case ast.BoolOp(values=values):
                for index in range(len(values)):
                    kept = [value for place, value in enumerate(values) if place != index]
                    part = ast.unparse(values[index])[:40]
                    yield _setter(node, "values", kept), f"without {part!r} in {shown}"
            case ast.BinOp(op=operator) if type(operator) in _OTHER:
                yield _setter(node, "op", _OTHER[type(operator)]()), f"another operator in {shown}"
            case ast.IfExp(body=body, orelse=ast.Constant(value=None)):
                yield _setter(node, "test", ast.Constant(True)), f"always {ast.unparse(body)[:40]}"
            case ast.If(body=[ast.Return(value=ast.Constant(value=None))]):
                yield _setter(node, "test", ast.Constant(False)), f"without {shown}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="op")), args=args, keywords=keywords):
                if len(args) > 1 and not any(isinstance(item, ast.Starred) for item in args):
                    swapped = [args[1], args[0], *args[2:]]
                    yield _setter(node, "args", swapped), f"swapped in {shown}"
                for index, keyword in enumerate(keywords):
                    kept_keywords = [other for place, other in enumerate(keywords) if place != index]
                    name = keyword.arg or "the other attributes"
                    yield _setter(node, "keywords", kept_keywords), f"without {name} in {shown}"
            case ast.Constant(value=bool()):
                continue
            case ast.Constant(value=int() | float() as number):
                yield _setter(node, "value", number + 1), f"{number + 1} for {number}"


def _setter(node: ast.AST, name: str, value: Any) -> Change:
    return lambda: setattr(node, name, copy.deepcopy(value))

"""Which nodes of an exported model each call of a module's part became.

torch's newer exporter says it in each node's metadata, the older one in the names of nodes. Neither always tells the
calls of one part apart; where it does not, every call is given the nodes that may be its own, and shapes and values
decide.
"""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ..ir import Constant, Graph, Node, Value, node_metadata
from ..walk import dependencies
from .recording import Call

_SCOPES = "pkg.torch.onnx.name_scopes"
_RULE = "pkg.onnxscript.rewriter.rule_name"
_SIZES = ("Shape", "Size")
"""Operators that look at the shape of their input alone."""

_LONGEST = 10_000
"""Characters of metadata that are read as a list; a longer text is none of an exporter's."""


class Scopes:
    """The nodes of calls, and what goes into them and comes out."""

    def __init__(self, graph: Graph, calls: Sequence[Call]) -> None:
        self._order = {node: place for place, node in enumerate(graph.nodes)}
        self._users: defaultdict[Value, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for value in dependencies(node):
                self._users[value].append(node)
        self._weighted: defaultdict[str, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for path in _owners(node):
                self._weighted[path].append(node)
        self._outputs = {value for _, value in graph.outputs}
        self.computed = computed_values(graph)
        """The values that depend on the contents of inputs; a module's output is one of these."""
        own = _by_metadata(graph.nodes, calls) or _by_name(graph.nodes, calls)
        self.are_known = bool(own)
        """Whether the model tells anything of the module it came from."""
        self._nodes: dict[Call, set[Node]] = {call: set(own.get(call, ())) for call in calls}
        for call in calls:  # parts come before what calls them
            if call.parent is not None:
                self._nodes[call.parent] |= self._nodes[call]

    def nodes(self, call: Call) -> list[Node]:
        """The nodes of a call and of what it calls, in order."""
        return sorted(self._nodes[call], key=self._order.__getitem__)

    def leaving(self, call: Call) -> list[Value]:
        """What the nodes of a call make that others use, the last first."""
        inside = self._nodes[call]
        return [
            value
            for node in reversed(self.nodes(call))
            for value in node.outputs
            if value in self.computed
            and (value in self._outputs or any(user not in inside for user in self._users[value]))
        ]

    def entering(self, call: Call) -> list[Value]:
        """What the nodes of a call use and others make."""
        inside = self._nodes[call]
        found: dict[Value, None] = {}
        for node in self.nodes(call):
            for value in dependencies(node):
                if value in self.computed and value.node is not None and value.node not in inside:
                    found[value] = None
        return list(found)

    def users_of_weights(self, path: str) -> list[Node]:
        """The nodes that use a part's own weights, which keep their names."""
        return self._weighted.get(path, [])


def computed_values(graph: Graph) -> set[Value]:
    """The values of a graph that depend on the contents of its inputs, not on their shapes alone."""
    found: set[Value] = set(graph.inputs)
    for node in graph.nodes:
        if node.op_type not in _SIZES and any(value in found for value in dependencies(node)):
            found.update(node.outputs)
    return found


def scope_of(node: Node) -> list[str] | None:
    """The paths of the modules around a node, outermost first, and last the operation; None where it does not say."""
    text = _metadata(node).get(_SCOPES)
    if text is None or len(text) > _LONGEST:
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) and found and all(isinstance(item, str) for item in found) else None


def rule_of(node: Node) -> str:
    """The name of the exporter's rule that made a node; empty where none did."""
    return _metadata(node).get(_RULE, "")


def _metadata(node: Node) -> dict[str, str]:
    return dict(node_metadata(node)) if node.info is not None else {}


def _by_metadata(nodes: Iterable[Node], calls: Iterable[Call]) -> dict[Call, list[Node]]:
    """The own nodes of calls, as metadata tells them."""
    by_path: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_path[call.path].append(call)
    operations: defaultdict[str, dict[str, list[Node]]] = defaultdict(dict)
    told = False
    for node in nodes:
        scope = scope_of(node)
        told = told or scope is not None
        path = next((path for path in reversed(scope[:-1] if scope else _owners(node)) if path in by_path), None)
        if path is not None:
            operations[path].setdefault(scope[-1] if scope else "", []).append(node)
    if not told:
        return {}
    found: dict[Call, list[Node]] = {}
    for path, groups in operations.items():
        called, parts = by_path[path], list(groups.values())
        step, rest = divmod(len(parts), len(called))
        for place, call in enumerate(called):
            mine = parts if rest else parts[place * step : (place + 1) * step]
            found[call] = [node for part in mine for node in part]
    return found


def _owners(node: Node) -> list[str]:
    """The paths of the parts whose weights a node uses: what is left to tell where a tool dropped its metadata."""
    names = [value.name for value in node.inputs if isinstance(value, Constant) and value.name]
    return [name.rpartition(".")[0] for name in names if "." in name]


def _by_name(nodes: Iterable[Node], calls: Iterable[Call]) -> dict[Call, list[Node]]:
    """The own nodes of calls, as names such as `/encoder/layers.0/linear1/MatMul` tell them."""
    prefixes: defaultdict[str, list[Call]] = defaultdict(list)
    by_path: defaultdict[str, list[Call]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for call in calls:
        by_path[call.path].append(call)
        prefix = _prefix(call)
        number = counts[prefix]
        counts[prefix] += 1
        prefixes[f"{prefix}_{number}" if number else prefix].append(call)
    found: defaultdict[Call, list[Node]] = defaultdict(list)
    named = False
    for node in nodes:
        name = node.info.name if node.info is not None else ""
        prefix, slash, _ = name.rpartition("/")
        named = named or bool(prefix)
        mine = prefixes.get(prefix, ()) if slash else [c for path in _owners(node) for c in by_path.get(path, ())]
        for call in mine:
            if node not in found[call]:
                found[call].append(node)
    return dict(found) if named else {}


def _prefix(call: Call) -> str:
    """What the older exporter puts before the names of a call's nodes, but for the number of the call."""
    names = []
    current: Call | None = call
    while current is not None and current.path:
        names.append(_segment(current.path))
        current = current.parent
    return "".join(f"/{name}" for name in reversed(names))


def _segment(path: str) -> str:
    """The last name in a path, with those before it as long as they are numbers: `layers.0` of `encoder.layers.0`."""
    names = path.split(".")
    start = len(names) - 1
    while start and names[start].isdigit():
        start -= 1
    return ".".join(names[start:])

"""Operator schemas by domain and opset, the opset in force, and operators declared by users.

A `Schema` is what the library needs to know of one operator at one opset version, read once from `onnx.defs` (for
`com.microsoft` from ONNX Runtime, where it is installed). `since` and `until` bound the opset versions in which the
operator means the same; a node keeps its schema, so a graph knows which opsets fit it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import onnx
from onnx.defs import OpSchema

from .errors import OpsetError, UnknownOperator, nearest
from .sites import at, caller

DEFAULT_OPSET = 21
"""The opset in force when none is chosen: the newest that the oldest supported ONNX Runtime (1.19) runs."""

NEWEST_OPSET: int = onnx.defs.onnx_opset_version()
"""The newest opset of the default domain that the installed onnx defines."""

FOREVER = 2**31 - 1
"""`Schema.until` of an operator that has no newer version."""

_opset: ContextVar[int] = ContextVar("graphdsl_opset", default=DEFAULT_OPSET)


class Parameter(NamedTuple):
    """One formal input or output of an operator."""

    name: str
    type_str: str
    types: frozenset[str]
    required: bool
    variadic: bool
    homogeneous: bool
    least: int
    """How many a variadic parameter takes at the least."""
    doc: str = ""


class AttributeSpec(NamedTuple):
    """One attribute of an operator; `kind` is a number of `AttributeProto.AttributeType`."""

    name: str
    kind: int
    required: bool
    default: onnx.AttributeProto | None
    doc: str


_BODIES = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


class Schema:
    """One operator of one domain at one opset version."""

    __slots__ = (
        "attributes",
        "deterministic",
        "doc",
        "domain",
        "function",
        "inputs",
        "least_inputs",
        "least_outputs",
        "maker",
        "may_have_bodies",
        "memo",
        "most_inputs",
        "most_outputs",
        "name",
        "native",
        "needed",
        "numpy",
        "outputs",
        "places",
        "rule",
        "since",
        "takes_any",
        "until",
        "version",
    )

    def __init__(
        self,
        domain: str,
        name: str,
        *,
        version: int,
        since: int,
        until: int,
        inputs: tuple[Parameter, ...],
        outputs: tuple[Parameter, ...],
        attributes: dict[str, AttributeSpec],
        doc: str = "",
        deterministic: bool = True,
        native: OpSchema | None = None,
        rule: Callable[..., Any] | None = None,
        function: Any = None,
        numpy: Callable[..., Any] | None = None,
        maker: Callable[..., Any] | None = None,
        takes_any: bool = False,
    ) -> None:
        self.domain = domain
        self.name = name
        self.version = version
        """The opset version it was looked up at."""
        self.since = since
        self.until = until
        """The last opset version in which the operator means the same."""
        self.inputs = inputs
        self.outputs = outputs
        self.attributes = attributes
        self.doc = doc
        self.deterministic = deterministic
        """False for operators such as RandomNormal, whose nodes must never be merged or folded."""
        self.native = native
        """The schema of `onnx.defs`, where the operator is ONNX's."""
        self.rule = rule
        """The type rule of an operator that `onnx.defs` does not infer."""
        self.function = function
        """The `ir.Function` that the operator calls, where it is a local function."""
        self.maker = maker
        """What makes a call with types, where the schema stands for a local function in a pattern."""
        self.numpy = numpy
        """What the operator computes, as a function on arrays, where a user's declaration says so."""
        self.takes_any = takes_any
        """Whether a call may have attributes that `attributes` does not list; the kind follows from the value."""
        # ONNX counts absent inputs before a variadic one, which Loop has
        self.least_inputs = native.min_input if native is not None else _least(inputs)
        self.most_inputs = _most(inputs)
        self.least_outputs = _least(outputs)
        self.most_outputs = _most(outputs)
        self.places = {parameter.name: index for index, parameter in enumerate(inputs)}
        """Where each input stands, by its name."""
        self.needed = tuple([n for n, spec in attributes.items() if spec.required])
        """The attributes that every call has."""
        self.may_have_bodies = native is None or any(spec.kind in _BODIES for spec in attributes.values())
        """Whether graphs may be among the attributes of a call."""
        self.memo: dict[Any, Any] = {}
        """What inference found for input types met before; see inference.py."""

    @property
    def label(self) -> str:
        """The operator's name as messages show it: with its domain, unless that is the default one."""
        return f"{self.domain}::{self.name}" if self.domain else self.name

    @property
    def is_bare(self) -> bool:
        """Whether only the name is known: of an operator in a file that nobody declares, or that is called wrongly."""
        return self.native is None and self.rule is None and not any(p.types for p in (*self.inputs, *self.outputs))

    def input(self, index: int) -> Parameter:
        """The formal input that the actual input `index` belongs to."""
        return self.inputs[min(index, len(self.inputs) - 1)]

    def output(self, index: int) -> Parameter:
        """The formal output that the actual output `index` belongs to."""
        return self.outputs[min(index, len(self.outputs) - 1)]

    def __repr__(self) -> str:
        last = "" if self.until == FOREVER else f" to {self.until}"
        return f"<{self.label}, opset {self.since}{last}>"


def _least(parameters: tuple[Parameter, ...]) -> int:
    needed = [i + (p.least if p.variadic else 1) for i, p in enumerate(parameters) if p.required or p.variadic]
    if parameters and parameters[-1].variadic and not parameters[-1].least:
        needed = needed[:-1]
    return max(needed, default=0)


def _most(parameters: tuple[Parameter, ...]) -> int:
    return FOREVER if parameters and parameters[-1].variadic else len(parameters)


_declared: dict[tuple[str, str], Schema] = {}


def declare(schema: Schema) -> Schema:
    """Make an operator that only others implement known under its domain and name; the last declaration counts."""
    _declared[schema.domain, schema.name] = schema
    for key in [key for key in _found if key[:2] == (schema.domain, schema.name)]:
        del _found[key]
    return schema


def declared(domain: str, name: str) -> Schema | None:
    """The declaration of a user's operator, if there is one."""
    return _declared.get((domain, name))


@cache
def _history() -> dict[tuple[str, str], list[int]]:
    """The versions at which each operator was defined or changed, in order; takes 40 ms, so not for a plain call."""
    versions: dict[tuple[str, str], list[int]] = {}
    for native in onnx.defs.get_all_schemas_with_history():
        versions.setdefault((native.domain, native.name), []).append(native.since_version)
    for known in versions.values():
        known.sort()
    return versions


@cache
def since(domain: str, name: str) -> tuple[int, ...]:
    """The versions at which an operator was defined, changed or withdrawn, in order."""
    versions: list[int] = []
    version = FOREVER
    while onnx.defs.has(name, max_inclusive_version=version, domain=domain):
        versions.append(onnx.defs.get_schema(name, version, domain).since_version)
        version = versions[-1] - 1
    return tuple(reversed(versions))


def operators(domain: str, version: int | None = None) -> list[str]:
    """The names of a domain's operators, of those that exist at a version when one is given."""
    own = {name for d, name in _declared if d == domain}
    if domain == "com.microsoft":
        return sorted(own | set(_contributed()))
    names = {n for (d, n), since in _history().items() if d == domain and (version is None or since[0] <= version)}
    if version is not None:
        names = {n for n in names if not onnx.defs.get_schema(n, version, domain).deprecated}
    return sorted(own | names)


def domains() -> set[str]:
    """Every domain in which an operator is known."""
    return {d for d, _ in _history()} | {d for d, _ in _declared} | {"com.microsoft"}


def newest(domain: str) -> int:
    """The newest known version of a domain."""
    if domain == "":
        return NEWEST_OPSET
    if domain == "ai.onnx.ml":
        return int(onnx.defs.onnx_ml_opset_version())
    return max((since[-1] for (d, _), since in _history().items() if d == domain), default=1)


_found: dict[tuple[str, str, int], Schema] = {}


def lookup(domain: str, name: str, version: int) -> Schema:
    """The schema of an operator at an opset version.

    Raises:
        UnknownOperator: no such operator at this version; the message says where it exists, or the nearest name.
    """
    schema = _found.get((domain, name, version))
    if schema is None:
        schema = _declared.get((domain, name))
        if schema is not None:
            return schema
        schema = _find(domain, name, version)
        _found[domain, name, version] = schema
    return schema


_default: list[dict[str, Schema]] = [{} for _ in range(NEWEST_OPSET + 1)]
"""Schemas of the default domain met before, by opset version, then name."""


def in_force(name: str) -> Schema:
    """The schema of an operator of the default domain at the opset in force."""
    version = _opset.get()
    schema = _default[version].get(name)
    if schema is None:
        schema = lookup("", name, version)
        if schema.native is not None:
            _default[version][name] = schema
    return schema


def of_file(domain: str, name: str, version: int) -> Schema | None:
    """The schema of an operator that a file names: of a withdrawn one too, None where no operator has the name."""
    try:
        return lookup(domain, name, version)
    except UnknownOperator:
        versions = since(domain, name)
        if not versions or versions[0] > version:
            return None
        later = [v for v in versions if v > version]
        return _read(onnx.defs.get_schema(name, version, domain), version, later[0] - 1 if later else FOREVER)


def _find(domain: str, name: str, version: int) -> Schema:
    if domain == "com.microsoft":
        contributed = _contributed().get(name)
        if contributed is None:
            raise UnknownOperator(_unknown(domain, name, version) + at(caller()))
        return _read(contributed, version, FOREVER)
    versions = since(domain, name)
    past = [v for v in versions if v <= version]
    if not past:
        raise UnknownOperator(_unknown(domain, name, version) + at(caller()))
    native = onnx.defs.get_schema(name, version, domain)
    if native.deprecated:
        last = native.since_version - 1
        write = f"gd.opset({last}).{name}" if not domain else f"gd.domain({domain!r}, {last}).{name}"
        raise UnknownOperator(
            f"{name!r} was withdrawn at opset {last + 1}, and this is opset {version}; it exists up to opset {last}: "
            f"write {write}" + at(caller())
        )
    until = versions[len(past)] - 1 if len(past) < len(versions) else FOREVER
    return _read(native, version, until)


def _unknown(domain: str, name: str, version: int) -> str:
    versions = since(domain, name)
    if versions:
        first = versions[0]
        where = f"gd.opset({first})" if not domain else f"gd.domain({domain!r}, {first})"
        what = "opset" if not domain else f"version of {domain!r}"
        return f"{name!r} exists since {what} {first}, and this is {what} {version}; write {where}.{name}"
    if domain and domain not in domains():
        return (
            f"no operator {name!r} is known in domain {domain!r}{nearest(domain, domains())}; declare it with "
            f"@gd.custom_op({domain + '::' + name!r}) and its type rule, or define it with @gd.function"
        )
    known = operators(domain)
    label = f" in domain {domain!r}" if domain else ""
    if domain == "com.microsoft" and not known:
        return f"the operators of 'com.microsoft' are known from ONNX Runtime, which is not installed: no {name!r}"
    other = sorted(d for d in domains() if d != domain and name in operators(d))
    hint = f"; it exists in domain {other[0]!r}" if other else nearest(name, known)
    if any(known_domain == domain for known_domain, _ in _declared):
        return f"no operator {name!r} is declared{label}{hint}"
    return f"ONNX has no operator {name!r}{label}{hint}"


@cache
def _contributed() -> dict[str, Any]:
    """ONNX Runtime's own schemas of `com.microsoft`, by name; none where the runtime is not installed."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError:
        return {}
    return {s.name: s for s in state.get_all_operator_schema() if s.domain == "com.microsoft"}


_DRAW_NOTHING = frozenset({"AffineGrid", "CausalConvWithState", "DepthToSpace", "LinearAttention", "SpaceToDepth"})
"""Operators that `onnx.defs` marks as random and that are not: their function depends on attributes."""


def _read(native: Any, version: int, until: int) -> Schema:
    return Schema(
        native.domain,
        native.name,
        version=version,
        since=native.since_version,
        until=until,
        inputs=tuple(map(_parameter, native.inputs)),
        outputs=tuple(map(_parameter, native.outputs)),
        attributes={name: _attribute(spec) for name, spec in native.attributes.items()},
        doc=native.doc or "",
        deterministic=native.name in _DRAW_NOTHING or not getattr(native, "non_deterministic", False),
        native=native if isinstance(native, OpSchema) else None,
    )


def _parameter(native: Any) -> Parameter:
    option = native.option.name
    return Parameter(
        name=native.name,
        type_str=getattr(native, "type_str", None) or native.typeStr,
        types=frozenset(native.types),
        required=option == "Single",
        variadic=option == "Variadic",
        homogeneous=getattr(native, "is_homogeneous", True),
        least=getattr(native, "min_arity", 1),
        doc=native.description or "",
    )


def _attribute(native: Any) -> AttributeSpec:
    kind = native.type.value if hasattr(native.type, "value") else int(native.type)
    default = getattr(native, "default_value", None)
    if not isinstance(default, onnx.AttributeProto):
        raw = getattr(native, "_default_value", b"")
        default = onnx.AttributeProto.FromString(raw) if isinstance(raw, bytes) else None
    present = default is not None and default.type != onnx.AttributeProto.UNDEFINED
    return AttributeSpec(native.name, kind, native.required, default if present else None, native.description or "")


def opset_in_force() -> int:
    """The opset version of the default domain that `op.X` means here."""
    return _opset.get()


def known_version(domain: str, version: int) -> int:
    """The version, if a domain other than the default one may have it.

    Raises:
        OpsetError: it is no positive int, or a version of `ai.onnx.ml` that the installed onnx does not define.
    """
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise OpsetError(f"the version of domain {domain!r} is a positive int, not {version!r}" + at(caller()))
    if domain == "ai.onnx.ml" and version > newest(domain):
        known = f"onnx {onnx.__version__} defines versions 1 to {newest(domain)}"
        raise OpsetError(f"version {version} of domain {domain!r} is not known; {known}" + at(caller()))
    return version


def known_opset(version: int) -> int:
    """The version, if it is one that the installed onnx defines.

    Raises:
        OpsetError: it is not.
    """
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= NEWEST_OPSET:
        known = f"onnx {onnx.__version__} defines opsets 1 to {NEWEST_OPSET}"
        raise OpsetError(f"opset {version!r} is not known; {known}" + at(caller()))
    return version


@contextmanager
def opset_forced(version: int) -> Iterator[None]:
    """Put an opset in force for the code inside, in this thread or task only."""
    token = _opset.set(known_opset(version))
    try:
        yield
    finally:
        _opset.reset(token)

"""Every error that the library raises on purpose.

GraphError
├── UnknownOperator       (AttributeError)  no such operator, domain or opset
├── SignatureError        (TypeError)       a call that does not fit the operator: names, arity, attributes
├── InferenceError        (TypeError, ValueError)  input types that the operator refuses
├── FrozenValueError      (TypeError)       a tensor used as if its value were known now
├── UnsupportedError      (TypeError)       a NumPy manner that tensors refuse, with what to write instead
│   └── UnsupportedAttribute  (AttributeError)  an attribute of NumPy's arrays that tensors do not have
├── IndexingError         (IndexError, ValueError)  an index or axis that the tensor does not have
├── ScopeError            (ValueError)      a tensor used outside the body or model that it belongs to
├── RuleError             (ValueError)      a rewrite rule or pattern that is not well formed
├── NameConflict          (ValueError)      a name that is taken, sealed or not allowed
├── BuildError            (ValueError)      outputs and inputs that make no model
│   └── OpsetError                          nodes that share no opset
├── TypeSpecError         (TypeError, ValueError)  what cannot be read as a dtype, dimension or type
├── FeedError             (TypeError, ValueError)  arrays that do not fit the model's inputs
├── MissingInputs         (ValueError)      a cut that leaves out inputs that its outputs need; see `.suggested`
├── WeightError           (ValueError)      weights that do not fit a model's constants
├── CheckError            (ValueError)      an invalid model; `.findings` lists all that is wrong
├── SourceError           (ValueError)      a model that has no form as source; the message says what has none
├── LoadError             (ValueError)      a file or proto that is not a model the library accepts
├── ExportError           (ValueError)      a torch module that does not become a model which means the same
├── SaveError             (OSError)         a file that could not be written; nothing was left behind
├── MissingRuntime        (ImportError)     an optional package that the call needs
└── RunError              (RuntimeError)    ONNX Runtime refused to load the model or failed while running it
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence


class GraphError(Exception):
    """The base of every error that graphdsl raises on purpose."""


class UnknownOperator(GraphError, AttributeError):
    """No operator of this name in this domain at this opset."""


class SignatureError(GraphError, TypeError):
    """A call does not fit the operator: an unknown attribute, a missing input, a value of the wrong kind."""


class InferenceError(GraphError, TypeError, ValueError):
    """The operator refuses these input types."""


class FrozenValueError(GraphError, TypeError):
    """A tensor was used where Python needs a value now; a graph has values only when it runs."""


class UnsupportedError(GraphError, TypeError):
    """Something NumPy offers that a tensor refuses; the message says what to write instead."""


class UnsupportedAttribute(UnsupportedError, AttributeError):
    """An attribute of NumPy's arrays that a tensor does not have, so that `hasattr` answers False."""


class IndexingError(GraphError, IndexError, ValueError):
    """An index or an axis that the tensor does not have, or something that is no index."""


class ScopeError(GraphError, ValueError):
    """A tensor was used outside the body or model that it belongs to."""


class RuleError(GraphError, ValueError):
    """A rewrite rule or pattern is not well formed."""


class NameConflict(GraphError, ValueError):
    """A name is taken, sealed or not allowed here."""


class BuildError(GraphError, ValueError):
    """The outputs and inputs given do not make a model."""


class OpsetError(BuildError):
    """The nodes of a model share no opset, or the one asked for does not fit them."""


class TypeSpecError(GraphError, TypeError, ValueError):
    """Something cannot be read as a dtype, a dimension or a type."""


class FeedError(GraphError, TypeError, ValueError):
    """The arrays given to a model do not fit its inputs."""


Path = str | tuple[str, ...]
"""A tensor by name, or by the path to it inside a body."""


class MissingInputs(GraphError, ValueError):
    """A cut leaves out inputs that its outputs need.

    `missing` are their names, `paths` the shortest way by which the outputs need each (names of tensors, an output
    first), `suggested` the inputs of cuts that would do, each a tuple to give as `inputs`. A tensor in a body is
    written as the path to it.
    """

    def __init__(
        self,
        message: str,
        missing: Sequence[Path] = (),
        paths: Mapping[Path, Sequence[Path]] | None = None,
        suggested: Sequence[Sequence[Path]] = (),
    ) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        self.paths = {name: tuple(path) for name, path in (paths or {}).items()}
        self.suggested = tuple(tuple(cut) for cut in suggested)


class WeightError(GraphError, ValueError):
    """Weights do not fit the constants of a model: unknown names, other dtypes or shapes."""


class CheckError(GraphError, ValueError):
    """A model is invalid; `findings` holds every problem found, as text."""

    def __init__(self, message: str, findings: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class SourceError(GraphError, ValueError):
    """A model, or something in it, has no form as graphdsl source."""


class LoadError(GraphError, ValueError):
    """A file or proto is not a model that the library accepts."""


class ExportError(GraphError, ValueError):
    """A torch module cannot be exported, or the model that an exporter made of it means something else."""


class SaveError(GraphError, OSError):
    """A model could not be written; what was at the path before is still there."""


class MissingRuntime(GraphError, ImportError):
    """An optional package is not installed; the message says which extra brings it."""


class RunError(GraphError, RuntimeError):
    """ONNX Runtime refused the model or failed while running it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'Conv'?"` when a known name is close, else nothing."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        folded = {n.lower(): n for n in names}
        close = [folded[c] for c in difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)]
    return f"; did you mean {close[0]!r}?" if close else ""

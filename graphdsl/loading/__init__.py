"""Models from files, bytes and protos: into the graph that the language builds, losing nothing, trusting nothing.

Nodes go through the constructor of `ir` without being checked one by one: what the file says is kept (a node its bytes,
a tensor its fields), and types are inferred for the whole model when one is first asked for.
"""

from .reading import Source, load, opened
from .values import LoadedTrace, LoadedValue, is_loaded, settle_types

__all__ = ["LoadedTrace", "LoadedValue", "Source", "is_loaded", "load", "opened", "settle_types"]

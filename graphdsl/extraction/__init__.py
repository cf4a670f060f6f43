"""Parts of models: cut anywhere, tapped at any tensor, split into chains."""

from .exposing import expose
from .extracting import extract
from .intermediates import run_intermediates
from .splitting import split

__all__ = ["expose", "extract", "run_intermediates", "split"]

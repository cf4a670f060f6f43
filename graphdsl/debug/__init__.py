"""Where a model parts from the torch module, or the model, that it should equal.

torch is imported when a function here first needs it, and nowhere else in the library.
"""

from .aligning import align
from .comparing import compare
from .exporting import from_torch
from .marking import Debugger
from .measures import Distance, Statistics
from .reports import Report
from .rows import Row

__all__ = ["Debugger", "Distance", "Report", "Row", "Statistics", "align", "compare", "from_torch"]

"""Faults of others that are known: what a campaign meets of them is counted, and not reported as new.

Each is told in docs/upstream.md, with the smallest model that shows it. An entry says of one node as narrowly as it can
where its fault shows: by operators, dtype and who errs, by what is seen, and by attributes and values.
"""

from collections.abc import Sequence

import numpy as np

from .faults import INFINITIES, NAN, TORCH, Fault, fault, most, size
from .origins import Origin
from .reference_faults import REFERENCE_FAULTS
from .runtime_faults import RUNTIME_FAULTS

FAULTS: tuple[Fault, ...] = (
    *RUNTIME_FAULTS,
    *REFERENCE_FAULTS,
    fault(
        TORCH,
        "torch: fmod is NaN where the quotient overflows",
        "Mod",
        NAN,
        "float32 float64",
        lambda o: np.isinf(o.x / o.inputs[1]).any(),
    ),
    fault(
        TORCH,
        "torch: Gelu of float32 overflows where twice its input does",
        "Gelu",
        INFINITIES,
        "float32",
        lambda o: o.attribute("approximate") == "none" and 2 * size(o.x) > most(o),
    ),
    fault(
        TORCH,
        "torch: Gelu of infinite float32 is NaN",
        "Gelu",
        NAN,
        "float32",
        lambda o: o.attribute("approximate") == "none" and np.isposinf(o.x).any(),
    ),
)


def known(origin: Origin, pair: Sequence[str]) -> str | None:
    """The heading of the known fault that a node shows; None where it shows none."""
    with np.errstate(all="ignore"):
        return next((entry.heading for entry in FAULTS if entry.explains(origin, pair)), None)

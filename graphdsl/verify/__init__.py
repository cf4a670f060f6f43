"""Property-based testing of models, rules and runtimes.

>>> import graphdsl as gd
>>> from graphdsl import verify
>>> from hypothesis import find
>>> find(verify.tensors(gd.int8[1]), lambda x: x.min() < 0)
array([-1], dtype=int8)
"""

from ..apart import Crash, Refusal
from .arrays import tensors
from .campaigns import USUAL, InProcess, campaign, unanimous
from .equivalence import equivalent, matches
from .inputs import feeds
from .programs import OPERATORS, models
from .refuting import rule
from .results import AGREE, CRASH, DIFFER, KNOWN, NOT_RUN, Campaign, Result
from .verdicts import Refuted, Unfired, Verdict
from .witnesses import WITNESSES, run

__all__ = [
    "AGREE",
    "CRASH",
    "DIFFER",
    "KNOWN",
    "NOT_RUN",
    "OPERATORS",
    "USUAL",
    "WITNESSES",
    "Campaign",
    "Crash",
    "InProcess",
    "Refusal",
    "Refuted",
    "Result",
    "Unfired",
    "Verdict",
    "campaign",
    "equivalent",
    "feeds",
    "matches",
    "models",
    "rule",
    "run",
    "tensors",
    "unanimous",
]

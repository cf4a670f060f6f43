"""Rewriting: patterns (patterns.py), matching (matching.py), rules and the rewrite (rules.py)."""

from .matching import Match
from .patterns import any_of
from .rules import Firing, RewriteResult, Rule, Skip, find, rewrite, rule

__all__ = ["Firing", "Match", "RewriteResult", "Rule", "Skip", "any_of", "find", "rewrite", "rule"]

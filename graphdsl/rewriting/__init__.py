"""Rewriting: patterns and how they are written, where they fit, rules, and the engine that applies them."""

from .engine import Firing, Skip
from .rules import Match, RewriteResult, Rule, find, rewrite, rule
from .writing import any_of

__all__ = ["Firing", "Match", "RewriteResult", "Rule", "Skip", "any_of", "find", "rewrite", "rule"]

"""`verify.rule`: trying to refute a rewrite rule from its pattern alone.

plans.py settles dtypes, calls.py and hints.py know what operators accept,
instances.py makes models of a pattern, refuter.py judges them.
"""

from .refuter import rule

__all__ = ["rule"]

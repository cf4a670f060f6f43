"""Benchmarks, run by hand: `python -m benchmarks.build`, `.rebuild` and `.imports`. See docs/benchmarks.md."""

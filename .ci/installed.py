"""Checks an installed graphdsl, not the checkout: what type checkers and editors need is in the wheel."""

from pathlib import Path

import graphdsl

folder = Path(graphdsl.__file__).parent
assert "site-packages" in folder.parts, f"{folder} is not an installed package"
missing = [name for name in ("py.typed", "op.pyi") if not (folder / name).exists()]
assert not missing, f"the wheel lacks {missing}"
print(f"graphdsl {graphdsl.__version__} is installed with its types")

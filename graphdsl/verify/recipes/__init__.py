"""How each operator is called: small functions that decide on inputs and attributes, in one table.

Schemas say which dtypes an operator takes, how many inputs and which attributes. A recipe adds what they do not say:
that the weight of a convolution has as many channels as the image, that axes exist, that windows fit.
"""

from . import along_axes, elementwise, moving, others, windows
from .elementwise import Recipe

RECIPES: dict[str, Recipe] = {
    **elementwise.RECIPES,
    **moving.RECIPES,
    **along_axes.RECIPES,
    **windows.RECIPES,
    **others.RECIPES,
}
"""The recipes of the default domain's operators, simple ones first."""

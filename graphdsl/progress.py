"""Progress bars, where tqdm is installed and somebody looks on."""

from collections.abc import Callable
from typing import Any

from .errors import MissingRuntime
from .sites import at, caller


def bar(total: int, wanted: bool | None, **options: Any) -> Callable[[int], object]:
    """What is told how much more is done: a bar of tqdm's, where one is wanted; by default where a terminal looks on.

    Raises:
        MissingRuntime: a bar is asked for, and tqdm is not installed.
    """
    if wanted is False:
        return lambda done: None
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        if wanted is None:
            return lambda done: None
        raise MissingRuntime(
            f"a progress bar needs tqdm ({error}); install it with: pip install onnx-graphdsl[progress]" + at(caller())
        ) from error
    shown = tqdm(total=total, disable=None if wanted is None else False, **options)

    def advance(done: int) -> None:
        shown.update(done)
        if shown.n >= total:
            shown.close()

    return advance

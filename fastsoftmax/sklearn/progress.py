"""[5] What is shown while a model is fitted, by tqdm; nothing unless it is asked for."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

Told: TypeAlias = Callable[[float], None]  # called after a step, with the latest loss


@contextlib.contextmanager
def bar(verbose: int, total: int, unit: str) -> Iterator[Told]:
    """A bar of so many steps, or of none."""
    if not verbose:
        yield lambda loss: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError('verbose needs tqdm: pip install "fastsoftmax[sklearn]"') from error
    with tqdm(total=total, unit=unit) as shown:

        def told(loss: float) -> None:
            shown.set_postfix(loss=f"{loss:.4f}", refresh=False)
            shown.update()

        yield told

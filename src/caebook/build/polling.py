"""Looking at something again and again, e.g. at the log of a job."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def polling(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `look` in a thread while the context lasts, and once more at its end.

    Parameters
    ----------
    seconds : between two calls
    """
    ended = threading.Event()

    def repeat() -> None:
        last = False
        while not last:
            last = ended.wait(seconds)
            look()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

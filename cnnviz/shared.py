"""States of the whole process that several threads want at the same time."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


class Shared:
    """A state that is entered by the first of several threads inside, and left by the last.

    Context managers that put back what they found are not made for threads: one that leaves before
    another that came later would have the other bring its state back, for good.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        """Make none yet.

        Args:
            make: Makes the context manager, each time that it is entered anew.
        """
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._state: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        """Enter the state, if no other thread is inside."""
        with self._lock:
            if not self._inside:
                self._state = self._make()
                self._state.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        """Leave the state, if no other thread is inside any more."""
        with self._lock:
            self._inside -= 1
            if not self._inside and self._state is not None:
                self._state.__exit__(None, None, None)

"""A state of the process that several threads are inside of at once."""

import warnings
from contextlib import contextmanager

from cnnviz.shared import Shared


def test_the_state_ends_with_the_last_that_is_inside_whoever_leaves_first() -> None:
    said: list[str] = []

    @contextmanager
    def state():
        said.append("in")
        yield
        said.append("out")

    shared = Shared(state)
    first, second = shared, shared
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert said == ["in"]
    second.__exit__(None, None, None)
    assert said == ["in", "out"]
    with shared:
        assert said == ["in", "out", "in"]
    assert said[-1] == "out"


def test_warnings_come_back_after_threads_that_left_in_the_order_they_came() -> None:
    before = list(warnings.filters)
    shared = Shared(lambda: warnings.catch_warnings(action="ignore"))
    with shared, shared:
        assert warnings.filters[0][0] == "ignore"
    assert list(warnings.filters) == before

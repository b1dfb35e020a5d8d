"""Where in a checkpoint the weights are: under the usual keys, or the one that the user names."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from cnnviz.errors import UsageError, WeightsError

State = dict[str, Tensor]

# Under these keys training programs put the weights, beside optimizers and counters.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# Deeper than any program nests them; a file may also hold a mapping in itself.
_DEEPEST = 12


@dataclass(frozen=True)
class Found:
    """The weights in a checkpoint.

    Attributes:
        state: Named tensors.
        key: Where they were, with dots between keys; empty where they are all that there is.
        others: Where else there are about as many: moving averages, a second network.
    """

    state: State
    key: str
    others: tuple[str, ...] = ()


def find_weights(content: object, key: str | None, source: str) -> Found:
    """Return the weights in what a checkpoint holds.

    Args:
        content: Mappings in mappings, with tensors by name somewhere in them.
        key: Where they are: keys with dots between them, the last of which may also be what all
            names of a part begin with; None for the usual places.
        source: The file, for messages.

    Raises:
        UsageError: If the key leads nowhere; it names those that would lead to weights.
        WeightsError: If there are no weights, or none at the usual places.
    """
    states = _states(content)
    if key is not None:
        return _named(content, key, source, states)
    if not states:
        found = list(content)[:5] if isinstance(content, Mapping) else type(content).__name__
        raise WeightsError(f"{source} holds no named weights; found {found}")
    path = _usual(states)
    if path is None:
        where = ", ".join(_written(path) for path in _large(states))
        raise WeightsError(
            f"{source} has no weights at a usual place: choose {where} with --state-key"
        )
    others = (_written(other) for other in _large(states) if other != path)
    return Found(states[path], _written(path), tuple(others))


_Path = tuple[str, ...]


def _usual(states: Mapping[_Path, State]) -> _Path | None:
    """Return where the weights are if they are at a usual place; None if not."""
    usual = [path for path in states if all(part in _WRAPPERS for part in path)]
    # The first of the usual keys wins on each level, and what is inside over what is around it.
    return min(usual, key=lambda p: [*map(_WRAPPERS.index, p), len(_WRAPPERS)], default=None)


def _written(path: _Path) -> str:
    return ".".join(path)


def _states(content: object) -> dict[_Path, State]:
    """Return all mappings in `content` that hold tensors, by the keys that lead there."""
    found: dict[_Path, State] = {}
    seen: set[int] = set()
    level: list[tuple[_Path, object]] = [((), content)]
    for _ in range(_DEEPEST):
        inner: list[tuple[_Path, object]] = []
        for path, here in level:
            if not isinstance(here, Mapping) or id(here) in seen:
                continue
            seen.add(id(here))
            state = {str(k): v for k, v in here.items() if isinstance(v, Tensor)}
            # Scores and counters are numbers.
            if any(tensor.ndim for tensor in state.values()):
                found[path] = state
            inner += [((*path, k), v) for k, v in here.items() if isinstance(k, str)]
        level = inner
    return found


def _large(states: Mapping[_Path, State]) -> list[_Path]:
    """Return where there are at least half as many tensors as anywhere: no optimizer's."""
    most = max(map(len, states.values()))
    return [path for path, state in states.items() if len(state) * 2 >= most]


def _named(content: object, key: str, source: str, states: Mapping[_Path, State]) -> Found:
    usual = _usual(states)
    # What names begin with may also be given without the key that all of them are under.
    places = [((), content), *([(usual, states[usual])] if usual else [])]
    for around, place in places:
        inside = _states(_follow(place, key.split(".")))
        path = next(iter(inside)) if len(inside) == 1 else _usual(inside)
        if path is not None:
            return Found(inside[path], _written((*around, key, *path)))
        if inside:
            listed = ", ".join(f"{key}.{_written(path)}" for path in _large(inside))
            raise UsageError(f"--state-key {key}: {source} has several there: {listed}")
    keys = [_written(path) for path in _large(states) if path] if states else []
    starts = dict.fromkeys(name.partition(".")[0] for name in states.get(usual or (), ()))
    listed = f"; it has {', '.join(keys)}" if keys else ""
    listed += f"; names begin with {', '.join([*starts][:12])}" if starts else ""
    raise UsageError(f"--state-key {key}: {source} has no weights there{listed}")


def _follow(content: object, parts: list[str]) -> object:
    """Return what keys lead to; None where they lead nowhere."""
    if not parts:
        return content
    if not isinstance(content, Mapping):
        return None
    # A key may hold dots itself.
    for count in range(len(parts), 0, -1):
        if (first := ".".join(parts[:count])) in content:
            return _follow(content[first], parts[count:])
    start = ".".join(parts) + "."
    return {
        name.removeprefix(start): value
        for name, value in content.items()
        if isinstance(name, str) and name.startswith(start)
    }

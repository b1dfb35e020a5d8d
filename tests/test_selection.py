"""Layer patterns and channel specifications, against plain oracles."""

import contextlib
import string
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnviz.errors import UnknownNameError, UsageError
from cnnviz.selection import (
    WORDS,
    file_stem,
    label,
    parse_channels,
    parse_place,
    select_layers,
    split_patterns,
)


@dataclass(frozen=True)
class Call:
    name: str
    type: str = "Conv2d"
    call: int = 1
    leaf: bool = True
    grid: tuple[int, int] | None = (8, 8)


# A small residual network, in order of execution.
CALLS = [
    Call("conv1", grid=(32, 32)),
    Call("relu", "ReLU", grid=(32, 32)),
    Call("pool", "MaxPool2d", grid=(16, 16)),
    Call("layer1.0.conv1", grid=(16, 16)),
    Call("relu", "ReLU", call=2, grid=(16, 16)),
    Call("layer1.0", "Block", leaf=False, grid=(16, 16)),
    Call("layer1", "Sequential", leaf=False, grid=(16, 16)),
    Call("layer2.0.conv1", grid=(8, 8)),
    Call("avgpool", "AdaptiveAvgPool2d", grid=(1, 1)),
    Call("fc", "Linear", grid=None),
    Call("", "Net", leaf=False, grid=None),
]


def chosen(*patterns: str, calls: list[Call] = CALLS) -> list[str]:
    return [label(calls[i].name, calls[i].call) for i in select_layers(patterns, calls)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("conv1", ["conv1"]),
        ("layer1", ["layer1"]),
        ("layer1.0", ["layer1.0"]),
        ("relu", ["relu", "relu#2"]),
        ("relu#1", ["relu"]),
        ("relu#2", ["relu#2"]),
        ("layer*", ["layer1.0.conv1", "layer2.0.conv1"]),
        ("layer?.0.conv?", ["layer1.0.conv1", "layer2.0.conv1"]),
        ("layer[2-9].*", ["layer2.0.conv1"]),
        ("r*#2", ["relu#2"]),
        ("layer?", ["layer1"]),
        ("type:conv2d", ["conv1", "layer1.0.conv1", "layer2.0.conv1"]),
        ("type:Block", ["layer1.0"]),
        ("first", ["conv1"]),
        ("last", ["layer2.0.conv1"]),
        ("conv", ["conv1", "layer1.0.conv1", "layer2.0.conv1"]),
        ("pool", ["pool", "avgpool"]),
        ("stages", ["relu", "relu#2", "layer2.0.conv1"]),
    ],
)
def test_pattern_means(pattern: str, expected: list[str]) -> None:
    assert chosen(pattern) == expected


def test_all_means_every_leaf() -> None:
    assert chosen("all") == [label(c.name, c.call) for c in CALLS if c.leaf]


def test_order_is_that_of_execution_and_nothing_comes_twice() -> None:
    assert chosen("fc", "conv1", "first", "conv") == [*chosen("conv"), "fc"]


def test_stages_of_a_network_without_maps_is_its_last_layer() -> None:
    calls = [Call("a", "Linear", grid=None), Call("b", "Linear", grid=None)]
    assert chosen("stages", calls=calls) == ["b"]


def test_stages_takes_single_values_where_there_is_nothing_larger() -> None:
    calls = [Call("a", grid=(1, 1)), Call("b", grid=(1, 1)), Call("c", "Linear", grid=None)]
    assert chosen("stages", calls=calls) == ["b"]


def test_first_and_last_of_a_network_without_convolutions_are_its_leaves() -> None:
    calls = [Call("a", "Linear"), Call("b", "ReLU"), Call("", "Net", leaf=False)]
    assert chosen("first", calls=calls) == ["a"]
    assert chosen("last", calls=calls) == ["b"]


@pytest.mark.parametrize(
    ("pattern", "suggested"), [("layer1.0.conv2", "layer1.0.conv1"), ("relu#9", "relu#2")]
)
def test_unknown_layer_suggests_the_closest(pattern: str, suggested: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"unknown layer '{pattern}'.*{suggested}"):
        select_layers([pattern], CALLS)


@pytest.mark.parametrize("pattern", ["relu#0", "relu#x", "relu#", "relu#-1"])
def test_call_number_must_be_a_whole_number_from_one(pattern: str) -> None:
    with pytest.raises(UsageError, match="whole number from 1"):
        split_patterns([pattern])


def test_patterns_split_at_commas_and_lose_blanks() -> None:
    assert split_patterns(["conv1, relu#2", " fc ,", ""]) == ("conv1", "relu#2", "fc")


@pytest.mark.parametrize("patterns", [[], [""], [" , "]])
def test_no_pattern_is_an_error_that_lists_the_words(patterns: list[str]) -> None:
    with pytest.raises(UsageError, match="stages, first, last, conv, pool, all"):
        split_patterns(patterns)


names = st.text(string.ascii_lowercase + string.digits + "_.", min_size=1, max_size=8)


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.data())
def test_an_exact_name_always_picks_exactly_its_calls(
    found: list[str], data: st.DataObject
) -> None:
    calls = [Call(name, call=n) for n in (1, 2) for name in found]
    wanted = data.draw(st.sampled_from(found))
    if wanted not in WORDS:
        assert chosen(wanted, calls=calls) == [wanted, f"{wanted}#2"]
        assert chosen(f"{wanted}#2", calls=calls) == [f"{wanted}#2"]


@given(st.text(max_size=12))
def test_any_pattern_selects_or_is_wrong_usage(text: str) -> None:
    try:
        positions = select_layers(split_patterns([text]), CALLS)
    except UsageError:
        return
    assert positions == sorted(set(positions))
    assert positions


spans = st.tuples(st.integers(0, 99), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(spans, min_size=1, max_size=6), st.integers(120, 200))
def test_channel_numbers_are_those_of_the_ranges_in_the_order_typed(
    ranges: list[tuple[int, int]], count: int
) -> None:
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
    expected: list[int] = []
    for first, last in ranges:
        expected += [n for n in range(first, last + 1) if n not in expected]
    assert parse_channels(text).indices(count) == expected


@given(st.lists(spans, min_size=1, max_size=4), st.integers(1, 50))
def test_a_channel_beyond_the_last_is_an_error_unless_clipped(
    ranges: list[tuple[int, int]], count: int
) -> None:
    text = ",".join(f"{a}-{b}" for a, b in ranges)
    clipped = parse_channels(text, clipped=True).indices(count)
    assert all(n < count for n in clipped)
    if max(last for _, last in ranges) >= count:
        with pytest.raises(UsageError, match=f"0 to {count - 1}"):
            parse_channels(text).indices(count)
    else:
        assert parse_channels(text).indices(count) == clipped


@given(st.integers(1, 100))
def test_all_and_top_take_every_channel(count: int) -> None:
    assert parse_channels("all").indices(count) == list(range(count))
    spec = parse_channels(" TOP:16 ")
    assert spec.indices(count) == list(range(count))
    assert spec.top == 16


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "-1", "1-", "0,,2", "top:0", "top:", "top:-1", "1.5"]
)
def test_channels_that_mean_nothing_are_repeated_in_the_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"channels '.*' not understood; write 0-15,31 or all"):
        parse_channels(text)


@given(st.text(max_size=10))
def test_any_channel_text_is_understood_or_wrong_usage(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert set(parse_channels(text, clipped=True).indices(3)) <= {0, 1, 2}


@pytest.mark.parametrize(
    "understand",
    [
        lambda digits: parse_channels(f"0-{digits}"),
        lambda digits: parse_channels(f"top:{digits}"),
        lambda digits: parse_place(f"0,{digits}"),
        lambda digits: split_patterns([f"relu#{digits}"]),
    ],
)
def test_a_number_of_thousands_of_digits_is_wrong_usage(
    understand: Callable[[str], object],
) -> None:
    # int() raises a ValueError of its own for these.
    with pytest.raises(UsageError):
        understand("9" * 5000)


def test_a_layer_whose_name_holds_a_slash_or_a_nul_has_one_file() -> None:
    assert file_stem("block/a.conv\0#2") == "block_a.conv_#2"
    assert file_stem("..") == "__"

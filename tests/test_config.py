"""Option values from YAML: right ones pass, wrong ones are named with their line."""

from pathlib import Path

import pytest

from cnnviz.config import OptionType, parse_arguments, read_config
from cnnviz.errors import ConfigError, UsageError

OPTIONS = {
    "model": OptionType(str),
    "input_size": OptionType(str),
    "layers": OptionType(str, repeated=True),
    "batch_size": OptionType(int),
    "lr": OptionType(float),
    "overlay": OptionType(bool),
}


def read(tmp_path: Path, text: str | bytes) -> dict[str, object]:
    path = tmp_path / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_config(path, OPTIONS)


def test_values_keep_their_types_and_names_take_either_dash(tmp_path: Path) -> None:
    text = "model: vgg16\ninput-size: 224\nbatch_size: 4\nlr: 1\noverlay: true\n"
    expected = {"model": "vgg16", "input_size": "224", "batch_size": 4, "lr": 1, "overlay": True}
    assert read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("layers: conv1", ["conv1"]), ("layers: [a, b#2]", ["a", "b#2"]), ("layers: 3", ["3"])],
)
def test_a_repeated_option_takes_one_value_or_a_list(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    assert read(tmp_path, text) == {"layers": expected}


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: a\nmodle: b", r"run\.yaml, line 2: unknown option 'modle'; did you mean model"),
        ("batch-size: many", "line 1: batch-size must be a whole number, not 'many'"),
        ("batch-size: 1.5", "batch-size must be a whole number, not 1.5"),
        ("batch-size: true", "batch-size must be a whole number, not True"),
        ("overlay: 1", "overlay must be true or false, not 1"),
        ("model: yes", "model must be text, not True"),
        ("model: [a]", r"model must be text, not \['a'\]"),
        ("model:", "model must be text, not None"),
        ("lr: fast", "lr must be a number"),
        ("layers: [a, [b]]", "layers must be text or a list of them"),
        ("layers: {a: b}", "layers must be text or a list of them"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["- a\n- b", "just text"])
def test_anything_but_a_mapping_is_an_error_with_an_example(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="must hold option names with values"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\ta: 1", "a: 1\n---\nb: 2", "[" * 5000])
def test_what_is_not_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml is not YAML") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_tag_that_would_run_code_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "made"
    with pytest.raises(ConfigError, match="line 1: model"):
        read(tmp_path, f"model: !!python/object/apply:os.mkdir ['{marker}']")
    assert not marker.exists()


def test_a_file_that_is_not_there_or_not_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        read_config(tmp_path / "none.yaml", OPTIONS)
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        read(tmp_path, b"model: \xff\xfe")


def test_non_latin_values_pass(tmp_path: Path) -> None:
    assert read(tmp_path, "model: 模型.py:net") == {"model": "模型.py:net"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e-4", 1e-4),
        ("2E3", 2000.0),
        ("true", True),
        ("null", None),
        ("", None),
        ("gelu", "gelu"),
        ("'1e-4'", "1e-4"),
        ("[3, 3, 9]", [3, 3, 9]),
        ("{a: 1}", {"a": 1}),
        ("a=b", "a=b"),
        (" spaced out ", "spaced out"),
    ],
)
def test_an_argument_is_read_as_yaml(text: str, value: object) -> None:
    found = parse_arguments([f"name={text}", "other=1"])
    assert found == {"name": value, "other": 1}
    assert type(found["name"]) is type(value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["width"], "--model-args 'width' not understood; write NAME=VALUE, as in width=64"),
        (["=3"], "--model-args '=3' not understood"),
        (["a b=3"], "'a b=3' not understood"),
        (["a=1", "a=2"], "--model-args a is given twice"),
        (["a=[1"], r"--model-args a=\[1: the value is not YAML"),
        (["a=2026-01-01"], "a=2026-01-01: write a number, true, false, null, text, or a list"),
        (["a=.nan"], "a=.nan: write a number"),
        (["a=!!python/object/apply:os.getcwd []"], "the value is not YAML"),
    ],
)
def test_a_wrong_argument_is_told(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_arguments(words)
    assert "\n" not in str(caught.value)


PAIRS = {"model_args": OptionType(str, repeated=True, pairs=True)}


@pytest.mark.parametrize(
    "text",
    [
        "model-args: {width: 6, act: null, name: 'no', depths: [3, 9]}",
        "model-args: [width=6, act=null, \"name='no'\", 'depths=[3, 9]']",
    ],
)
def test_pairs_are_the_same_as_a_mapping_and_as_a_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    words = read_config(tmp_path / "run.yaml", PAIRS)["model_args"]
    expected = {"width": 6, "act": None, "name": "no", "depths": [3, 9]}
    assert parse_arguments(words) == expected

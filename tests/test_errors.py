"""The exception tree, and messages that help on."""

import pytest

from cnnviz import errors
from cnnviz.errors import CnnvizError, UnknownNameError, UsageError, tell_cause


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        (errors.InputError, CnnvizError),
        (errors.ModelError, CnnvizError),
        (errors.WeightsError, errors.ModelError),
        (errors.OutputError, CnnvizError),
        (UsageError, CnnvizError),
        (errors.ConfigError, UsageError),
        (UnknownNameError, UsageError),
    ],
)
def test_tree_is_as_its_docstring_draws_it(
    child: type[CnnvizError], parent: type[CnnvizError]
) -> None:
    assert child.__bases__ == (parent,)
    assert child.__name__ in (errors.__doc__ or "")


def test_unknown_name_suggests_the_closest_ones() -> None:
    said = str(UnknownNameError("model", "resnet81", ["vgg11", "resnet18", "resnet101", "alexnet"]))
    assert said.startswith("unknown model 'resnet81'; did you mean resnet18")
    assert "vgg11" not in said


def test_unknown_name_ignores_case_but_keeps_the_spelling_of_what_is_known() -> None:
    said = str(UnknownNameError("colour map", "RDBU", ["viridis", "RdBu"]))
    assert said == "unknown colour map 'RDBU'; did you mean RdBu?"


def test_unknown_name_lists_a_few_in_full() -> None:
    said = str(UnknownNameError("weights", "zzz", ["default", "none"]))
    assert said == "unknown weights 'zzz'; choose from default, none"


def test_unknown_name_of_many_tells_their_number_and_where_to_see_them() -> None:
    known = [f"name{i}" for i in range(13)]
    said = str(UnknownNameError("layer", "@@@@", known, see="or all"))
    assert "there are 13, such as name0, name1, name2, name3 (or all)" in said
    assert "name4" not in said


def test_unknown_name_without_any_known_says_so() -> None:
    assert str(UnknownNameError("factory", "net", [])).endswith("there are none")


def test_the_cause_of_an_error_without_words_is_its_type() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    assert tell_cause(SilentError()) == "SilentError"
    assert tell_cause(KeyError()) == "KeyError"
    assert tell_cause(OSError("full")) == "OSError: full"

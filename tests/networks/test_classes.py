"""Names of classes, in the forms in which people have them."""

import json
from pathlib import Path

import pytest

from cnnviz.errors import InputError, UnknownNameError
from cnnviz.networks.classes import find_class, read_classes


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "cat\ndog\n", ("cat", "dog")),
        ("a.txt", "cat\r\ndog", ("cat", "dog")),
        ("a.txt", "\ufeffcat\ndog\n\n\n", ("cat", "dog")),
        ("names", "crane\nmaillot\ncrane\n", ("crane", "maillot", "crane")),
        ("a.txt", "shark, Carcharodon\nMöwe\n", ("shark, Carcharodon", "Möwe")),
        ("a.json", ["cat", "dog"], ("cat", "dog")),
        ("a.json", {"1": "dog", "0": "cat"}, ("cat", "dog")),
        ("a.JSON", {"0": ["n014", "tench"], "1": ["n015", "goldfish"]}, ("tench", "goldfish")),
        ("a.json", {"dog": 1, "cat": 0}, ("cat", "dog")),
        ("a.json", {str(i): f"c{i}" for i in range(11)}, tuple(f"c{i}" for i in range(11))),
    ],
    ids=str,
)  # fmt: skip
def test_names_are_in_the_order_of_their_numbers(
    tmp_path: Path, name: str, content: object, expected: tuple[str, ...]
) -> None:
    assert read_classes(write(tmp_path, name, content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "cat\n\ndog\n", "line 2 of .*a.txt has no class name"),
        ("a.txt", "", "line 1 of .*a.txt has no class name"),
        ("a.json", "[cat]", "a.json is not JSON"),
        ("a.json", "{", "a.json is not JSON"),
        ("a.json", [], "holds no class names; write a list"),
        ("a.json", {}, "holds no class names"),
        ("a.json", ["cat", 3], "holds no class names"),
        ("a.json", {"0": "cat", "2": "dog"}, "with numbers from 0 on"),
        ("a.json", {"cat": 1, "dog": 2}, "with numbers from 0 on"),
        ("a.json", {"cat": 0, "dog": 0}, "holds no class names"),
        ("a.json", {"cat": False, "dog": True}, "holds no class names"),
        ("a.json", {"0": []}, "holds no class names"),
        ("a.json", "7", "holds no class names"),
    ],
    ids=str,
)
def test_what_holds_no_names_says_so(tmp_path: Path, name: str, content: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_classes(write(tmp_path, name, content))


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.txt does not exist"):
        read_classes(tmp_path / "gone.txt")
    with pytest.raises(InputError, match=r"cannot read class names from .*: Is a directory"):
        read_classes(tmp_path)
    (tmp_path / "latin.txt").write_bytes("Möwe".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt is not a text file in UTF-8"):
        read_classes(tmp_path / "latin.txt")


def test_a_class_is_found_by_its_name_in_capitals_or_not() -> None:
    assert find_class("DOG", ("Cat", "dog", "Dog")) == 1
    with pytest.raises(UnknownNameError, match="unknown class 'dgo'; did you mean dog"):
        find_class("dgo", ("cat", "dog"))

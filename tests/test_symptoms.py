"""What is marked, and what is not."""

from dataclasses import replace

import pytest

from cnnviz.checks import Health
from cnnviz.symptoms import input_symptoms, symptoms

WELL = Health(nan=0, infinite=0, parts=10, dead=1, what="channels")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"nan": 2}, ["NaN"]),
        ({"infinite": 2}, ["infinite"]),
        ({"blank": 1, "dead": 10}, ["blank", "dead 100%"]),
        ({"dead": 4}, ["dead 40%"]),
        ({"saturated": 0.5}, []),
        ({"saturated": 0.6}, ["saturated 60%"]),
        ({"largest": 65504.0}, []),
        ({"largest": 70000.0}, ["reaches 7e+04"]),
        ({"gradient": 1.0}, []),
        ({"gradient": 1e-5}, ["vanishing"]),
        ({"gradient": 1e5}, ["exploding"]),
        ({"gradient": float("nan")}, ["gradient NaN"]),
        ({"gradient": 0.0, "nan": 1}, ["NaN", "vanishing"]),
    ],
)
def test_layer(change: dict[str, float], said: list[str]) -> None:
    assert symptoms(replace(WELL, **change)) == said


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        (0.1, 1.1, []),
        (0.45, 0.27, ["std 0.27"]),  # photos of 0 to 1
        (118.0, 70.0, ["mean 1.2e+02", "std 70"]),  # and of 0 to 255
        (-1.9, 0.4, ["mean -1.9"]),
    ],
)
def test_input(mean: float, std: float, said: list[str]) -> None:
    assert input_symptoms(WELL, mean, std) == said
    assert input_symptoms(replace(WELL, nan=1), mean, std) == ["NaN", *said]


def test_photos_that_the_network_normalises_itself_need_not_be_normalised() -> None:
    assert input_symptoms(WELL, 0.4, 0.17) == ["std 0.17"]
    assert input_symptoms(WELL, 0.4, 0.17, raw=True) == []
    assert input_symptoms(replace(WELL, nan=1), 0.4, 0.17, raw=True) == ["NaN"]

"""The table of optimised pictures."""

from cnnviz.report.maximize import _score


def test_scores_have_the_minus_sign_that_programs_read() -> None:
    assert [_score(score) for score in (-0.231, 4e-5, -12.0, None)] == [
        "-0.23", "4e-5", "-12", "NaN",
    ]  # fmt: skip
    assert float(_score(-4e-5)) == -4e-5

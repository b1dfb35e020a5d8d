import pytest
import torch

from cnnviz.ascent import transforms
from cnnviz.ascent.transforms import draw, jitter, robust, rotate, scale, warp


def picture(height=5, width=5):
    return torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)


def test_jitter_shifts_down_and_right_and_pads_with_the_mirror_image():
    moved = warp(picture(3, 4), jitter(torch.tensor([[1.0, 2.0]])))
    expected = torch.tensor([[1, 0, 0, 1], [1, 0, 0, 1], [5, 4, 4, 5]])
    assert torch.allclose(moved[0, 0], expected.float(), atol=1e-4)


def test_jitter_the_other_way():
    moved = warp(picture(3, 3), jitter(torch.tensor([[-1.0, 0.0]])))
    assert torch.allclose(moved[0, 0], picture(3, 3)[0, 0, [1, 2, 2]], atol=1e-4)


def test_half_a_pixel_is_the_mean_of_two():
    moved = warp(torch.tensor([[[[0.0, 1.0, 5.0]]]]), jitter(torch.tensor([[0.0, 0.5]])))
    assert torch.allclose(moved[0, 0, 0], torch.tensor([0.0, 0.5, 3.0]), atol=1e-5)


@pytest.mark.parametrize(("degrees", "turns"), [(90.0, -1), (180.0, 2), (-90.0, 1)])
def test_rotate_turns_clockwise_about_the_middle(degrees, turns):
    source = picture(4, 4)
    moved = warp(source, rotate(torch.tensor([degrees])))
    assert torch.allclose(moved, torch.rot90(source, turns, (2, 3)), atol=1e-4)


def test_rotate_keeps_proportions_where_pictures_are_not_square():
    source = torch.zeros(1, 1, 5, 9)
    source[..., 2, 4:7] = 1  # three pixels to the right of the middle ...
    moved = warp(source, rotate(torch.tensor([90.0])))
    assert torch.allclose(moved[0, 0, 2:, 4], torch.ones(3), atol=1e-4)  # ... point down
    assert moved[0, 0, :, 5:].abs().max() < 1e-4


def test_scale_enlarges_about_the_middle():
    source = torch.tensor([[[[0.0, 1.0, 2.0, 3.0, 4.0]]]]).expand(1, 1, 5, 5)
    moved = warp(source, scale(torch.tensor([2.0])))
    assert torch.allclose(moved[0, 0, 0], torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]), atol=1e-5)


def test_each_picture_moves_in_its_own_way():
    source = picture().expand(2, 1, 5, 5)
    moved = warp(source, jitter(torch.tensor([[0.0, 0.0], [1.0, 0.0]])))
    assert torch.allclose(moved[0], source[0], atol=1e-4)
    assert torch.allclose(moved[1, 0, 1:], source[1, 0, :-1], atol=1e-4)


def test_draws_repeat_with_the_seed_and_stay_in_range():
    one, other = (draw(500, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (500, transforms.DRAWS)
    assert -1 <= one.min() < -0.95
    assert 0.95 < one.max() < 1


def test_robust_moves_as_drawn():
    source = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([[0.5, -0.25, 0.0, 0.0]])
    expected = warp(source, jitter(torch.tensor([[transforms.JITTER / 2, -transforms.JITTER / 4]])))
    assert torch.allclose(robust(source, shift), expected)
    turned = robust(source, torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
    assert torch.allclose(turned, warp(source, rotate(torch.tensor([transforms.ROTATE]))))
    larger = robust(source, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))
    assert torch.allclose(larger, warp(source, scale(torch.tensor([1 + transforms.SCALE]))))


def test_no_strength_no_movement():
    source = picture(8, 8)
    draws = torch.ones(1, transforms.DRAWS)
    assert torch.allclose(robust(source, draws, 0.0), source, atol=1e-4)
    assert not torch.allclose(robust(source, draws, 0.5), source, atol=0.1)

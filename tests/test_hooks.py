"""Captured outputs are those of the layer, and the network is left as it was."""

import gc
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models as zoo

from cnnviz.errors import ModelError, UnknownNameError
from cnnviz.hooks import capture, observe


def random_input(size: int = 64) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "size"), [("alexnet", 127), ("vgg11", 32)])
def test_a_convolution_is_not_seen_through_the_relu_in_place_behind_it(
    name: str, size: int
) -> None:
    with torch.device("meta"):
        features = zoo.get_model_builder(name)().features
    network = features.to_empty(device="cpu").eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    assert isinstance(network[1], nn.ReLU)
    assert network[1].inplace
    picture = random_input(size)
    with torch.no_grad(), capture(network, ["0", "1"]) as seen:
        network(picture)
        expected = network[0](picture)
    assert (seen["0"] < 0).any()
    assert torch.equal(seen["0"], expected)
    assert torch.equal(seen["1"], expected.relu())


def test_bn2_of_resnet_is_not_overwritten_by_the_addition_of_the_shortcut() -> None:
    network = zoo.resnet18().eval()
    picture = random_input()
    with torch.no_grad(), capture(network, ["layer1.0.bn2", "maxpool", "layer1.0"]) as seen:
        network(picture)
    block = network.layer1[0]
    with torch.no_grad():
        inside = block.relu(block.bn1(block.conv1(seen["maxpool"].clone())))
        expected = block.bn2(block.conv2(inside))
    assert torch.equal(seen["layer1.0.bn2"], expected)
    assert torch.equal(seen["layer1.0"], (expected + seen["maxpool"]).relu())


class FunctionalInPlace(nn.Module):
    """Overwrites what `conv` gave with a function, as GoogLeNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.constant_(self.conv.weight, -1.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


def test_a_function_in_place_does_not_reach_what_was_captured() -> None:
    network = FunctionalInPlace()
    with torch.no_grad(), capture(network, ["conv"]) as seen:
        output = network(torch.ones(1, 3, 2, 2))
    assert (seen["conv"] == -3).all()
    assert (output == 0).all()


class Twice(nn.Module):
    """Calls `add` twice; the calls can be told apart by their values."""

    def __init__(self) -> None:
        super().__init__()
        self.add = nn.Linear(1, 1)
        nn.init.ones_(self.add.weight)
        nn.init.ones_(self.add.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.add(x))


def test_calls_of_one_module_are_kept_apart() -> None:
    network = Twice()
    with torch.no_grad(), capture(network, ["add#2", "add"]) as seen:
        network(torch.zeros(1, 1))
    assert {name: float(value) for name, value in seen.items()} == {"add": 1.0, "add#2": 2.0}


def test_a_second_forward_pass_counts_calls_anew_and_replaces_the_first() -> None:
    network = Twice()
    with torch.no_grad(), capture(network, ["add", "add#2"]) as seen:
        network(torch.zeros(1, 1))
        network(torch.full((1, 1), 5.0))
    assert {name: float(value) for name, value in seen.items()} == {"add": 6.0, "add#2": 7.0}


def test_calls_are_counted_anew_after_a_pass_that_failed() -> None:
    network = Twice()
    with torch.no_grad(), capture(network, ["add#2"]) as seen:
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 2))
        network(torch.zeros(1, 1))
    assert float(seen["add#2"]) == 2.0


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("this layer must not run")


def keep(_: str, output: Tensor) -> Tensor:
    return output.clone()


def test_the_pass_ends_with_the_last_wanted_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), Raises())
    with observe(network, ["0", "1"], keep, stop=True) as seen:
        network(torch.zeros(1, 3, 4, 4))
        raise AssertionError("the block ends with the pass")
    assert list(seen) == ["0", "1"]


def test_an_early_end_is_not_swallowed_by_the_network() -> None:
    class Swallows(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            try:
                return super().forward(x)
            except Exception:
                return x

    network = Swallows(nn.Identity(), Raises())
    with observe(network, ["0"], keep, stop=True) as seen:
        network(torch.zeros(1, 3))
        raise AssertionError("the block ends with the pass")
    assert list(seen) == ["0"]


def state_of(network: nn.Module) -> list[object]:
    hooks = [
        (dict(m._forward_hooks), dict(m._forward_pre_hooks), m.training) for m in network.modules()
    ]
    flags = [parameter.requires_grad for parameter in network.parameters()]
    return [hooks, flags, torch.is_grad_enabled(), torch.is_inference_mode_enabled()]


def odd_network(*more: nn.Module) -> nn.Sequential:
    """Return a network with a hook of its own and flags that differ from layer to layer."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), *more)
    network[1].eval()
    network[0].weight.requires_grad_(False)
    network[0].register_forward_hook(lambda *_: None)
    return network


def leave_normally(network: nn.Module) -> None:
    with capture(network, ["0", "1"]):
        network(torch.zeros(2, 3, 4, 4))


def fail_in_forward(network: nn.Module) -> None:
    with pytest.raises(RuntimeError), capture(network, ["0", "1"]):
        network(torch.zeros(2, 4, 4, 4))


def fail_in_body(network: nn.Module) -> None:
    with pytest.raises(KeyError), capture(network, ["0", "1"]) as seen:
        seen["nowhere"]


def fail_while_keeping(network: nn.Module) -> None:
    def refuse(_: str, output: Tensor) -> None:
        raise MemoryError

    with pytest.raises(MemoryError), observe(network, ["0"], refuse):
        network(torch.zeros(2, 3, 4, 4))


def end_early(network: nn.Module) -> None:
    with torch.inference_mode(), observe(network, ["0"], keep, stop=True):
        network(torch.zeros(2, 3, 4, 4))


def ask_for_nothing_known(network: nn.Module) -> None:
    with pytest.raises(UnknownNameError), capture(network, ["0", "7"]):
        pass


@pytest.mark.parametrize(
    "leave",
    [leave_normally, fail_in_forward, fail_in_body, fail_while_keeping, end_early,
     ask_for_nothing_known],
)  # fmt: skip
@pytest.mark.parametrize("grad", [True, False])
def test_everything_is_restored_however_the_block_ends(
    leave: Callable[[nn.Module], None], grad: bool
) -> None:
    network = odd_network()
    with torch.set_grad_enabled(grad):
        before = state_of(network)
        leave(network)
        assert state_of(network) == before


def train(watched: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weights after three steps, and what was seen in the last of them."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(16, 2),
    ).train()  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        with capture(network, watched) as seen:
            loss = network(torch.randn(2, 3, 4, 4)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()]), seen


def test_a_training_loop_learns_the_same_with_capture() -> None:
    with torch.random.fork_rng(devices=[]):
        (watched, seen), (alone, _) = train(["0", "2"]), train([])
    assert torch.equal(watched, alone)
    assert not seen["0"].requires_grad
    assert (seen["0"] < 0).any()


class Gives(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(x + 1)


class Around(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.inner = Gives(wrap)

    def forward(self, x: Tensor) -> Tensor:
        self.inner(x)
        return x


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: (x, x * 0), lambda x: [x, None], lambda x: {"out": x, "aux": x * 0},
        lambda x: OrderedDict(out=x), lambda x: (None, {"a": (x,)}), lambda x: x,
    ],
)  # fmt: skip
def test_the_first_tensor_of_any_output_is_taken(wrap: Callable[[Tensor], object]) -> None:
    with capture(Around(wrap), ["inner"]) as seen:
        Around(wrap)(torch.zeros(1, 2))
    assert seen == {}, "another network of the same make is not watched"
    network = Around(wrap)
    with capture(network, ["inner"]) as seen:
        network(torch.zeros(1, 2))
    assert torch.equal(seen["inner"], torch.ones(1, 2))


def test_an_output_without_a_tensor_is_passed_over() -> None:
    network = Around(lambda x: "text")
    with capture(network, ["inner"]) as seen:
        network(torch.zeros(1, 2))
    assert seen == {}


@pytest.mark.parametrize("layer", ["conv", "0.x", "", "0#x"])
def test_an_unknown_layer_is_an_error_before_anything_runs(layer: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown layer"), capture(odd_network(), [layer]):
        raise AssertionError("the block must not run")


def test_memory_does_not_grow_from_pass_to_pass() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())

    def tensors() -> int:
        gc.collect()
        return sum(type(found) is Tensor for found in gc.get_objects())

    def run(times: int) -> int:
        for _ in range(times):
            with torch.no_grad(), capture(network, ["0", "1"]):
                network(torch.zeros(1, 3, 4, 4))
        return tensors()

    first = run(1)
    assert run(20) <= first


def test_a_copy_stays_when_the_network_is_gone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1))
    with capture(network, ["0"]) as seen:
        network(torch.zeros(1, 3, 4, 4))
    assert seen["0"].grad_fn is None
    with torch.no_grad():
        network[0].bias.fill_(7)
    assert not (seen["0"] == 7).any()


def test_what_goes_into_a_layer_is_seen_before_it_is_overwritten() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3)).eval()
    picture = random_input(8)
    ran: list[int] = []
    network[2].register_forward_pre_hook(lambda *_: ran.append(2))
    with (
        torch.no_grad(),
        observe(network, ["1"], lambda _, x: x.clone(), stop=True, before=True) as seen,
    ):
        network(picture)
    assert torch.equal(seen["1"], network[0](picture))
    assert (seen["1"] < 0).any()
    assert not ran
    assert not network[1]._forward_pre_hooks


def test_the_second_call_is_counted_by_its_inputs_too() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.relu(x - 1) - 2)  # type: ignore[no-any-return]

    network = Twice()
    with observe(network, ["relu", "relu#2"], lambda _, x: x.clone(), before=True) as seen:
        network(torch.tensor([[4.0]]))
    assert (seen["relu"].item(), seen["relu#2"].item()) == (3.0, 1.0)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_outputs_are_the_numbers_that_they_stand_for() -> None:
    class Quantizing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.quantize_per_tensor(x, 0.5, 10, torch.quint8)

    network = nn.Sequential(Quantizing())
    with capture(network, ["0"]) as activations:
        network(torch.tensor([[0.26, -9.0, 3.0]]))
    # Steps of a half, and nothing below -10 steps.
    assert activations["0"].tolist() == [[0.5, -5.0, 3.0]]


def pair() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))


@pytest.mark.parametrize("inside", [True, False])
def test_a_network_that_was_compiled_before_is_seen_as_it_is_written(inside: bool) -> None:
    network, picture = pair(), random_input(8)
    ran: list[int] = []

    def backend(graph: nn.Module, _example: object) -> Callable[..., object]:
        ran.append(0)
        return graph.forward

    compiled = torch.compile(network, backend=backend)
    compiled(picture)
    # Names are those of the network, whichever of both is watched.
    with torch.no_grad(), capture(network if inside else compiled, ["0", "2"]) as seen:
        output = compiled(picture)
    assert torch.equal(seen["2"], output)
    assert (seen["0"] < 0).any()
    assert len(ran) == 1, "nothing is compiled anew"
    with torch.no_grad(), capture(network, ["0"]) as seen:
        pass
    assert torch.allclose(compiled(picture), output)


def test_a_network_compiled_in_place_is_seen_too() -> None:
    network = pair()
    network.compile(backend="eager")
    network(random_input(8))
    with torch.no_grad(), capture(network, ["0"]) as seen:
        network(random_input(8))
    assert list(seen) == ["0"]


def test_data_parallel_is_seen_on_one_device_and_refused_on_several() -> None:
    network = nn.DataParallel(pair())
    with torch.no_grad(), capture(network, "module.1") as seen:
        output = network(random_input(8))
        assert torch.equal(network.module[2](seen["module.1"]), output)
        # What it makes for each further device: a copy with the same hooks.
        copy = network.module[1]._replicate_for_data_parallel()
        with pytest.raises(ModelError, match="DataParallel splits a batch"):
            copy(torch.zeros(1, 4, 6, 6))


def test_one_layer_may_be_named_alone() -> None:
    network = pair()
    with torch.no_grad(), capture(network, "1") as seen:
        network(random_input(8))
    assert list(seen) == ["1"]


def test_captures_inside_one_another_do_not_meet() -> None:
    network, picture = Twice(), torch.zeros(1, 1)
    with torch.no_grad(), capture(network, ["add#2"]) as outer:
        network(picture)
        with capture(network, ["add", "add#2"]) as inner:
            network(picture + 5)
        assert len(network.add._forward_hooks) == 1
        network(picture + 1)
    assert (float(inner["add"]), float(inner["add#2"]), float(outer["add#2"])) == (6.0, 7.0, 3.0)
    assert not network.add._forward_hooks

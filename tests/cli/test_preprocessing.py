"""`--mean`, `--std`, `--resize`, `--crop`, `--grey`, `--classes`, and what is told of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

# As the example network of many courses, but that it is small.
LENET = """
import torch
from torch import nn


class LeNet(nn.Module):
    def __init__(self, inputs, num_classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 8, 5)
        self.fc1 = nn.Linear(8 * 5 * 5, 16)
        self.fc2 = nn.Linear(16, num_classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2)
        return self.fc2(self.fc1(x.flatten(1)).relu())


def lenet(inputs=1):
    torch.manual_seed(3)
    return LeNet(inputs)


def colours():
    return lenet(3)


def radar():
    return lenet(4)
"""
NAMES = ("circle", "square", "triangle", "star")


@pytest.fixture
def grey(here):
    """Options for a network that reads one channel of 28x28 pixels."""
    Path("lenet.py").write_text(LENET)
    Path("names.txt").write_text("\n".join(NAMES))
    return ("-m", "lenet.py:lenet", "--input-size", "28")


def document(run):
    assert run.code == 0, run.stderr
    return json.loads(run.stdout)


def activations():
    return np.load("cnnviz-out/a.jpg/activations.npz")


def torchvisions(channels, *steps):
    """Return what torchvision makes of the photo."""
    chain = transforms.Compose([*steps, transforms.Grayscale(channels), transforms.ToTensor()])
    return chain(Image.open("a.jpg"))[None]


def network(name):
    scope = {}
    exec(LENET, scope)
    return scope[name]().eval()


def test_a_grey_network_sees_what_torchvision_would_show_it(cli, grey):
    options = ("--mean", 0.1307, "--std", 0.3081, "-l", "conv1", "--save-activations", "--json")
    told = document(cli("maps", "a.jpg", *grey, *options))
    picture = torchvisions(1, transforms.Resize(32), transforms.CenterCrop(28))
    with torch.inference_mode():
        expected = network("lenet").conv1((picture - 0.1307) / 0.3081)
    assert activations()["conv1"] == pytest.approx(expected[0].numpy(), abs=1e-5)
    assert told["input_shape"] == [1, 1, 28, 28]
    assert told["preprocess"] == {
        "input_size": [28, 28],
        "resize": [32, 32],
        "stretch": False,
        "grey": True,
        "mean": [0.1307],
        "std": [0.3081],
        "interpolation": "bilinear",
        "source": "assumed",
        "options": ["input_size", "mean", "std"],
    }


def test_the_input_tile_of_a_grey_network_is_grey(cli, grey):
    assert cli("maps", "a.jpg", *grey, "-l", "conv1").code == 0
    overview = np.asarray(Image.open("cnnviz-out/a.jpg/overview.png").convert("RGB")).astype(int)
    tile = overview[100:200, 20:200]
    assert np.ptp(tile[..., 0]) > 50
    assert (np.ptp(tile, axis=2) == 0).all()


def test_patches_that_excite_a_grey_network_most_are_grey(cli, grey):
    assert cli("maps", "a.jpg", *grey, "-l", "conv1", "--top-images", 1).code == 0
    with Image.open("cnnviz-out/top/conv1/0.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert len(np.unique(pixels)) > 50
    assert (np.ptp(pixels, axis=2) == 0).all()


def test_every_command_takes_a_grey_network(cli, grey):
    layers = cli("layers", *grey)
    assert layers.code == 0
    assert "for an input of 1×1×28×28" in layers.stdout
    assert document(cli("layers", *grey, "--json"))["input_shape"] == [1, 1, 28, 28]
    fields = document(cli("rf", "a.jpg", *grey, "--verify", "--effective", "--at", "max", "--json"))
    assert all(layer["verified"] for layer in fields["layers"])
    assert document(cli("rf", *grey, "--effective", "--json"))["input_shape"] == [1, 1, 28, 28]
    gradients = cli("maps", "a.jpg", *grey, "-l", "all", "--gradients", "--json")
    assert all(layer["gradient"]["norm"] > 0 for layer in document(gradients)["layers"])
    units = document(cli("maximize", *grey, "--steps", 8, "-l", "conv2", "--json"))["units"]
    assert all(unit["final"] > unit["start"] for unit in units)
    with Image.open(units[0]["output"]) as picture:
        assert picture.mode == "L"
    assert cli("filters", *grey).code == 0


def test_a_colour_network_is_shown_grey_in_three_equal_channels(cli, grey):
    options = ("--grey", "--crop", "none", "--std", 1, "--mean", 0, "--save-activations", "--json")
    told = document(
        cli("maps", "a.jpg", *grey, "-m", "lenet.py:colours", *options, "-l", "conv1,fc2")
    )
    picture = torchvisions(3, transforms.Resize((28, 28)))
    with torch.inference_mode():
        expected = network("colours")(picture)
    assert activations()["fc2"] == pytest.approx(expected[0].numpy(), abs=1e-5)
    assert (told["preprocess"]["stretch"], told["preprocess"]["mean"]) == (True, [0.0] * 3)


def test_maximised_pictures_of_a_network_for_grey_are_grey(cli, grey):
    options = (*grey, "-m", "lenet.py:colours", "-l", "conv1", "--channels", 0, "--json")
    for words, grey_ones in (((), False), (("--grey",), True)):
        for start in ((), ("--init", "a.jpg")):
            run = cli("maximize", *options, "--steps", 6, *words, *start)
            (unit,) = document(run)["units"]
            assert unit["final"] > unit["start"]
            pixels = np.asarray(Image.open(unit["output"]).convert("RGB")).astype(int)
            assert (np.ptp(pixels, axis=2) == 0).all() == grey_ones


def test_the_score_of_a_maximised_picture_is_that_of_its_normalisation(cli, grey):
    # A linear unit's start, at a picture of one grey, is told by its bias and weights alone.
    words = ("--mean", 0.25, "--std", 0.5, "--steps", 4, "-l", "fc2", "--json")
    Image.new("L", (40, 40), 128).save("even.png")
    units = document(cli("maximize", *grey, *words, "--init", "even.png"))["units"]
    even = torch.full((1, 1, 28, 28), (128 / 255 - 0.25) / 0.5)
    with torch.inference_mode():
        expected = network("lenet")(even)[0].tolist()
    assert [unit["start"] for unit in units] == pytest.approx(expected, abs=0.01)


class TestWhatIsTold:
    SAID = "photos: resize 37, crop 32, mean 0.485,0.456,0.406, std 0.229,0.224,0.225 "

    def test_a_guess_is_told_once_with_the_options_that_replace_it(self, cli, tiny):
        lines = cli("maps", "a.jpg", *tiny).stderr.splitlines()
        guess = "(resize, mean, std assumed as for ImageNet; options of these names set others)"
        assert [line for line in lines if line.startswith("photos:")] == [self.SAID + guess]

    @pytest.mark.parametrize("words", [("--quiet",), ("--mean", "0.5", "--std", "0.25")])
    def test_nothing_is_told_where_nothing_is_guessed(self, cli, tiny, words):
        assert "photos:" not in cli("maps", "a.jpg", *tiny, *words).stderr

    def test_half_of_a_guess_is_told(self, cli, tiny):
        said = cli("maps", "a.jpg", *tiny, "--mean", "0.5").stderr
        assert "mean 0.5,0.5,0.5, std 0.229,0.224,0.225 (resize, std assumed as for" in said

    def test_what_weights_say_is_a_detail(self, cli, here):
        options = ("maps", "a.jpg", "-l", "conv1", "--input-size", 32)
        assert "photos:" not in cli(*options).stderr
        assert (
            "std 0.25,0.25,0.25 (resize, mean, std as the weights expect)"
            in cli(*options, "-v").stderr
        )

    def test_a_field_on_a_photo_says_how_it_was_cropped_and_one_without_does_not(self, cli, tiny):
        assert "photos:" in cli("rf", "a.jpg", *tiny).stderr
        assert "photos:" not in cli("rf", *tiny).stderr

    def test_without_a_photo_nothing_is_resized(self, cli, tiny):
        said = cli("maximize", *tiny, "-l", "conv1", "--steps", 1).stderr
        assert "pictures: mean 0.485,0.456,0.406" in said
        assert "(mean, std assumed" in said
        assert "resize" not in said

    @pytest.mark.parametrize(
        ("command", "words"), [("rf", ()), ("maximize", ("-l", "conv1", "--steps", "1"))]
    )
    def test_documents_have_it(self, cli, tiny, command, words):
        told = document(cli(command, *tiny, *words, "--grey", "--json"))["preprocess"]
        assert (told["source"], told["options"], told["grey"]) == (
            "assumed", ["input_size", "grey"], True,
        )  # fmt: skip


class TestFile:
    def test_every_key_is_taken(self, cli, here):
        Path("names.json").write_text(json.dumps({str(i): str(i) for i in range(5)}))
        Path("c.yaml").write_text(
            "model: net.py:tiny\nresize: 40\ncrop: 32x24\nmean: [0.1, 0.2, 0.3]\n"
            "std: 0.5\ngrey: true\nclasses: names.json\nlayers: conv1\n"
        )
        told = document(cli("maps", "a.jpg", "-c", "c.yaml", "--json"))["preprocess"]
        assert (told["resize"], told["input_size"]) == ([40, 40], [32, 24])
        assert (told["mean"], told["std"], told["grey"]) == ([0.1, 0.2, 0.3], [0.5] * 3, True)

    def test_the_command_line_wins(self, cli, here):
        Path("c.yaml").write_text("model: net.py:tiny\nmean: [0.1, 0.2, 0.3]\ncrop: none\n")
        words = ("-l", "conv1", "--mean", "0.7", "--input-size", 32, "--json")
        told = document(cli("maps", "a.jpg", "-c", "c.yaml", *words))["preprocess"]
        assert (told["mean"], told["stretch"]) == ([0.7] * 3, True)


class TestClasses:
    def test_they_name_the_classes_of_maps_and_maximize(self, cli, grey):
        words = (*grey, "--classes", "names.txt")
        assert cli("maps", "a.jpg", *words, "-l", "fc2", "--gradients", "--class", "Star").code == 0
        told = Image.open("cnnviz-out/a.jpg/fc2.gradient.png").text["cnnviz"]
        assert json.loads(told)["class"] == 3
        units = ("--objective", "class", "--channels", "star,circle", "--steps", 4)
        run = cli("maximize", *words, *units)
        assert run.code == 0, run.stderr
        assert "3 star" in run.stdout
        assert "0 circle" in run.stdout

    def test_a_name_that_is_none_of_them_is_wrong_usage(self, cli, grey):
        run = cli("maps", "a.jpg", *grey, "--classes", "names.txt", "--gradients", "--class", "sta")
        assert run.code == 2
        assert "unknown class 'sta'; did you mean star" in run.error

    @pytest.mark.parametrize("command", ["maps", "maximize", "filters"])
    def test_their_number_is_that_of_the_last_layer(self, cli, grey, command):
        Path("names.txt").write_text("one\ntwo\n")
        photo = ("a.jpg",) if command == "maps" else ()
        run = cli(command, *photo, *grey, "--classes", "names.txt")
        assert run.code == 2
        assert "2 class names are given, and the last layer of lenet.py:lenet has 4" in run.error

    def test_a_checkpoint_with_another_number_of_classes_takes_names(self, cli, grey):
        scope = {}
        exec(LENET, scope)
        torch.save(scope["LeNet"](1, num_classes=2).state_dict(), "two.pth")
        Path("net2.py").write_text(
            LENET + "\n\ndef two(num_classes=4):\n    return LeNet(1, num_classes)\n"
        )
        Path("names.txt").write_text("one\ntwo\n")
        words = ("-m", "net2.py:two", "-w", "two.pth", "--input-size", 28, "--steps", 4)
        run = cli(
            "maximize",
            *words,
            "--classes",
            "names.txt",
            "--objective",
            "class",
            "--channels",
            "two",
        )
        assert run.code == 0, run.stderr
        assert "1 two" in run.stdout


@pytest.mark.parametrize(
    "command", [("maps", "a.jpg"), ("rf", "a.jpg"), ("maximize", "--init", "a.jpg")]
)
def test_photos_are_not_for_networks_of_four_channels(cli, grey, command):
    run = cli(*command, *grey, "-m", "lenet.py:radar")
    assert run.code == 2
    assert "reads 4 channels" in run.error


def test_a_network_of_four_channels_needs_no_photo(cli, grey):
    words = (*grey, "-m", "lenet.py:radar")
    assert document(cli("rf", *words, "--verify", "--json"))["input_shape"] == [1, 4, 28, 28]
    words = (*words, "-l", "conv1", "--steps", 2, "--mean", "0.1,0.2,0.3,0.4", "--json")
    assert document(cli("maximize", *words))["preprocess"]["mean"] == [0.1, 0.2, 0.3, 0.4]


def test_a_mean_for_other_channels_is_wrong_usage(cli, grey):
    run = cli("maps", "a.jpg", *grey, "--mean", "0.1,0.2,0.3")
    assert run.code == 2
    assert "mean 0.1,0.2,0.3 has 3 values, and the network reads one channel" in run.error


def test_a_run_does_not_go_on_with_another_preprocessing(cli, tiny):
    assert cli("maps", "a.jpg", *tiny, "-l", "conv1").code == 0
    for words, said in (
        (("--std", "0.5"), "std was 0.229, 0.224, 0.225 and is now 0.5, 0.5, 0.5"),
        (("--grey",), "grey was False and is now True"),
    ):
        run = cli("maps", "a.jpg", *tiny, "-l", "conv1", "--resume", *words)
        assert run.code == 2
        assert said in run.error

"""Pretrained weights: downloaded, found in the cache, or an error that shows ways on."""

import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from on_disk import Bomb
from torchvision import models as zoo

from cnnviz.errors import WeightsError
from cnnviz.networks.models import load_model

NAME, WEIGHTS = "squeezenet1_1", zoo.SqueezeNet1_1_Weights.IMAGENET1K_V1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of checkpoints in a cache of our own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def trained() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return zoo.squeezenet1_1().state_dict()


@pytest.fixture
def served(tmp_path: Path, trained: dict[str, torch.Tensor]) -> Path:
    """Return a file that is named as torchvision names its own, by its hash."""
    torch.save(trained, tmp_path / "x.pth")
    digest = hashlib.sha256((tmp_path / "x.pth").read_bytes()).hexdigest()
    (tmp_path / "server").mkdir()
    return (tmp_path / "x.pth").rename(tmp_path / "server" / f"squeezenet1_1-{digest[:8]}.pth")


def at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Have torchvision look for the weights at another place."""
    monkeypatch.setattr(WEIGHTS.value, "url", url)


@pytest.fixture
def server(served: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(served.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def load(weights: str = "default") -> dict[str, torch.Tensor]:
    return load_model(NAME, weights, device="cpu").module.state_dict()


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_weights_are_downloaded_into_the_cache_and_used(
    monkeypatch: pytest.MonkeyPatch, cache: Path, server: str, served: Path,
    trained: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    at(monkeypatch, f"{server}/{served.name}")
    assert same(load(), trained)
    assert (cache / served.name).read_bytes() == served.read_bytes()
    assert load_model(NAME, "IMAGENET1K_V1", device="cpu").weights == "IMAGENET1K_V1"


def test_default_says_which_weights_it_is(
    monkeypatch: pytest.MonkeyPatch, served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at(monkeypatch, served.as_uri())
    model = load_model(NAME, device="cpu")
    assert model.weights == "IMAGENET1K_V1"
    assert model.classes == tuple(WEIGHTS.meta["categories"])
    assert capsys.readouterr().out == ""


def test_a_cache_that_was_prepared_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, cache: Path, served: Path, trained: dict[str, torch.Tensor]
) -> None:
    at(monkeypatch, f"http://127.0.0.1:9/{served.name}")
    cache.mkdir(parents=True)
    (cache / served.name).write_bytes(served.read_bytes())
    assert same(load(), trained)


def test_a_download_that_cannot_happen_shows_every_way_on(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    at(monkeypatch, "http://127.0.0.1:9/squeezenet1_1-12345678.pth")
    with pytest.raises(WeightsError) as caught:
        load()
    said = str(caught.value)
    assert said.startswith(
        "cannot download http://127.0.0.1:9/squeezenet1_1-12345678.pth: [Errno 111]"
    )
    for way in (str(cache / "squeezenet1_1-12345678.pth"), "TORCH_HOME", "-w PATH", "-w none"):
        assert way in said
    assert said.endswith("-m demo")


def test_a_file_that_the_server_lacks_is_the_same_error(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    at(monkeypatch, f"{server}/nowhere-12345678.pth")
    with pytest.raises(WeightsError, match=r"cannot download .*: (File not found|Not Found)"):
        load()


def test_a_download_with_the_wrong_hash_is_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, cache: Path, server: str, served: Path
) -> None:
    served.rename(served.with_name("squeezenet1_1-00000000.pth"))
    at(monkeypatch, f"{server}/squeezenet1_1-00000000.pth")
    with pytest.raises(WeightsError, match=r"invalid hash value.*download it again"):
        load()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("trusting", ["0", "1"])
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_the_cache_is_refused_and_does_not_run(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path, legacy: bool,
    trusting: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", trusting)
    at(monkeypatch, "http://127.0.0.1:9/squeezenet1_1-12345678.pth")
    cache.mkdir(parents=True)
    file = cache / "squeezenet1_1-12345678.pth"
    content = {"evil": Bomb(tmp_path / "made")}
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"is damaged or not the file of .*: Weights only load"):
        load()
    assert not (tmp_path / "made").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == trusting


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"PK\x03\x04"])
def test_a_damaged_file_in_the_cache_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, cache: Path, content: bytes
) -> None:
    at(monkeypatch, "http://127.0.0.1:9/squeezenet1_1-12345678.pth")
    cache.mkdir(parents=True)
    (cache / "squeezenet1_1-12345678.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"squeezenet1_1-12345678\.pth is damaged.*delete it"):
        load()


def test_random_weights_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, "http://127.0.0.1:9/squeezenet1_1-12345678.pth")
    assert load("none")


def test_weights_of_another_network_than_arguments_make_are_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch, cache: Path, served: Path
) -> None:
    at(monkeypatch, f"http://127.0.0.1:9/{served.name}")
    cache.mkdir(parents=True)
    (cache / served.name).write_bytes(served.read_bytes())
    with pytest.raises(WeightsError, match=r"does not fit a network made with num_classes=7: The"):
        load_model(NAME, device="cpu", model_args={"num_classes": 7})
    module = load_model(NAME, device="cpu", model_args={"dropout": 0.25}).module
    assert module.classifier[0].p == 0.25


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_of_a_quantized_network_is_named_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "quantized_shufflenet_v2_x0_5"
    weights = zoo.get_model_weights(name).DEFAULT
    file = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"<html>Not found</html>")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"is damaged or not the file of .*delete it"):
        load_model(name, device="cpu")

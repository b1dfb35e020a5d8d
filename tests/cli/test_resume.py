"""Going on with a run: what is finished stays, what changed is named, one run at a time."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from on_disk import tree

FAILED, WRONG_USAGE = 1, 2


def files():
    return {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.png")}


@pytest.fixture
def words(tiny, photo):
    """A command line over five photos, the fourth of them broken, in batches of two."""
    for i in range(5):
        photo(Path("photos", f"{i}.jpg"), seed=i)
    Path("photos/3.jpg").write_text("no picture")
    return ("maps", "photos", *tiny, "-l", "conv1,relu", "-o", "out", "--batch-size", "2")


@pytest.fixture
def begun(cli, words):
    """The same, after a run that stopped at the broken photo."""
    run = cli(*words, "--max-failures", "1")
    assert run.code == FAILED
    assert "stopped after 1 failed photos (--max-failures): photos/3.jpg is not" in run.error
    assert not Path("out/manifest.json").exists()
    assert "4.jpg" not in journal()
    return words


def journal():
    lines = Path("out/manifest.jsonl").read_text("utf-8").splitlines()
    return {line["key"]: line for line in map(json.loads, lines[1:])}


class TestResume:
    def test_it_finishes_what_was_begun_and_does_nothing_twice(self, cli, begun, photo):
        before = files()
        photo(Path("photos/3.jpg"), seed=3)
        assert cli(*begun, "--resume").code == 0
        resumed = Path("out/manifest.json").read_bytes()
        # The last photo may have been drawn already, and not yet told to be.
        kept = {path: when for path, when in before.items() if "4.jpg" not in path.parts}
        assert kept.items() <= files().items()
        assert cli(*begun).code == 0
        assert Path("out/manifest.json").read_bytes() == resumed
        document = json.loads(resumed)
        assert [image["path"] for image in document["images"]] == [
            f"photos/{i}.jpg" for i in range(5)
        ]
        assert document["failed"] == 0

    def test_gradients_and_shares_at_bounds_are_taken_up_again(self, cli, words, photo):
        words = (*words, "--gradients")
        assert cli(*words, "--max-failures", "1").code == FAILED
        photo(Path("photos/3.jpg"), seed=3)
        assert cli(*words, "--resume").code == 0
        resumed = Path("out/manifest.json").read_bytes()
        assert cli(*words).code == 0
        assert Path("out/manifest.json").read_bytes() == resumed
        layer = json.loads(resumed)["layers"][0]
        assert layer["gradient"]["norm"] > 0

    def test_what_excites_channels_is_taken_up_again(self, cli, words, photo):
        words = (*words, "--top-images", "2")
        assert cli(*words, "--max-failures", "1").code == FAILED
        ranked = [set(line) & {"peaks"} for line in journal().values() if line["error"] is None]
        assert ranked == [{"peaks"}] * 3
        photo(Path("photos/3.jpg"), seed=3)
        assert cli(*words, "--resume").code == 0
        resumed = tree("out")
        assert any(name.startswith("top/conv1/") for name in resumed)
        assert cli(*words).code == 0
        assert tree("out") == resumed
        photo(Path("photos/2a.jpg"), seed=7)  # others have another number from now on
        assert cli(*words, "--resume").code == 0
        resumed = tree("out")
        assert cli(*words).code == 0
        assert tree("out") == resumed

    def test_a_photo_whose_pictures_were_lost_is_ranked_once(self, cli, words):
        words = (*words, "--top-images", "5")
        cli(*words)
        before = tree("out")
        Path("out/1.jpg/relu.png").unlink()
        assert cli(*words, "--resume").code == FAILED
        assert tree("out") == before

    def test_a_finished_run_is_told_again_and_takes_more_photos(self, cli, words, photo):
        photo(Path("photos/3.jpg"), seed=3)
        assert cli(*words).code == 0
        before, manifest = files(), Path("out/manifest.json").read_bytes()
        run = cli(*words, "--resume")
        assert run.code == 0
        assert "relu" in run.stdout
        assert (files(), Path("out/manifest.json").read_bytes()) == (before, manifest)
        photo(Path("photos/more.jpg"), seed=9)
        assert cli(*words, "--resume").code == 0
        assert before.items() < files().items()
        values = json.loads(manifest)["layers"][0]["stats"]["max"]
        after = json.loads(Path("out/manifest.json").read_text("utf-8"))
        assert after["layers"][0]["stats"]["max"] >= values
        assert len(after["images"]) == 6

    def test_pictures_that_were_lost_are_made_again_and_counted_once(self, cli, words):
        cli(*words)
        manifest = Path("out/manifest.json").read_bytes()
        Path("out/1.jpg/relu.png").unlink()
        Path("out/2.jpg/conv1.png").write_bytes(b"")
        assert cli(*words, "--resume").code == FAILED
        assert Path("out/1.jpg/relu.png").stat().st_size
        assert Path("out/2.jpg/conv1.png").stat().st_size
        assert Path("out/manifest.json").read_bytes() == manifest

    def test_a_line_that_is_cut_is_made_again_and_its_photo_counted_once(self, cli, words):
        words = (*words, "--top-images", "5")
        cli(*words)
        before, lines = tree("out"), Path("out/manifest.jsonl")
        lines.write_bytes(lines.read_bytes()[:-20])
        assert cli(*words, "--resume").code == FAILED
        assert tree("out") == before

    def test_without_it_a_run_starts_again(self, cli, begun):
        before = files()
        cli(*begun)
        assert all(when > before[path] for path, when in files().items() if path in before)

    def test_where_nothing_was_begun_it_starts(self, cli, words):
        assert cli(*words, "--resume").code == FAILED
        assert json.loads(Path("out/manifest.json").read_text("utf-8"))["failed"] == 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("--cmap", "plasma"), "cmap was viridis and is now plasma"),
            (("-l", "type:Linear,conv1"), "layers was conv1, relu, relu#2 and is now conv1, "),
            (("--channels", "0,2-3"), "channels of conv1 was 0-3 and is now 0,2-3"),
            (("--channels", "top:2"), "channels of conv1 was 0-3 and is now top:2"),
            (("--reduce", "max"), "channels of relu was 0-3 and is now max of 0-3"),
            (("--normalize", "layer"), "normalize was channel and is now layer"),
            (("--save-activations",), "save-activations was False and is now True"),
            (("--input-size", "48"), "input-size was 32, 32 and is now 48, 48"),
            (("-m", "net.py:twin"), "model was net.py:tiny and is now net.py:twin"),
        ],
    )  # fmt: skip
    def test_a_setting_that_changed_is_named(self, cli, begun, options, said):
        before, lines = files(), Path("out/manifest.jsonl").read_bytes()
        run = cli(*begun, *options, "--resume")
        assert run.code == WRONG_USAGE
        assert "cannot go on with the run in out: " in run.error
        assert said in run.error
        assert (files(), Path("out/manifest.jsonl").read_bytes()) == (before, lines)

    def test_weights_that_changed_in_their_file_are_named(self, cli, begun):
        code = Path("net.py").read_text().replace("manual_seed(1)", "manual_seed(2)")
        Path("net.py").write_text(code)
        run = cli(*begun, "--resume")
        assert run.code == WRONG_USAGE
        assert "content of the weights was " in run.error

    def test_photos_that_are_gone_are_an_error(self, cli, begun):
        Path("photos/1.jpg").unlink()
        run = cli(*begun, "--resume")
        assert run.code == WRONG_USAGE
        assert "1 of its photos are no longer among the inputs (1.jpg)" in run.error

    def test_a_run_on_a_disk_that_was_full_goes_on_when_there_is_room(
        self, cli, begun, photo, monkeypatch
    ):
        photo(Path("photos/3.jpg"), seed=3)
        assert cli(*begun).code == 0
        expected = tree("out")
        replace, room = os.replace, iter(range(8))

        def fill_up(source, target):
            if next(room, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(source, target)

        with monkeypatch.context() as disk:
            disk.setattr(os, "replace", fill_up)
            assert cli(*begun).code == FAILED
        assert not Path("out/manifest.json").exists()
        assert cli(*begun, "--resume").code == 0
        assert tree("out") == expected

    @pytest.mark.slow
    def test_a_disk_that_is_really_full_ends_the_run_with_the_reason(self, cli, words, photo):
        if not shutil.which("unshare"):
            pytest.skip("needs Linux")
        photo(Path("photos/3.jpg"), seed=3)
        assert cli(*words).code == 0
        expected = tree("out")
        shutil.rmtree("out")
        Path("out").mkdir()
        run = shlex.join([sys.executable, "-m", "cnnviz", *words, "--device", "cpu"])
        script = f"""
            mount -t tmpfs -o size=100k tmpfs out || exit 99
            {run} --workers 1 >/dev/null
            echo $? > first; ls out > left
            mount -o remount,size=100m out
            {run} --resume >/dev/null || exit
            cp -a out kept
        """
        # A user may mount in a space of his own, where the system permits that.
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True
        )
        if done.returncode == 99 or "unshare" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        assert Path("first").read_text() == "1\n"
        assert os.strerror(errno.ENOSPC) in done.stderr.splitlines()[0]
        assert "manifest.json\n" not in Path("left").read_text()
        Path("out").rmdir()
        Path("kept").rename("out")
        assert tree("out") == expected

    def test_what_a_killed_process_left_half_written_goes(self, cli, begun):
        for folder in ("out", "out/4.jpg"):
            Path(folder).mkdir(exist_ok=True)
            Path(folder, ".123-456.tmp").write_bytes(b"half")
        cli(*begun, "--resume")
        assert list(Path("out").rglob("*.tmp")) == []


class TestOneRunAtATime:
    @pytest.fixture
    def other(self, words):
        """A run of another process into the same folder, stopped in its middle."""
        pytest.importorskip("fcntl", reason="needs Unix")
        original = Path("photos/0.jpg")
        for i in range(10, 3000):
            os.link(original, f"photos/{i}.jpg")
        command = [
            sys.executable,
            "-c",
            # Where tests run in the background, children ignore Ctrl-C unless told otherwise.
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from cnnviz.cli import app; app(prog_name='cnnviz')",
            *words,
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            give_up = time.monotonic() + 60
            while not Path("out/1.jpg/relu.png").exists() and time.monotonic() < give_up:
                assert child.poll() is None
                time.sleep(0.01)
            yield child
            child.kill()

    def test_the_second_is_refused_and_ctrl_c_lets_go_within_two_seconds(self, cli, words, other):
        for options in ((), ("--resume",)):
            run = cli(*words, *options)
            assert run.code == FAILED
            assert "another run writes into out; wait for it, or choose another" in run.error
        assert other.poll() is None
        other.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, talk = other.communicate(timeout=60)
        assert time.monotonic() - start < 2
        assert (other.returncode, talk.splitlines()[-1]) == (130, "interrupted")
        assert {path.name for path in Path("out").glob(".*")} == set()
        assert not Path("out/manifest.json").exists()
        done = journal()
        assert done
        for line in done.values():
            assert all(Path(path).is_file() for path in line["outputs"])
        for path in Path("photos").glob("??*.jpg"):
            path.unlink()
        for key in done:
            if not Path("photos", key).exists():
                os.link("photos/0.jpg", Path("photos", key))
        assert cli(*words, "--resume").code == FAILED
        assert done.keys() <= journal().keys()

    def test_a_kill_lets_go_at_once(self, cli, words, other):
        other.kill()
        other.wait()
        for path in Path("photos").glob("???*.jpg"):
            path.unlink() if len(path.stem) > 2 else None
        assert cli(*words).code == FAILED
        assert not Path("out/.cnnviz.lock").exists()


class TestFailures:
    @pytest.mark.parametrize("number", ["0", "-1", "x"])
    def test_a_number_that_makes_no_sense(self, cli, words, number):
        run = cli(*words, "--max-failures", number)
        assert run.code == WRONG_USAGE
        assert "'--max-failures'" in run.error

    def test_as_many_may_fail_as_are_less(self, cli, words):
        Path("photos/1.jpg").write_text("no picture")
        assert Path("out").exists() is False
        assert cli(*words, "--max-failures", "3").code == FAILED
        assert Path("out/manifest.json").exists()
        run = cli(*words, "--max-failures", "2")
        assert "photos/1.jpg is not" in run.error
        assert "photos/3.jpg is not" in run.error

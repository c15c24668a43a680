"""Claims about what a run prints, on a terminal and into a pipe."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import types

import pytest

from tests.recipes.running import (
    RECIPES,
    ROOT,
    SMALL,
    own_process_environment,
    run,
)

# As on MiniVox: a row of the table in each epoch, and epochs with SSPS.
NUM_EPOCHS = 4
ROW = re.compile(r"^ +\d+/4 +\d+\.\d{3} ")


def command(output, corpus, **options):
    given = {
        **SMALL,
        "num_epochs": NUM_EPOCHS,
        "overlay": "hparams/minivox.yaml",
        "data_folder": corpus,
        "output_folder": output,
        **options,
    }
    argv = [str(RECIPES / "train_ssl.py"), "hparams/simclr_ssps.yaml"]
    return [sys.executable, *argv, *(f"--{k}={v}" for k, v in given.items())]


def environment():
    return {**own_process_environment(), "FORCE_COLOR": "1", "TERM": "xterm"}


def run_piped(output, corpus, **options):
    return subprocess.run(
        command(output, corpus, **options),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def run_on_terminal(output, corpus, *flags):
    """Run as under `script`: standard output and error are a terminal."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    with subprocess.Popen(
        [*command(output, corpus), *flags],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=side,
        stderr=side,
    ) as process:
        os.close(side)
        text = b""
        while True:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            text += chunk
    os.close(terminal)
    assert process.returncode == 0, text.decode()
    return text.decode()


@pytest.fixture(scope="module")
def piped(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("screen") / "out"
    return output, run_piped(output, corpus)


def test_a_pipe_gets_plain_lines(piped):
    output, done = piped
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    files = [output / name for name in ("log.txt", "train_log.txt")]
    for text in (done.stdout, *(path.read_text() for path in files)):
        assert "\x1b" not in text and "\r" not in text


def test_a_run_prints_a_line_an_epoch_and_no_noise(piped):
    _, done = piped
    rows = [line for line in done.stdout.splitlines() if ROW.match(line)]
    assert [row.split()[0] for row in rows] == [
        f"{epoch}/{NUM_EPOCHS}" for epoch in range(1, NUM_EPOCHS + 1)
    ]
    assert max(map(len, rows)) < 80
    for noise in ("torchvision", "no use for", "quirk", "Gradscaler", "train "):
        assert noise not in done.stdout, noise


def test_the_log_file_is_not_filled_by_fonts(piped):
    output, _ = piped
    text = (output / "log.txt").read_text()
    assert " - DEBUG - " in text  # of others
    assert " - matplotlib" not in text


def test_what_is_of_verification_is_called_so(piped):
    output, done = piped
    assert "verification" in done.stdout
    last = (output / "train_log.txt").read_text().splitlines()[-1]
    assert re.search(r"epoch: 4, verification EER: [\d.e+-]+,", last)
    assert "train eer" not in last


def test_the_end_says_where_things_are_and_what_comes_next(piped):
    output, done = piped
    end = done.stdout.splitlines()[-10:]
    text = "\n".join(end)
    for name in ("report", "export", "compare"):
        assert f"ssps {name} " in text
    assert str(output) in text
    assert "curves.png" in text


@pytest.mark.slow
def test_a_terminal_gets_colours_and_bars_and_the_same_lines(corpus, tmp_path):
    text = run_on_terminal(tmp_path / "out", corpus)
    assert "\x1b[1m" in text  # the heading
    assert "epoch 1: " in text and "Reading headers" in text
    plain = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text).replace("\r", "\n")
    rows = [line for line in plain.split("\n") if ROW.match(line)]
    assert len(rows) == NUM_EPOCHS
    assert "torchvision" not in text
    for name in ("log.txt", "train_log.txt"):
        written = (tmp_path / "out" / name).read_text()
        assert "\x1b" not in written and "\r" not in written


@pytest.mark.slow
def test_a_terminal_gets_no_bar_where_it_is_not_wanted(corpus, tmp_path):
    text = run_on_terminal(tmp_path / "out", corpus, "--noprogressbar")
    assert "epoch 1: " not in text and "Embedding" not in text
    assert "verification" in text


class FakeWandb(types.ModuleType):
    """The module of Weights & Biases: keeps what it is given."""

    def __init__(self):
        super().__init__("wandb")
        self.options, self.steps, self.metrics = [], [], []

    def init(self, **options):
        self.options.append(options)
        return self

    def log(self, metrics, step=None):
        self.steps.append(step)
        self.metrics.append(metrics)


def test_weights_and_biases_by_key(corpus, tmp_path, monkeypatch):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for num_epochs in (1, 2):  # the second goes on with the first
        run(
            "simclr.yaml",
            tmp_path / "out",
            data_folder=corpus,
            num_epochs=num_epochs,
            use_wandb=True,
        )
    assert wandb.steps == [1, 2]
    assert all("verification EER" in metrics for metrics in wandb.metrics)
    assert {options["id"] for options in wandb.options} == {
        (tmp_path / "out" / "wandb_id.txt").read_text().strip()
    }
    assert wandb.options[0]["config"]["lr"] == 0.001


def test_a_missing_wandb_is_named_before_a_folder_is_made(
    corpus, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RuntimeError, match="Expected the package wandb"):
        run("simclr.yaml", tmp_path / "out", data_folder=corpus, use_wandb=True)
    assert not (tmp_path / "out").exists()


def test_a_logger_of_ones_own_may_stand_in_the_yaml(corpus, tmp_path):
    overlay = tmp_path / "own.yaml"
    overlay.write_text(
        "use_wandb: !new:speechbrain.utils.train_logger.WandBLogger\n"
        "    initializer: !name:tests.recipes.test_screen.FakeWandb\n"
    )
    output = tmp_path / "out"
    options = {"overlay": overlay, "num_epochs": 1, "num_workers": 0}
    run("simclr.yaml", output, data_folder=corpus, **options)
    assert (output / "results.json").is_file()


@pytest.mark.slow
def test_of_two_ranks_the_main_process_alone_prints(corpus, tmp_path):
    argv = command(tmp_path / "out", corpus, num_epochs=NUM_EPOCHS)
    gloo = ["--device=cpu", "--distributed_backend=gloo"]
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [argv[0], *launcher, "--nproc_per_node=2", *argv[1:], *gloo],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len([line for line in lines if ROW.match(line)]) == NUM_EPOCHS
    for once in ("Training SimCLR", "Wrote the manifest", "trials of", "Next:"):
        assert done.stdout.count(once) == 1, once
    for noise in ("torchvision", "Reading headers", "%|"):
        assert noise not in done.stdout + done.stderr, noise

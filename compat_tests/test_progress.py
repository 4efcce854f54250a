"""What a run says on a terminal and in a pipe, and how it is told to stop."""

import io
import os
import signal
import sys

import pytest

from tf2gan.common.interrupt import StopRequest
from tf2gan.common.progress import Progress


class Terminal(io.StringIO):
    """A file that claims to be a terminal."""

    def isatty(self):
        return True


def _tell(monkeypatch, file, steps=4):
    monkeypatch.setattr(sys, "stdout", file)
    progress = Progress(0, steps, steps_per_epoch=2)
    for step in range(1, steps + 1):
        progress.update(step, 0.25, 1.5)
    progress.message("done")
    progress.close()
    return file


def test_a_terminal_gets_a_bar_with_losses_rate_and_time_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = _tell(monkeypatch, Terminal(), steps=300).getvalue()
    assert "\r" in shown
    last = shown.split("\r")[-1]
    assert "300/300" in last
    for part in ("epoch 150", "it/s", "D 0.2500, G 1.5000", "<"):
        assert part in last


def test_a_pipe_gets_a_plain_line_per_epoch(monkeypatch):
    lines = _tell(monkeypatch, io.StringIO()).getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "epoch 1/2, iteration 2/4, loss_D 0.2500, loss_G 1.5"
    )
    assert lines[0].endswith(" left")
    assert lines[2] == "done"


def test_a_reader_that_has_gone_does_not_stop_the_run(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    _tell(monkeypatch, os.fdopen(writing, "w", buffering=1))


def test_the_first_signal_is_noted_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
    assert signal.getsignal(signal.SIGTERM) is before

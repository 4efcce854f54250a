"""Tells how a run is getting on: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time

from tqdm import tqdm


class Progress:
    """Shows iterations, losses, iterations per second and time left."""

    def __init__(self, first: int, total: int, steps_per_epoch: int) -> None:
        """Starts at iteration `first` of `total`."""
        self._first, self._total = first, total
        self._steps_per_epoch = steps_per_epoch
        self._started = time.monotonic()
        self._bar = None
        if sys.stdout.isatty():
            self._bar = tqdm(
                total=total,
                initial=first,
                unit="it",
                file=sys.stdout,
                smoothing=0.05,
            )

    def update(self, step: int, loss_d: float, loss_g: float) -> None:
        """Tells of iteration `step`, counted from 1."""
        epoch = -(-step // self._steps_per_epoch)
        if self._bar is not None:
            self._bar.set_description("epoch {}".format(epoch), refresh=False)
            self._bar.set_postfix_str(
                "D {:.4f}, G {:.4f}".format(loss_d, loss_g), refresh=False
            )
            self._bar.update(1)
        elif step % self._steps_per_epoch == 0 or step == self._total:
            self._print_line(step, epoch, loss_d, loss_g)

    def message(self, text: str) -> None:
        """Prints a line without tearing the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            _print(text)

    def close(self) -> None:
        """Leaves the terminal on a new line."""
        if self._bar is not None:
            self._bar.close()

    def _print_line(self, step, epoch, loss_d, loss_g):
        rate = (step - self._first) / (time.monotonic() - self._started)
        _print(
            "epoch {}/{}, iteration {}/{}, loss_D {:.4f}, loss_G {:.4f}, "
            "{:.2f} it/s, {} left".format(
                epoch,
                -(-self._total // self._steps_per_epoch),
                step,
                self._total,
                loss_d,
                loss_g,
                rate,
                tqdm.format_interval((self._total - step) / rate),
            )
        )


def _print(text):
    """Prints a line; a reader that has gone, as `| head` does, stops no run."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")

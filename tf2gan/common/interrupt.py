"""Turns Ctrl-C and SIGTERM into a request to stop after the iteration."""

import signal
from typing import Optional

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The run was asked to stop, and has saved what it had.

    Attributes:
      signal_number: of the signal; a shell expects exit status 128 plus that.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class StopRequest:
    """While entered, notes the first signal; a second one interrupts at once."""

    def __init__(self) -> None:
        self.signal_number: Optional[int] = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number

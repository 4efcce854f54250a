"""What every script does around its one call: flags, quiet start, plain errors."""

import contextlib
import inspect
import os
import sys
import traceback
from typing import Callable, Iterator, List, Optional, Sequence

from absl import app, flags, logging

from tf2gan.common.errors import UserError
from tf2gan.common.interrupt import Interrupted

FLAGS = flags.FLAGS
STATUS_ERROR = 1
STATUS_USAGE = 2
STATUS_SIGNAL = 128

flags.DEFINE_bool(
    "debug", False, "Show tracebacks, and what TensorFlow says as it starts."
)


def run(main: Callable[..., Optional[int]]) -> None:
    """Parses the flags, calls `main` and exits with its status, or 0 for None.

    `main` takes as many arguments that are no flags as its signature says. An error
    that the user can mend is one line on stderr and status 1, or its attribute
    `status`; a flag that cannot be parsed, or an `absl.flags.Error` from `main`, is
    status 2, a run ended by a signal 128 plus its number.
    """
    app.run(
        lambda arguments: sys.exit(_status(main, arguments[1:])),
        flags_parser=lambda arguments: _parse_flags(main, arguments),
    )


def _parse_flags(main, arguments: List[str]) -> List[str]:
    try:
        rest = FLAGS(arguments)
        check_arguments(main, rest[1:])
        return rest
    except flags.Error as error:
        _print_usage(error)
        sys.exit(STATUS_USAGE)


def check_arguments(function: Callable, arguments: Sequence[str]) -> None:
    """Raises `absl.flags.Error` unless there are as many as a function takes."""
    wanted = list(inspect.signature(function).parameters.values())
    takes_more = any(p.kind is p.VAR_POSITIONAL for p in wanted)
    wanted = [p for p in wanted if p.kind is not p.VAR_POSITIONAL]
    needed = [p.name for p in wanted if p.default is p.empty]
    if len(arguments) > len(wanted) and not takes_more:
        raise flags.Error(
            "unexpected argument '{}'".format(arguments[len(wanted)])
        )
    if len(arguments) < len(needed):
        raise flags.Error(
            "the argument {} is missing".format(needed[len(arguments)].upper())
        )


def check_output(name: str, path: str) -> None:
    """Raises `UserError` unless the file of the flag `name` can be written.

    One that exists can if the script's flag --overwrite is given.
    """
    folder = os.path.dirname(path) or "."
    if not path or os.path.isdir(path) or not os.path.isdir(folder):
        raise UserError(
            "--{}='{}': expected a file in an existing folder".format(
                name, path
            )
        )
    if not os.access(folder, os.W_OK):
        raise UserError(
            "--{}='{}': cannot write in '{}'".format(name, path, folder)
        )
    if os.path.exists(path) and not FLAGS.overwrite:
        raise UserError(
            "--{}='{}' exists; name another file or give --overwrite".format(
                name, path
            )
        )


def require_keras_on_tensorflow() -> None:
    """Raises `UserError` where Keras is told to use another backend."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UserError(
            "KERAS_BACKEND={}: tf2gan needs Keras on TensorFlow; set "
            "KERAS_BACKEND=tensorflow".format(backend)
        )


def _status(main, arguments):
    try:
        with _quiet_tensorflow():
            _start_tensorflow()
        return main(*arguments) or 0
    except Interrupted as interruption:
        print(interruption, flush=True)
        return STATUS_SIGNAL + interruption.signal_number
    except KeyboardInterrupt:
        _print_error("interrupted; what was saved before is kept")
        return STATUS_SIGNAL + 2
    except flags.Error as error:
        _print_usage(error)
        return STATUS_USAGE
    except (UserError, OSError) as error:
        if FLAGS.debug:
            traceback.print_exc()
        _print_error(error)
        return getattr(error, "status", STATUS_ERROR)


def _print_usage(error):
    _print_error("{} (--help lists the flags)".format(error))


def _print_error(message):
    print(
        "error: " + " ".join(str(message).split()), file=sys.stderr, flush=True
    )


def _start_tensorflow():
    """Imports TensorFlow and wakes its devices, for all that they print."""
    import tensorflow.compat.v1 as tf

    if not FLAGS.debug:
        tf.logging.set_verbosity(tf.logging.ERROR)
        logging.set_verbosity(logging.ERROR)
    if hasattr(
        tf.config, "list_physical_devices"
    ):  # TensorFlow 1.15 does it later
        tf.config.list_physical_devices()


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Hides what TensorFlow prints while it starts, unless it is asked for.

    Its C++ side writes some of it straight to the file descriptor, before any
    setting can reach it. TF_CPP_MIN_LOG_LEVEL or --debug bring it back.
    """
    if FLAGS.debug or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

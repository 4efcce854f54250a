"""Where the time of an iteration goes, by kind of TensorFlow's kernels."""

import collections
import glob
import os
import tempfile
from typing import Callable, Dict

import tensorflow as tf

from tf2gan.common.errors import UserError

HOST = "/host:CPU"
PICOSECONDS_PER_MILLISECOND = 1e9


def profile(iterate: Callable[[], None], iterations: int) -> Dict[str, float]:
    """Returns the milliseconds per iteration of each kind of kernel on the CPU.

    Kernels that run at the same time each count whole, so that the sum may exceed
    the time that passes; profiling takes some time too.

    Raises:
      UserError: if this TensorFlow does not say what its profiles mean.
    """
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(iterations):
                iterate()
        pattern = os.path.join(glob.escape(folder), "**", "*.xplane.pb")
        (path,) = glob.glob(pattern, recursive=True)
        space = _read(path)
    found = collections.Counter()
    for plane in space.planes:
        if plane.name == HOST:
            found.update(_kernels(plane))
    scale = PICOSECONDS_PER_MILLISECOND * iterations
    return {kind: time / scale for kind, time in found.most_common()}


def _read(path):
    try:
        from tensorflow.tsl.profiler.protobuf import xplane_pb2
    except ImportError as error:
        raise UserError(
            f"TensorFlow {tf.__version__} has no description of its profiles; leave "
            "profile out of --parts"
        ) from error
    space = xplane_pb2.XSpace()
    with open(path, "rb") as file:
        space.ParseFromString(file.read())
    return space


def _kernels(plane):
    """Returns by kind the picoseconds of the events called name:kind."""
    found = collections.Counter()
    for line in plane.lines:
        for event in line.events:
            name = plane.event_metadata[event.metadata_id].name
            _, colon, kind = name.partition(":")
            # The executor's own events are called Class::Method.
            if colon and kind.isidentifier():
                found[kind] += event.duration_ps
    return found

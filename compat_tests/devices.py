"""Puts trainers of both sides on a device, though their code names none."""

import contextlib
import functools
from unittest import mock

import tensorflow as tf
from tensorflow.python.eager import context

from tf1gan import training as training1
from tf2gan import training as training2

TRAINERS = {"tf1": training1.Trainer, "tf2": training2.Trainer}


@contextlib.contextmanager
def use(device):
    """Keeps to "CPU" or "GPU" what both sides make and run inside.

    Eager code follows `tf.device`. A session places operations on a GPU by itself,
    unless it is told that there is none.
    """
    config = context.context().config  # what else was set for this process
    if device != "GPU":
        config.device_count["GPU"] = 0
    session = functools.partial(tf.compat.v1.Session, config=config)
    with mock.patch.object(tf.compat.v1, "Session", session), tf.device(
        device + ":0"
    ):
        yield


class OnDevice:
    """A new trainer whose methods run on its device."""

    def __init__(self, device, side, *arguments):
        self.device = device
        with use(device):
            self._trainer = TRAINERS[side](*arguments)

    def __getattr__(self, name):
        value = getattr(self._trainer, name)
        if not callable(value):
            return value

        @functools.wraps(value)
        def on_device(*arguments):
            with use(self.device):
                return value(*arguments)

        return on_device


def tf1_placements(trainer, batch):
    """Trains once; returns [(node name, operation, device)] of what the session ran."""
    v1, record = tf.compat.v1, tf.compat.v1.RunMetadata()
    trainer.session.run(
        [trainer._train_d, trainer._train_g],
        trainer._feed(*batch, True),
        options=v1.RunOptions(output_partition_graphs=True),
        run_metadata=record,
    )
    return [
        (node.name, node.op, kind_of(node.device))
        for graph in record.partition_graphs
        for node in graph.node
    ]


def kind_of(device):
    """Returns "CPU" or "GPU" of a device's full name."""
    return tf.DeviceSpec.from_string(device).device_type

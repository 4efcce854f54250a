"""Compares `tf1gan.layers` with the official `tf.layers`, case by case.

    python3.7 compat_tests/compare_layers.py
    TF_USE_LEGACY_KERAS=1 python3 compat_tests/compare_layers.py

prints as JSON what differs in each case of `layer_cases.py`, and in those that a fault
of `layer_faults.py` was put into. With --v1 TensorFlow 2 behaves like 1 throughout, as
legacy scripts have it; else only the graph is of that kind.
"""

import argparse
import json
import os
import re
import zlib
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402
from layer_cases import BATCH_SIZE, CASES, ERRORS  # noqa: E402
from layer_faults import FAULTS  # noqa: E402
from tensorflow.python.framework import random_seed  # noqa: E402

from tf1gan import layers  # noqa: E402

COLLECTIONS = (
    tf.GraphKeys.GLOBAL_VARIABLES,
    tf.GraphKeys.LOCAL_VARIABLES,
    tf.GraphKeys.MODEL_VARIABLES,
    tf.GraphKeys.TRAINABLE_VARIABLES,
    tf.GraphKeys.REGULARIZATION_LOSSES,
    tf.GraphKeys.LOSSES,
)
ROUNDS = (1, 3)  # of all updates, after which averages are compared
# What TensorFlow 1.15 makes of a smaller epsilon by itself, and 2.x does not.
LEAST_FUSED_EPSILON = 1.001e-5


class Official:
    """`tf.layers`, with what 1.15 demands or does by itself written out."""

    def dense(self, *arguments, **options):
        return tf.layers.dense(*arguments, **_with_initializer(options))

    def conv2d(self, *arguments, **options):
        return tf.layers.conv2d(*arguments, **_with_initializer(options))

    def conv2d_transpose(self, *arguments, **options):
        options = _with_initializer(options)
        return tf.layers.conv2d_transpose(*arguments, **options)

    def flatten(self, *arguments, **options):
        return tf.layers.flatten(*arguments, **options)

    def batch_normalization(self, inputs, **options):
        if inputs.dtype == tf.float64:
            options["fused"] = False  # there is no such kernel
        elif inputs.shape.ndims == 4 and "epsilon" in options:
            options["epsilon"] = max(options["epsilon"], LEAST_FUSED_EPSILON)
        return tf.layers.batch_normalization(inputs, **options)


def _with_initializer(options):
    """Names the default where Keras draws the same numbers from another stream."""
    initializer = tf.get_variable_scope().initializer
    if initializer is None and tf.resource_variables_enabled():
        initializer = tf.glorot_uniform_initializer()
    return dict({"kernel_initializer": initializer}, **options)


class Recorder:
    """Builds a case and describes its graph; its values come from `values`."""

    def __init__(self, case, chosen_layers):
        """Builds the graph, in the default one."""
        self._case = case
        self._inputs = tf.placeholder(case.dtype, [None] + case.shape)
        self._flag = tf.placeholder(tf.bool, []) if case.fed else case.training
        self._output = case.build(chosen_layers, self._inputs, self._flag)
        self._variables = tf.global_variables()
        self._updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        self._output_gradient = tf.placeholder(self._output.dtype)
        targets = tf.trainable_variables() + [self._inputs]
        names = [v.op.name for v in tf.trainable_variables()] + ["input"]
        # Of the scalar sum(output * weights), whose weights are fed.
        gradients = tf.gradients(self._output, targets, self._output_gradient)
        self._gradients = dict(zip(names, gradients))
        self._initializer = tf.global_variables_initializer()
        self._session = tf.Session(config=_plain_config())

    def description(self):
        """Returns what can be said without numbers, by aspect."""
        return {
            "variables": [
                [v.op.name, v.shape.as_list(), v.dtype.base_dtype.name]
                for v in self._variables
            ],
            "collections": {
                key: [item.op.name for item in tf.get_collection(key)]
                for key in COLLECTIONS
            },
            "updates": [self._describe(update) for update in self._updates],
            "output": [
                tf.TensorShape(self._output.shape).as_list(),
                self._output.dtype.name,
            ],
            "gradients": sorted(
                name
                for name, gradient in self._gradients.items()
                if gradient is not None
            ),
        }

    def values(self, together):
        """Returns {aspect: {name: array}}.

        Args:
          together: whether updates run in one call. If not, in several, in the
            order in which they were made.
        """
        self._session.run(self._initializer)
        found = {"initial values": self._state()}
        self._start()
        feed = self._feed(self._case.training)
        gradients = {k: g for k, g in self._gradients.items() if g is not None}
        output = self._session.run(self._output, feed)
        feed[self._output_gradient] = _draw(
            "weights", output.shape, output.dtype
        )
        found["outputs"] = {"output": output}
        found["gradient values"] = self._session.run(gradients, feed)
        found["averages"] = self._averages(together)
        return found

    def _averages(self, together):
        feed = self._feed(self._case.training)
        runs = [self._updates] if together else self._updates
        found = {}
        self._start()
        for count in range(1, max(ROUNDS) + 1):
            for run in runs if self._updates else []:
                self._session.run(run, feed)
            if count in ROUNDS:
                for name, value in self._state().items():
                    found["{} after {}".format(name, count)] = value
        return found

    def _describe(self, update):
        """Returns the layer's name scope and which variables the update changes."""
        self._start()
        before = self._state()
        self._session.run(update, self._feed(True))
        after = self._state()
        written = [
            name
            for name in before
            if not np.array_equal(before[name], after[name])
        ]
        # What follows the layer is an operation, which each side names as it likes.
        layer = written[0].split("/")[-2] if written else ".*"
        scope = re.match(r"(.*/|){}(_\d+)?(?=/)".format(layer), update.name)
        return [scope.group(), written]

    def _start(self):
        """Gives each variable a value that follows from its name."""
        values = {
            variable.initializer.inputs[1]: _draw(
                variable.op.name,
                variable.shape.as_list(),
                variable.dtype.base_dtype.as_numpy_dtype,
            )
            for variable in self._variables
        }
        self._session.run(self._initializer, values)

    def _state(self):
        values = self._session.run(self._variables)
        return dict(zip([v.op.name for v in self._variables], values))

    def _feed(self, training):
        shape = [BATCH_SIZE] + self._case.shape
        feed = {self._inputs: _draw("input", shape, self._case.dtype)}
        if self._case.fed:
            feed[self._flag] = training
        return feed


def _plain_config():
    """Returns that of a session with one order of sums: a CPU, no rewriting."""
    config = tf.ConfigProto(
        device_count={"GPU": 0},
        intra_op_parallelism_threads=1,
        inter_op_parallelism_threads=1,
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _draw(name, shape, dtype):
    random = np.random.RandomState(zlib.crc32(name.encode()) % 2**31)
    values = random.normal(size=shape)
    if name.endswith("variance"):
        values = 0.1 + np.abs(values)
    return values.astype(dtype)


def record(case, chosen_layers, together):
    """Returns the description and the values of one case."""
    # Operations draw from seeds that depend on how many came before them.
    same_seeds = mock.patch.object(random_seed, "get_seed", return_value=(1, 2))
    with tf.Graph().as_default(), same_seeds:
        recorder = Recorder(case, chosen_layers)
        return recorder.description(), recorder.values(together)


def compare(expected, actual):
    """Returns what differs between two records.

    Returns:
      "descriptions": {aspect: [expected, actual]} of those that are not the same;
      "values": {aspect: largest difference}, relative to the largest of its tensor;
      "compared": {aspect: how many numbers}.
    If one cannot be built there is nothing but a description that says so.
    """
    (description1, values1), (description2, values2) = expected, actual
    return {
        "descriptions": {
            aspect: [description1[aspect], description2[aspect]]
            for aspect in description1
            if description1[aspect] != description2[aspect]
        },
        "values": {
            aspect: _largest(values1[aspect], values2[aspect])
            for aspect in values1
        },
        "compared": {
            aspect: sum(np.size(value) for value in values1[aspect].values())
            for aspect in values1
        },
    }


def _largest(expected, actual):
    if set(expected) != set(actual):
        return 1.0
    return max(
        [_difference(expected[name], actual[name]) for name in expected] + [0.0]
    )


def _difference(expected, actual):
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return 1.0
    error = np.max(np.abs(expected - actual))
    return float(error and error / (np.max(np.abs(expected)) or 1.0))


def compare_case(case):
    """Compares one case of the official layers and of ours, as `compare` does."""
    expected = record(case, Official(), together=False)
    try:
        actual = record(case, layers, together=True)
    except (TypeError, ValueError) as error:
        failure = {"graph": ["is built", str(error)]}
        return {"descriptions": failure, "values": {}, "compared": {}}
    return compare(expected, actual)


def error_of(build, chosen_layers):
    """Returns the type and the beginning of the message, or None."""
    with tf.Graph().as_default():
        try:
            build(chosen_layers)
        except (TypeError, ValueError) as error:
            return [type(error).__name__, str(error).split(",")[0]]
    return None


def compare_error(build):
    """Returns the errors of both sides."""
    return [error_of(build, Official()), error_of(build, layers)]


def _compare_with_faults():
    found = {}
    for name, fault in FAULTS.items():
        with fault.planted():
            if fault.case in ERRORS:
                build = ERRORS[fault.case]
                found[name] = compare_error(build)
            else:
                found[name] = compare_case(CASES[fault.case])
    return found


def main():
    """Reads the command line and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--v1", action="store_true")
    if parser.parse_args().v1:
        tf.disable_v2_behavior()
    tf.logging.set_verbosity("ERROR")
    report = {
        "tensorflow": tf.__version__,
        "cases": {name: compare_case(case) for name, case in CASES.items()},
        "errors": {
            name: compare_error(build) for name, build in ERRORS.items()
        },
        "faults": _compare_with_faults(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""Faults that are put into `tf1gan.layers` to show that the comparison finds them."""

import contextlib
from unittest import mock

import tensorflow.compat.v1 as tf

from tf1gan import layers

IMAGES = "batch_normalization of images, training True"


class Fault:
    """A patch of `tf1gan.layers`, and where it shows."""

    def __init__(self, case, aspect, name, replacement, wrapped=False):
        """Describes a fault.

        Args:
          case: of `layer_cases.py`, where it must show.
          aspect: of the comparison, in which it must show; None for an error.
          name: of what is replaced.
          replacement: what stands in for it.
          wrapped: whether `replacement` takes the original as its first argument.
        """
        self.case = case
        self.aspect = aspect
        self._name = name
        self._replacement = replacement
        self._wrapped = wrapped

    @contextlib.contextmanager
    def planted(self):
        """Puts the fault into `tf1gan.layers` for a while."""
        original = getattr(layers, self._name)
        replacement = self._replacement
        if self._wrapped:

            def replacement(*arguments, **options):
                return self._replacement(original, *arguments, **options)

        with mock.patch.object(layers, self._name, replacement):
            yield


def _wrap(case, aspect, name, replacement):
    return Fault(case, aspect, name, replacement, wrapped=True)


def _swapped(create, name, *arguments):
    swapped = {"gamma": "beta", "beta": "gamma"}
    return create(swapped.get(name, name), *arguments)


def _all_trainable(create, name, shape, dtype, value, trainable=True):
    del trainable
    return create(name, shape, dtype, value, True)


def _regularized(create, *arguments):
    kernel = create(*arguments)
    key = tf.GraphKeys.REGULARIZATION_LOSSES
    tf.add_to_collection(key, tf.nn.l2_loss(kernel))
    return kernel


def _only_mean(add, average, *arguments):
    if average.op.name.endswith("mean"):
        add(average, *arguments)


def _update_outside_collection(add, *arguments):
    add(*arguments)
    del tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)[:]


def _of_dynamic_shape(flatten, inputs, name=None):
    return tf.placeholder_with_default(flatten(inputs, name), [None, None])


def _without_gradient(convolve, inputs, *arguments, **options):
    return convolve(tf.stop_gradient(inputs), *arguments, **options)


def _turned(convolve, inputs, *arguments, **options):
    return convolve(inputs[:, ::-1], *arguments, **options)


def _numbered_otherwise(dense, *arguments, **options):
    if options.get("name") is None:
        with tf.variable_scope(None, default_name="Dense") as scope:
            options["name"] = scope
    return dense(*arguments, **options)


def _creating(dense, *arguments, **options):
    options["reuse"] = tf.AUTO_REUSE
    return dense(*arguments, **options)


FAULTS = {
    "another least epsilon": Fault(
        "batch_normalization of 4 dimensions, epsilon 1e-6, training True",
        "outputs",
        "LEAST_FUSED_EPSILON",
        0.01,
    ),
    "the slow kernel for images": Fault(
        IMAGES, "averages", "_is_fused", lambda inputs: False
    ),
    "a momentum of 0.9": Fault(
        IMAGES, "averages", "_decay", lambda *arguments: tf.constant(0.1)
    ),
    "beta before gamma": _wrap(IMAGES, "variables", "_variable", _swapped),
    "trainable averages": _wrap(
        IMAGES, "collections", "_variable", _all_trainable
    ),
    "no update of the variance": _wrap(
        IMAGES, "updates", "_add_update", _only_mean
    ),
    "updates in no collection": _wrap(
        IMAGES, "updates", "_add_update", _update_outside_collection
    ),
    "a regularizer": _wrap("dense", "collections", "_kernel", _regularized),
    "other numbers": _wrap(
        "unnamed layers", "variables", "dense", _numbered_otherwise
    ),
    "an initializer of ones": _wrap(
        "dense",
        "initial values",
        "_kernel",
        lambda create, shape, dtype, _: create(
            shape, dtype, tf.ones_initializer()
        ),
    ),
    "a forgotten static shape": _wrap(
        "flatten", "output", "flatten", _of_dynamic_shape
    ),
    "a stopped gradient": _wrap(
        "conv2d without bias", "gradients", "conv2d", _without_gradient
    ),
    "a turned image": _wrap(
        "conv2d_transpose without bias", "outputs", "conv2d_transpose", _turned
    ),
    "reuse that creates": _wrap(
        "reuse of a layer that does not exist", None, "dense", _creating
    ),
    "sharing without reuse": _wrap(
        "a name that is taken", None, "dense", _creating
    ),
}

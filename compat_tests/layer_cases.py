"""What `tf.layers` and its stand-in are held together by: small graphs and faults.

Each graph is a function of the layers to use, which are the official ones or
`tf1gan.layers`, of its input and of the training flag. It returns its output, or the
outputs of several layers as one vector.
"""

import tensorflow.compat.v1 as tf

BATCH_SIZE = 4


class Case:
    """One graph, its input and how the training flag is given."""

    def __init__(
        self, build, shape, training=False, fed=False, dtype="float32"
    ):
        """Describes a comparison.

        Args:
          build: the graph, a function of (layers, inputs, training).
          shape: of the input, without the batch.
          training: the value of the flag.
          fed: whether the flag is a placeholder.
          dtype: of the input.
        """
        self.build = build
        self.shape = list(shape)
        self.training = training
        self.fed = fed
        self.dtype = dtype


def _layer(method, *arguments, **options):
    return lambda layers, x, training: getattr(layers, method)(
        x, *arguments, **options
    )


def _normalization(**options):
    return lambda layers, x, training: layers.batch_normalization(
        x, training=training, **options
    )


def _join(*outputs):
    return tf.concat([tf.reshape(x, [-1]) for x in outputs], 0)


def _unnamed(layers, x, training):
    """Several layers of each kind, whose names are numbered."""
    del training
    x = layers.conv2d(layers.conv2d(x, 2, 3), 3, 1)
    x = layers.conv2d_transpose(layers.conv2d_transpose(x, 2, 2), 3, 1)
    x = layers.batch_normalization(layers.batch_normalization(x))
    return layers.dense(layers.dense(layers.flatten(x), 4), 2)


def _mixed_names(layers, x, training):
    """Given names that look like numbered ones, before and after unnamed layers."""
    del training
    x = layers.dense(x, 3, name="dense_1")
    x = layers.dense(x, 4)
    x = layers.dense(x, 5)
    x = layers.dense(x, 5, name="own")
    x = layers.dense(x, 5, name="own", reuse=True)
    return layers.dense(x, 2)


def _nested_scopes(layers, x, training):
    del training
    with tf.variable_scope("outer"):
        x = layers.dense(x, 3)
        with tf.variable_scope("inner"):
            x = layers.dense(x, 4)
            x = layers.dense(x, 3, name="last")
        x = layers.dense(x, 2)
    with tf.variable_scope(None, default_name="outer"):
        x = layers.dense(x, 3)
    with tf.variable_scope("outer"), tf.name_scope("ignored"):
        return layers.dense(x, 2, name="again")


def _scope_as_name(layers, x, training):
    del training
    with tf.variable_scope("outer") as scope:
        pass
    return layers.dense(layers.dense(x, 3, name=scope), 2)


def _scope_with_initializer(layers, x, training):
    del training
    with tf.variable_scope("s", initializer=tf.constant_initializer(0.5)):
        return layers.dense(x, 3)


def _layer_reused(layers, x, training):
    del training
    first = layers.conv2d(x, 3, 3, name="shared")
    second = layers.conv2d(x, 3, 3, name="shared", reuse=True)
    other = layers.conv2d(x, 2, 3)
    return _join(first, second, other)


def _layer_reused_by_auto(layers, x, training):
    del training
    outputs = [
        layers.conv2d(x, 3, 3, name="shared", reuse=tf.AUTO_REUSE)
        for _ in range(2)
    ]
    return _join(*outputs)


def _unnamed_layer_reused(layers, x, training):
    """`reuse` without a name means the first of its kind."""
    del training
    first = layers.dense(x, 3)
    other = layers.dense(x, 3)
    return _join(first, layers.dense(x, 3, reuse=True), other)


def _two_layers(layers, x):
    return layers.dense(layers.dense(x, 3), 2)


def _scope_reused(reuse):
    def build(layers, x, training):
        del training
        with tf.variable_scope("net", reuse=reuse and tf.AUTO_REUSE):
            first = _two_layers(layers, x)
        with tf.variable_scope("net", reuse=reuse or True):
            second = _two_layers(layers, 2.0 * x)
        return _join(first, second)

    return build


def _normalization_called_twice(layers, x, training):
    """One layer on two batches, as a discriminator sees real and generated ones."""
    outputs = [
        layers.batch_normalization(
            inputs, training=training, name="n", reuse=tf.AUTO_REUSE
        )
        for inputs in (x, 3.0 * x - 1.0)
    ]
    return _join(*outputs)


def _generator(layers, x, training):
    with tf.variable_scope("generator"):
        x = layers.dense(x, 2 * 2 * 8)
        x = tf.reshape(x, [-1, 2, 2, 8])
        x = tf.nn.relu(layers.batch_normalization(x, training=training))
        x = layers.conv2d_transpose(
            x, 4, [5, 5], strides=(2, 2), padding="SAME"
        )
        x = tf.nn.relu(layers.batch_normalization(x, training=training))
        x = layers.conv2d_transpose(
            x, 1, [5, 5], strides=(1, 1), padding="SAME"
        )
        return tf.tanh(x)  # [B, 4, 4, 1]


def _discriminator(layers, x, training, reuse=None):
    with tf.variable_scope("discriminator") as scope:
        if reuse:
            scope.reuse_variables()
        x = layers.conv2d(x, 4, [5, 5], strides=(2, 2), padding="SAME")
        x = tf.maximum(x, 0.2 * x)
        x = layers.conv2d(x, 8, [5, 5], strides=(2, 2), padding="SAME")
        x = layers.batch_normalization(x, training=training)
        x = tf.maximum(x, 0.2 * x)
        return layers.dense(layers.flatten(x), 1, activation=None)


def _gan(layers, x, training):
    """Both networks of a legacy script; the input is the latent, then an image."""
    generated = _generator(layers, x[:, :5], training)
    images = tf.reshape(x[:, 5:], [-1, 4, 4, 1])
    real = _discriminator(layers, images, training)
    fake = _discriminator(layers, generated, training, reuse=True)
    return _join(real, fake)


def _all_cases():
    cases = {
        "dense": Case(_layer("dense", 4), [3]),
        "dense on three dimensions": Case(_layer("dense", 4), [5, 3]),
        "dense on four dimensions": Case(_layer("dense", 4), [2, 5, 3]),
        "dense without bias": Case(_layer("dense", 4, use_bias=False), [3]),
        "dense with positional arguments": Case(
            _layer("dense", 4, tf.nn.relu, False), [3]
        ),
        "dense in float64": Case(_layer("dense", 4), [3], dtype="float64"),
        "dense with initializers": Case(
            _layer(
                "dense",
                4,
                kernel_initializer=tf.random_normal_initializer(stddev=0.02),
                bias_initializer=tf.constant_initializer(0.3),
            ),
            [3],
        ),
        "flatten": Case(_layer("flatten"), [3, 2, 2]),
        "flatten of a matrix": Case(_layer("flatten"), [3]),
        "flatten of a vector": Case(_layer("flatten", name="f"), []),
        "unnamed layers": Case(_unnamed, [6, 6, 2]),
        "given and automatic names": Case(_mixed_names, [3]),
        "nested scopes": Case(_nested_scopes, [3]),
        "a scope as name": Case(_scope_as_name, [3]),
        "a scope with an initializer": Case(_scope_with_initializer, [3]),
        "a layer reused": Case(_layer_reused, [4, 4, 2]),
        "a layer reused by AUTO_REUSE": Case(_layer_reused_by_auto, [4, 4, 2]),
        "an unnamed layer reused": Case(_unnamed_layer_reused, [3]),
        "an empty name": Case(_layer("dense", 4, name=""), [3]),
        "a scope reused": Case(_scope_reused(None), [3]),
        "a scope reused by AUTO_REUSE": Case(_scope_reused(tf.AUTO_REUSE), [3]),
    }
    cases.update(_convolutions())
    cases.update(_normalizations())
    for training, fed in FLAGS:
        name = "generator and discriminator, " + _flag(training, fed)
        cases[name] = Case(_gan, [5 + 16], training, fed)
    return cases


def _convolutions():
    cases = {}
    for method in ("conv2d", "conv2d_transpose"):
        for side, kernel, stride, padding in [
            (5, 3, 1, "valid"),
            (5, 3, 1, "same"),
            (5, 3, 2, "valid"),
            (5, 3, 2, "same"),
            (6, 5, 2, "SAME"),
            (7, 5, 2, "VALID"),
            (7, 2, 3, "valid"),  # gaps between the windows
            (7, 2, 3, "same"),
        ]:
            name = "{} of {}, kernel {}, stride {}, {}".format(
                method, side, kernel, stride, padding
            )
            build = _layer(method, 4, kernel, stride, padding)
            cases[name] = Case(build, [side, side + 1, 2])
        for name, options in {
            "with unequal sides": {
                "kernel_size": [3, 2],
                "strides": (1, 2),
                "padding": "same",
            },
            "without bias": {"kernel_size": 3, "use_bias": False},
            "with an activation": {"kernel_size": 3, "activation": tf.nn.relu},
            "with initializers": {
                "kernel_size": 3,
                "kernel_initializer": tf.truncated_normal_initializer(),
                "bias_initializer": tf.constant_initializer(-2.0),
            },
        }.items():
            cases[method + " " + name] = Case(
                _layer(method, 4, **options), [5, 6, 2]
            )
        cases[method + " in float64"] = Case(
            _layer(method, 4, 3, 2, "same"), [5, 6, 2], dtype="float64"
        )
    return cases


# The training flag as a bool and as a placeholder.
FLAGS = [(True, False), (False, False), (True, True), (False, True)]


def _flag(training, fed):
    return "training {}{}".format("fed " if fed else "", training)


def _normalizations():
    cases = {}
    for training, fed in FLAGS:
        flag = _flag(training, fed)
        for kind, shape, dtype in [
            ("images", [3, 5, 6], "float32"),
            ("a matrix", [6], "float32"),
            ("sequences", [5, 6], "float32"),
            ("float64 images", [3, 5, 6], "float64"),
            ("a float64 matrix", [6], "float64"),
        ]:
            name = "batch_normalization of {}, {}".format(kind, flag)
            cases[name] = Case(_normalization(), shape, training, fed, dtype)
        name = "batch_normalization called twice, " + flag
        cases[name] = Case(
            _normalization_called_twice, [3, 5, 6], training, fed
        )
    flags = [(True, False), (False, True)]
    for name, options in {
        "momentum 0.9": {"momentum": 0.9},
        "epsilon 0.1": {"epsilon": 0.1},
        "epsilon 1e-6": {"epsilon": 1e-6},
        "no center": {"center": False},
        "no scale": {"scale": False},
        "neither": {"center": False, "scale": False},
    }.items():
        for shape in ([3, 5, 6], [6]):
            for training, fed in flags:
                case = "batch_normalization of {} dimensions, {}, {}".format(
                    len(shape) + 1, name, _flag(training, fed)
                )
                cases[case] = Case(
                    _normalization(**options), shape, training, fed
                )
    return cases


CASES = _all_cases()


def _on(*shape, **options):
    return tf.placeholder(options.get("dtype", "float32"), shape)


def _dense_twice(first, second, **options):
    def build(layers):
        layers.dense(_on(None, 3), first, name="a")
        layers.dense(_on(None, 3), second, name="a", **options)

    return build


def _reused_with_another_type(layers):
    layers.dense(_on(None, 3), 2, name="a")
    layers.dense(_on(None, 3, dtype="float64"), 2, name="a", reuse=True)


def _missing_in_a_reused_scope(layers):
    with tf.variable_scope("net", reuse=True):
        layers.batch_normalization(_on(None, 3))


def _more_layers_in_a_reused_scope(layers):
    for reuse in (None, True):
        with tf.variable_scope("net", reuse=reuse):
            layers.conv2d(_on(None, 4, 4, 2), 2, 3)
    with tf.variable_scope("net", reuse=True):
        layers.conv2d(layers.conv2d(_on(None, 4, 4, 2), 2, 3), 2, 1)


def _unnamed_layers_in_one_reused_name(layers):
    with tf.variable_scope("net"):
        layers.conv2d_transpose(_on(None, 4, 4, 2), 2, 3)
    with tf.variable_scope("net"):
        layers.conv2d_transpose(_on(None, 4, 4, 2), 2, 3)


# What the official layers refuse, each a function of the layers.
ERRORS = {
    "reuse of a layer that does not exist": lambda layers: layers.dense(
        _on(None, 3), 2, name="a", reuse=True
    ),
    "reuse of a scope that does not exist": _missing_in_a_reused_scope,
    "more layers than the reused scope has": _more_layers_in_a_reused_scope,
    "a name that is taken": _dense_twice(2, 2),
    "a scope entered again without reuse": _unnamed_layers_in_one_reused_name,
    "reuse with another shape": _dense_twice(2, 5, reuse=True),
    "AUTO_REUSE with another shape": _dense_twice(2, 5, reuse=tf.AUTO_REUSE),
    "reuse with another type": _reused_with_another_type,
    "an unknown number of channels": lambda layers: layers.dense(
        _on(None, None), 2
    ),
    "a convolution of a matrix": lambda layers: layers.conv2d(_on(4, 3), 2, 3),
    "a transposed convolution of three dimensions": (
        lambda layers: layers.conv2d_transpose(_on(None, 4, 4), 2, 3)
    ),
    "a window that is too large": lambda layers: layers.conv2d(
        _on(None, 2, 2, 3), 2, 5
    ),
    "a padding that does not exist": lambda layers: layers.conv2d(
        _on(None, 4, 4, 3), 2, 3, padding="full"
    ),
}

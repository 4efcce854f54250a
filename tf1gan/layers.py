"""The layers of a GAN, with TF1's names, arithmetic and moving averages.

Stand-ins for `tf.layers`, which TensorFlow 2.16 and later no longer have, on
`tf.get_variable` and `tf.nn` alone: the same variable names, automatic
numbering and UPDATE_OPS, and those of its arguments that GANs use.
"""

from typing import Callable, List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

Size = Union[int, Sequence[int]]

# cuDNN's least epsilon; TensorFlow 1.15 keeps to it on every device, 2.x does
# not, so it is applied here.
LEAST_FUSED_EPSILON = 1.001e-5


def update_ops(scopes: Sequence[str]) -> List[tf.Operation]:
    """Chooses the moving-average updates of the networks named in `scopes`.

    Returns:
      The operations of the collection UPDATE_OPS under each scope in turn. A
      train op runs them if it is made under `tf.control_dependencies` on them.
    """
    # TF1: updates are operations that somebody must run.
    # TF2: a layer updates when it is called; `scopes` says which may.
    return [
        operation
        for scope in scopes
        for operation in tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)
    ]


def dense(
    inputs: tf.Tensor,
    units: int,
    activation: Optional[Callable] = None,
    use_bias: bool = True,
    kernel_initializer: Optional[Callable] = None,
    bias_initializer: Optional[Callable] = None,
    *,
    name: Optional[str] = None,
    reuse: Optional[bool] = None,
) -> tf.Tensor:
    """Multiplies by a kernel [channels, units] and adds a bias: [B, units].

    Unless told otherwise the kernel starts Glorot uniform, the bias at zero.
    """
    with _layer_scope(name, "dense", reuse):
        channels = _channels(inputs)
        kernel = _kernel([channels, units], inputs.dtype, kernel_initializer)
        outputs = tf.matmul(inputs, kernel)  # [B, units]
        return _finish(outputs, use_bias, bias_initializer, activation)


def conv2d(
    inputs: tf.Tensor,
    filters: int,
    kernel_size: Size,
    strides: Size = (1, 1),
    padding: str = "valid",
    *,
    activation: Optional[Callable] = None,
    use_bias: bool = True,
    kernel_initializer: Optional[Callable] = None,
    bias_initializer: Optional[Callable] = None,
    name: Optional[str] = None,
    reuse: Optional[bool] = None,
) -> tf.Tensor:
    """Convolves [B, H, W, channels] with a kernel [h, w, channels, filters].

    With padding "same" the result is [B, ceil(H / stride), ceil(W / stride),
    filters]. Unless told otherwise the kernel starts Glorot uniform, the bias
    at zero.
    """
    with _layer_scope(name, "conv2d", reuse):
        window = list(_pair(kernel_size))
        shape = window + [_channels(inputs), filters]
        kernel = _kernel(shape, inputs.dtype, kernel_initializer)
        outputs = tf.nn.conv2d(
            inputs,
            kernel,
            strides=_strides(strides),
            padding=padding.upper(),
            data_format="NHWC",
        )
        return _finish(outputs, use_bias, bias_initializer, activation)


def conv2d_transpose(
    inputs: tf.Tensor,
    filters: int,
    kernel_size: Size,
    strides: Size = (1, 1),
    padding: str = "valid",
    *,
    activation: Optional[Callable] = None,
    use_bias: bool = True,
    kernel_initializer: Optional[Callable] = None,
    bias_initializer: Optional[Callable] = None,
    name: Optional[str] = None,
    reuse: Optional[bool] = None,
) -> tf.Tensor:
    """Applies the transpose of a convolution, kernel [h, w, filters, channels].

    With padding "same" the result is [B, H * stride, W * stride, filters].
    Unless told otherwise the kernel starts Glorot uniform, the bias at zero.
    """
    # TF1: one kernel of TensorFlow, however few the filters.
    # TF2: the same, or on a CPU, for few filters, blocks of pixels: faster.
    with _layer_scope(name, "conv2d_transpose", reuse):
        window = list(_pair(kernel_size))
        shape = window + [filters, _channels(inputs)]
        kernel = _kernel(shape, inputs.dtype, kernel_initializer)
        size = _transposed_size(inputs, window, _pair(strides), padding.lower())
        outputs = tf.nn.conv2d_transpose(
            inputs,
            kernel,
            output_shape=tf.stack([tf.shape(inputs)[0]] + size + [filters]),
            strides=_strides(strides),
            padding=padding.upper(),
            data_format="NHWC",
        )
        outputs.set_shape([inputs.shape[0]] + size + [filters])
        return _finish(outputs, use_bias, bias_initializer, activation)


def flatten(inputs: tf.Tensor, name: Optional[str] = None) -> tf.Tensor:
    """Makes [B, H, W, channels] into [B, H * W * channels]."""
    with tf.name_scope(name or "flatten"):
        return tf.reshape(inputs, [-1, inputs.shape[1:].num_elements()])


def leaky_relu(inputs: tf.Tensor, slope: float = 0.2) -> tf.Tensor:
    """Returns the greater of x and `slope` * x, for a slope below 1.

    At exactly 0 its gradient is 1, the one of the first argument; that of
    `tf.nn.leaky_relu` is `slope`. Black pixels under a bias that starts at zero
    are such zeros, so in the first step the two differ.
    """
    # TF1: a multiplication, a maximum and five kernels for their gradients.
    # TF2: in float32 one kernel, and two for its gradient: the same numbers.
    return tf.maximum(inputs, inputs * slope)


def batch_normalization(
    inputs: tf.Tensor,
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    training: Union[bool, tf.Tensor] = False,
    name: Optional[str] = None,
    reuse: Optional[bool] = None,
) -> tf.Tensor:
    """Normalizes each channel, and averages its mean and variance over batches.

    Where `training` is true the batch's own statistics serve, else the moving
    averages. Images in float32 go through the fused kernel, whose variance, as
    averaged, has Bessel's correction n / (n - 1); other inputs do not, and have
    none (`tf.layers` does the same).

    Args:
      inputs: [B, ..., channels], float32 or float64.
      momentum: weight of the old value in a moving average.
      epsilon: added to the variance.
      center: whether to add a learned beta.
      scale: whether to multiply by a learned gamma.
      training: whether to use, and average, the statistics of the batch.
      name: of the layer.
      reuse: whether to use an existing layer of that name.
    """
    # TF1: `training` is a bool or a placeholder, fed anew in each session.run.
    # TF2: it is a bool, passed anew in each call of the model.
    with _layer_scope(name, "batch_normalization", reuse):
        if isinstance(training, int):  # 0 and 1 are flags too
            training = bool(training)
        shape, dtype = [_channels(inputs)], inputs.dtype
        gamma = (
            _variable("gamma", shape, dtype, 1.0)
            if scale
            else tf.ones(shape, dtype)
        )
        beta = (
            _variable("beta", shape, dtype, 0.0)
            if center
            else tf.zeros(shape, dtype)
        )
        moving_mean = _variable("moving_mean", shape, dtype, 0.0, False)
        moving_variance = _variable("moving_variance", shape, dtype, 1.0, False)
        normalize = _fused if _is_fused(inputs) else _unfused
        outputs, mean, variance = normalize(
            inputs, gamma, beta, moving_mean, moving_variance, epsilon, training
        )
        if training is not False:
            decay = _decay(inputs, momentum, training)
            _add_update(moving_mean, mean, decay)
            _add_update(moving_variance, variance, decay)
        return tf.identity(outputs, name="output")


def _is_fused(inputs):
    return inputs.shape.ndims == 4 and inputs.dtype == tf.float32


def _fused(
    inputs, gamma, beta, moving_mean, moving_variance, epsilon, training
):
    epsilon = max(epsilon, LEAST_FUSED_EPSILON)

    def with_batch():
        return tuple(
            tf.nn.fused_batch_norm(inputs, gamma, beta, epsilon=epsilon)
        )

    def with_averages():
        mean, variance = moving_mean.read_value(), moving_variance.read_value()
        outputs, _, _ = tf.nn.fused_batch_norm(
            inputs, gamma, beta, mean, variance, epsilon, is_training=False
        )
        return outputs, mean, variance

    return _either(training, with_batch, with_averages)


def _unfused(
    inputs, gamma, beta, moving_mean, moving_variance, epsilon, training
):
    # TF1: gradients of the input's three uses are added in one order.
    # TF2: a tape has another; `_three_uses` brings TF1's back.
    axes = list(range(inputs.shape.ndims - 1))
    moments = tuple(tf.nn.moments(inputs, axes))
    mean, variance = _either(
        training,
        lambda: tuple(tf.identity(moment) for moment in moments),
        lambda: (moving_mean.read_value(), moving_variance.read_value()),
    )
    outputs = tf.nn.batch_normalization(
        inputs, mean, variance, beta, gamma, epsilon
    )
    return outputs, mean, variance


def _either(training, if_true, if_false):
    if isinstance(training, bool):
        return if_true() if training else if_false()
    return tf.cond(training, if_true, if_false)


def _decay(inputs, momentum, training):
    """Returns 1 - momentum as `tf.layers` rounds it, or 0 outside training.

    The difference is taken in float32: of rounded numbers in the fused layer,
    of exact ones in the other. Float64 layers use that float32 number.
    """
    one_less = tf.constant(1.0 - momentum, tf.float32)
    if _is_fused(inputs):
        one_less = tf.constant(1.0, tf.float32) - tf.constant(
            momentum, tf.float32
        )
    decay = tf.cast(one_less, inputs.dtype)
    return _either(training, lambda: decay, lambda: tf.zeros_like(decay))


def _add_update(average, value, decay):
    """Adds average -= (average - value) * decay to UPDATE_OPS, after its like.

    A layer called twice has two updates of one average. The second reads the
    average once the first has run: real images come before generated ones,
    as in eager code. `tf.layers` leaves that order open: a race.
    """
    key = "moving_average_updates/" + average.op.name
    with tf.control_dependencies(tf.get_collection(key)):
        delta = (average.read_value() - value) * decay
    update = average.assign_sub(delta, read_value=False)
    tf.add_to_collection(key, update)
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)


def _layer_scope(name, kind, reuse):
    """Opens the scope of a layer, which is numbered unless named or reused."""
    if reuse:
        return tf.variable_scope(name or kind, reuse=reuse)
    return tf.variable_scope(name or None, default_name=kind, reuse=reuse)


def _kernel(shape, dtype, initializer):
    initializer = initializer or tf.get_variable_scope().initializer
    initializer = initializer or tf.glorot_uniform_initializer()
    return tf.get_variable(
        "kernel", shape, dtype, initializer, use_resource=True
    )


def _variable(name, shape, dtype, value, trainable=True):
    return tf.get_variable(
        name,
        shape,
        dtype,
        tf.constant_initializer(value),
        trainable=trainable,
        use_resource=True,
    )


def _finish(outputs, use_bias, bias_initializer, activation):
    if use_bias:
        initializer = bias_initializer or tf.zeros_initializer()
        bias = tf.get_variable(
            "bias",
            [_channels(outputs)],
            outputs.dtype,
            initializer,
            use_resource=True,
        )
        outputs = tf.nn.bias_add(outputs, bias)
    outputs = outputs if activation is None else activation(outputs)
    return tf.identity(outputs, name="output")


def _channels(inputs):
    return tf.TensorShape(inputs.shape).as_list()[-1]


def _pair(size: Size) -> Tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _strides(strides):
    return [1] + list(_pair(strides)) + [1]


def _transposed_size(inputs, window, strides, padding):
    _, *sides, _ = tf.TensorShape(inputs.shape).with_rank(4).as_list()
    extra = [
        max(w - s, 0) if padding == "valid" else 0
        for w, s in zip(window, strides)
    ]
    return [side * s + e for side, s, e in zip(sides, strides, extra)]

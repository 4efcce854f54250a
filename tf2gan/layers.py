"""The layers of a GAN, with TF1's names, arithmetic and moving averages.

Each function adds a Keras 3 layer to a functional model. Where Keras rounds or
averages otherwise than `tf.layers` did, a small class restores TF1's kernel.
"""

import contextlib
import functools
import threading
import warnings
from typing import Callable, Iterator, List, Optional, Sequence, Union

import keras
import tensorflow as tf

from tf2gan import transposed

Size = Union[int, Sequence[int]]

# cuDNN's least epsilon; TensorFlow 1.15 keeps to it on every device, 2.x does
# not, so it is applied here.
LEAST_FUSED_EPSILON = 1.001e-5

_LEAST_NORMAL_FLOAT32 = 2.0**-126

# What is chosen in this thread: names of scopes, and a list for the updates.
_updating = threading.local()
_ALL = (None, None)
# Scopes that a `BatchNormalization` was built in, in order.
_known_scopes = {}
_MOST_NAMED = 8


@contextlib.contextmanager
def update_ops(scopes: Sequence[str]) -> Iterator[List[Callable[[], None]]]:
    """Chooses the moving-average updates of the networks named in `scopes`.

    While entered, a `BatchNormalization` of this module that is called for
    training updates its moving averages only if the first part of its path is
    one of the scopes: "discriminator" of "discriminator/batch_norm". That is a
    `keras.name_scope` in which it was made; without one, its own name is all of
    its path. Outside, all of them update. A `tf.function` keeps what held when
    it was traced. Layers of Keras itself update whatever is chosen.

    When it is left, it warns of a scope that no such layer has.

    Yields:
      A list that gets each update, done or not; calling one of them does it.
    """
    # TF1: updates are operations that somebody must run.
    # TF2: a layer updates when it is called; `scopes` says which may.
    previous = getattr(_updating, "chosen", _ALL)
    updates = []
    _updating.chosen = (tuple(scopes), updates)
    try:
        yield updates
    finally:
        _updating.chosen = previous
    _warn_of_unknown(scopes)


def dense(
    inputs: keras.KerasTensor,
    units: int,
    activation: Optional[Callable] = None,
    use_bias: bool = True,
    kernel_initializer: Optional[Callable] = None,
    bias_initializer: Optional[Callable] = None,
    *,
    name: Optional[str] = None,
) -> keras.KerasTensor:
    """Multiplies by a kernel [channels, units] and adds a bias: [B, units].

    Unless told otherwise the kernel starts Glorot uniform, the bias at zero.
    """
    return Dense(
        units,
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer or "glorot_uniform",
        bias_initializer=bias_initializer or "zeros",
        name=name,
        dtype=_policy(inputs),
    )(inputs)


def conv2d(
    inputs: keras.KerasTensor,
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
) -> keras.KerasTensor:
    """Convolves [B, H, W, channels] with a kernel [h, w, channels, filters].

    With padding "same" the result is [B, ceil(H / stride), ceil(W / stride),
    filters]. Unless told otherwise the kernel starts Glorot uniform, the bias
    at zero.
    """
    return Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        data_format="channels_last",
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer or "glorot_uniform",
        bias_initializer=bias_initializer or "zeros",
        name=name,
        dtype=_policy(inputs),
    )(inputs)


def conv2d_transpose(
    inputs: keras.KerasTensor,
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
) -> keras.KerasTensor:
    """Applies the transpose of a convolution, kernel [h, w, filters, channels].

    With padding "same" the result is [B, H * stride, W * stride, filters].
    Unless told otherwise the kernel starts Glorot uniform, the bias at zero.
    """
    # TF1: one kernel of TensorFlow, however few the filters.
    # TF2: the same, or on a CPU, for few filters, blocks of pixels: faster.
    return Conv2DTranspose(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        data_format="channels_last",
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer or "glorot_uniform",
        bias_initializer=bias_initializer or "zeros",
        name=name,
        dtype=_policy(inputs),
    )(inputs)


def flatten(
    inputs: keras.KerasTensor, name: Optional[str] = None
) -> keras.KerasTensor:
    """Makes [B, H, W, channels] into [B, H * W * channels]."""
    return keras.layers.Flatten(name=name, dtype=_policy(inputs))(inputs)


def leaky_relu(
    inputs: keras.KerasTensor, slope: float = 0.2
) -> keras.KerasTensor:
    """Returns the greater of x and `slope` * x, for a slope below 1.

    At exactly 0 its gradient is 1, the one of the first argument; that of
    `tf.nn.leaky_relu` is `slope`. Black pixels under a bias that starts at zero
    are such zeros, so in the first step the two differ.
    """
    # TF1: a multiplication, a maximum and five kernels for their gradients.
    # TF2: in float32 one kernel, and two for its gradient: the same numbers.
    return LeakyRelu(slope, dtype=_policy(inputs))(inputs)


def batch_normalization(
    inputs: keras.KerasTensor,
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    training: Optional[bool] = False,
    name: Optional[str] = None,
) -> keras.KerasTensor:
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
      training: whether to use, and average, the statistics of the batch, in a
        call of the model that does not say so itself.
      name: of the layer.
    """
    # TF1: `training` is a bool or a placeholder, fed anew in each session.run.
    # TF2: it is a bool, passed anew in each call of the model.
    return BatchNormalization(
        momentum, epsilon, center, scale, name=name, dtype=_policy(inputs)
    )(inputs, training=training)


@keras.saving.register_keras_serializable(package="tf2gan")
class Dense(keras.layers.Dense):
    """Keras's dense layer, with the bias added by TF1's kernel.

    The gradient of `tf.nn.bias_add` sums in another order than that of an
    addition. In front of batch norm, where the sum is zero but for rounding,
    that decides in which direction Adam moves the bias, by a full step.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps [B, channels] to [B, units]."""
        return _add_bias(self, tf.matmul(inputs, self.kernel))


@keras.saving.register_keras_serializable(package="tf2gan")
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, with the bias added by TF1's kernel; see `Dense`."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps [B, H, W, channels] to [B, H', W', filters]."""
        return _add_bias(self, self.convolution_op(inputs, self.kernel))


@keras.saving.register_keras_serializable(package="tf2gan")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's transpose, with the bias added by TF1's kernel; see `Dense`.

    In float32 on a CPU few filters are made for a block of pixels at a time;
    see `tf2gan.transposed`.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps [B, H, W, channels] to [B, H', W', filters]."""
        inputs = tf.convert_to_tensor(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        side = transposed.block_side(inputs, kernel, self.strides, self.padding)
        if side > 1 and self._is_plain():
            outputs = transposed.conv2d_transpose(inputs, kernel, side)
        else:
            outputs = self._conv_transpose(inputs)
        return _add_bias(self, outputs)

    def _is_plain(self):
        return (
            self.data_format == "channels_last"
            and self.dilation_rate == (1, 1)
            and self.output_padding is None
        )

    def _conv_transpose(self, inputs):
        return keras.ops.conv_transpose(
            inputs,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )


@keras.saving.register_keras_serializable(package="tf2gan")
class LeakyRelu(keras.layers.Layer):
    """The layer of `leaky_relu`; its gradient at 0 is that of TF1."""

    def __init__(self, slope: float = 0.2, **kwargs) -> None:
        """Takes the slope below zero and the arguments of any Keras layer."""
        super().__init__(**kwargs)
        self.slope = slope

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the greater of x and `slope` * x, of the shape of x."""
        inputs = tf.convert_to_tensor(inputs)
        # The kernel's slope is a float32 number.
        if inputs.dtype == tf.float32:
            return _leaky_relu(inputs, self.slope)
        return tf.maximum(inputs, inputs * self.slope)

    def get_config(self) -> dict:
        """Returns the arguments that make such a layer again."""
        return dict(super().get_config(), slope=self.slope)


@keras.saving.register_keras_serializable(package="tf2gan")
class BatchNormalization(keras.layers.Layer):
    """Keras batch normalization with the arithmetic of `tf.layers`.

    It differs from `keras.layers.BatchNormalization` in three ways: the moving
    variance of the fused kernel has Bessel's correction, the weight of a new
    value is rounded as TF1 rounded it, and `trainable = False` freezes gamma
    and beta but does not put the layer into inference mode.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs,
    ) -> None:
        """Takes arguments of `batch_normalization` and of any Keras layer."""
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale

    def build(self, input_shape: Sequence[Optional[int]]) -> None:
        """Makes gamma, beta and the two moving averages, each [channels]."""
        _known_scopes[self._scope()] = None
        shape = (input_shape[-1],)
        if self.scale:
            self.gamma = self._variable("gamma", shape, "ones")
        if self.center:
            self.beta = self._variable("beta", shape, "zeros")
        self.moving_mean = self._variable("moving_mean", shape, "zeros", False)
        self.moving_variance = self._variable(
            "moving_variance", shape, "ones", False
        )

    def call(
        self, inputs: tf.Tensor, training: Optional[bool] = None
    ) -> tf.Tensor:
        """Normalizes [B, ..., channels] as `batch_normalization` says."""
        inputs = tf.convert_to_tensor(inputs)
        shape, dtype = self.moving_mean.shape, self.moving_mean.dtype
        gamma = self.gamma if self.scale else tf.ones(shape, dtype)
        beta = self.beta if self.center else tf.zeros(shape, dtype)
        normalize = self._fused if _is_fused(inputs) else self._unfused
        outputs, mean, variance = normalize(
            inputs,
            tf.convert_to_tensor(gamma),
            tf.convert_to_tensor(beta),
            training,
        )
        if training:
            decay = _decay(inputs, self.momentum, mean.dtype)
            self._average(self.moving_mean.value, mean, decay)
            self._average(self.moving_variance.value, variance, decay)
        return outputs

    def get_config(self) -> dict:
        """Returns the arguments that make such a layer again."""
        return dict(
            super().get_config(),
            momentum=self.momentum,
            epsilon=self.epsilon,
            center=self.center,
            scale=self.scale,
        )

    def _variable(self, name, shape, initializer, trainable=True):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            autocast=False,
        )

    def _fused(self, inputs, gamma, beta, training):
        averages = () if training else (self.moving_mean, self.moving_variance)
        mean, variance = averages or (tf.constant([]), tf.constant([]))
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.convert_to_tensor(mean),
            variance=tf.convert_to_tensor(variance),
            epsilon=max(self.epsilon, LEAST_FUSED_EPSILON),
            exponential_avg_factor=1.0,
            data_format="NHWC",
            is_training=bool(training),
        )
        return outputs, mean, variance

    def _unfused(self, inputs, gamma, beta, training):
        # TF1: gradients of the input's three uses are added in one order.
        # TF2: a tape has another; `_three_uses` brings TF1's back.
        mean, variance = self.moving_mean.value, self.moving_variance.value
        exact = tf.cast(inputs, mean.dtype)  # in mixed precision it is not
        if training:
            exact, mean, variance = _moments(exact)
        outputs = tf.nn.batch_normalization(
            exact, mean, variance, beta, gamma, self.epsilon
        )
        return tf.cast(outputs, inputs.dtype), mean, variance

    def _average(self, average, value, decay):
        update = functools.partial(_update, average, value, decay)
        scopes, updates = getattr(_updating, "chosen", _ALL)
        if scopes is None or self._scope() in scopes:
            update()
        if updates is not None:
            updates.append(update)

    def _scope(self):
        return self.path.split("/")[0]


def _warn_of_unknown(scopes):
    unknown = [scope for scope in scopes if scope not in _known_scopes]
    if unknown:
        known = list(_known_scopes)
        more = ", ..." if len(known) > _MOST_NAMED else ""
        warnings.warn(
            f"update_ops({list(scopes)}): no tf2gan.layers.BatchNormalization "
            f"has a path whose first part is '{unknown[0]}'; there are: "
            f"{', '.join(known[:_MOST_NAMED]) or 'none'}{more}; name these, or "
            f"make the layers under keras.name_scope('{unknown[0]}'); a "
            "network without batch norm needs no scope",
            stacklevel=4,  # who leaves the context, through contextlib
        )


def _policy(inputs):
    """Returns the type of a layer: its inputs', or the mixed one in force."""
    policy = keras.config.dtype_policy()
    is_mixed = policy.compute_dtype != policy.variable_dtype
    return policy if is_mixed and inputs.dtype != "float64" else inputs.dtype


def _moments(inputs):
    """Returns the inputs again, and their `tf.nn.moments` by channel."""
    axes = list(range(inputs.shape.rank - 1))
    inputs, for_variance, for_mean = _three_uses(inputs)
    mean = tf.reduce_mean(for_mean, axes, keepdims=True)  # [1, ..., channels]
    squares = tf.math.squared_difference(for_variance, tf.stop_gradient(mean))
    return inputs, tf.squeeze(mean, axes), tf.reduce_mean(squares, axes)


@tf.custom_gradient
def _three_uses(inputs):
    """Returns a tensor three times; gradients are added in the order of these.

    TF1's graphs have one order, a gradient tape has another, and the sum of
    three rounded numbers depends on it.
    """

    def gradient(*upstreams):
        return tf.add_n(upstreams)

    return [tf.identity(inputs) for _ in range(3)], gradient


def _add_bias(layer, outputs):
    if layer.use_bias:
        outputs = _bias_add(outputs, tf.convert_to_tensor(layer.bias))
    return layer.activation(outputs)


@tf.custom_gradient
def _bias_add(outputs, bias):
    """Adds a bias, with the gradient of TF1's graphs.

    There the upstream gradient passes on only once that of the bias is done.
    Without this the oneDNN rewrite fuses the latter with the gradient of the
    kernel, and it sums in another order.
    """

    def gradient(upstream):
        of_bias = tf.raw_ops.BiasAddGrad(
            out_backprop=upstream, data_format="NHWC"
        )
        with tf.control_dependencies([of_bias]):
            return tf.identity(upstream), of_bias

    return tf.nn.bias_add(outputs, bias), gradient


def _leaky_relu(inputs, slope):
    """Applies one float32 kernel, with the gradient of the maximum."""

    @tf.custom_gradient
    def apply(inputs):
        def gradient(upstream):
            # The kernel takes 0 for a negative number, the maximum does not.
            # This sum is positive for 0, and for subnormal numbers, which count
            # as 0; it is so for no other number that was not.
            features = inputs + _LEAST_NORMAL_FLOAT32
            return tf.raw_ops.LeakyReluGrad(
                gradients=upstream, features=features, alpha=slope
            )

        return tf.raw_ops.LeakyRelu(features=inputs, alpha=slope), gradient

    return apply(inputs)


def _is_fused(inputs):
    return inputs.shape.rank == 4 and inputs.dtype != tf.float64


def _decay(inputs, momentum, dtype):
    """Returns 1 - momentum as `tf.layers` rounds it.

    The difference is taken in float32: of rounded numbers in the fused layer,
    of exact ones in the other. Float64 layers use that float32 number.
    """
    one_less = tf.constant(1.0 - momentum, tf.float32)
    if _is_fused(inputs):
        one_less = tf.constant(1.0, tf.float32) - tf.constant(
            momentum, tf.float32
        )
    return tf.cast(one_less, dtype)


def _update(average, value, decay):
    """Subtracts (average - value) * decay from the moving average, in place."""
    average.assign_sub((average - value) * decay)

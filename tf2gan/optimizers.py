"""Adam as TF1 computes it, with every constant written out."""

from typing import List, Optional, Sequence

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf2gan")
class Adam(keras.optimizers.Optimizer):
    """Adam (Kingma and Ba, 2015) in the "epsilon hat" form of its section 2.

        alpha = learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t)
        variable -= alpha * m / (sqrt(v) + epsilon)

    The constants are float32 numbers, whatever the type of the variables, and
    the powers beta^t are float32 variables multiplied once per step.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "Adam",
        **kwargs,
    ) -> None:
        """Takes the step size, the decay of both moments, and epsilon."""
        # TF1: the library's own optimizer; its slots are named VARIABLE/Adam
        # and VARIABLE/Adam_1.
        # TF2: Keras's Adam rounds otherwise (beta^t is a power, epsilon 1e-7);
        # this one calls the kernel that TF1 called.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    def build(self, variables: List[keras.Variable]) -> None:
        """Makes each variable's slots m and v, and the powers of the betas."""
        if self.built:
            return
        super().build(variables)
        self.m = [self.add_variable_from_reference(v, "m") for v in variables]
        self.v = [self.add_variable_from_reference(v, "v") for v in variables]
        self.beta1_power = self._power("beta1_power", self.beta1)
        self.beta2_power = self._power("beta2_power", self.beta2)

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Moves one variable along its gradient and updates its two slots."""
        index = self._get_variable_index(variable)

        def as_variable(value):
            return tf.cast(tf.convert_to_tensor(value), variable.dtype)

        tf.raw_ops.ResourceApplyAdam(
            var=_resource(variable),
            m=_resource(self.m[index]),
            v=_resource(self.v[index]),
            beta1_power=as_variable(self.beta1_power),
            beta2_power=as_variable(self.beta2_power),
            lr=as_variable(tf.cast(learning_rate, tf.float32)),
            beta1=as_variable(tf.constant(self.beta1, tf.float32)),
            beta2=as_variable(tf.constant(self.beta2, tf.float32)),
            epsilon=as_variable(tf.constant(self.epsilon, tf.float32)),
            grad=as_variable(gradient),
            use_locking=False,
            use_nesterov=False,
        )

    def apply(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Optional[Sequence[keras.Variable]] = None,
    ) -> None:
        """Updates every variable, then, once, the powers of the betas."""
        super().apply(grads, trainable_variables)
        self.beta1_power.assign(self.beta1_power * self.beta1)
        self.beta2_power.assign(self.beta2_power * self.beta2)

    def get_config(self) -> dict:
        """Returns the arguments that make such an optimizer again."""
        return dict(
            super().get_config(),
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
        )

    def _power(self, name, value):
        return self.add_variable(
            shape=(),
            initializer=keras.initializers.Constant(value),
            dtype="float32",
            name=name,
        )


def _resource(variable):
    """Returns the handle of a Keras or a TensorFlow variable."""
    return (
        variable.value if isinstance(variable, keras.Variable) else variable
    ).handle

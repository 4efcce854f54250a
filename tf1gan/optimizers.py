"""Adam as TF1 computes it, with every constant written out."""

import tensorflow.compat.v1 as tf


class Adam(tf.train.AdamOptimizer):
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
    ) -> None:
        """Takes the step size, the decay of both moments, and epsilon."""
        # TF1: the library's own optimizer; its slots are named VARIABLE/Adam
        # and VARIABLE/Adam_1.
        # TF2: Keras's Adam rounds otherwise (beta^t is a power, epsilon 1e-7);
        # this one calls the kernel that TF1 called.
        super().__init__(learning_rate, beta1, beta2, epsilon, name=name)

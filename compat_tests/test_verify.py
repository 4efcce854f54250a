"""What a user's own model may do while it is verified, and what is said of it."""

import keras
import numpy as np
import pytest

from tf2gan.common.errors import UserError
from tf2gan.migration import verify

VALUE = np.zeros([4, 3], np.float32)


def test_a_model_that_refuses_its_input_is_one_line():
    def refuses(value, training):
        raise ValueError("expected\nanother shape")

    with pytest.raises(UserError, match="model 'generator' failed with Value"):
        verify._computed("generator", refuses, VALUE)


def test_a_model_with_two_outputs_is_refused_as_such():
    def two(value, training):
        return [value, value]

    with pytest.raises(UserError, match="2 outputs"):
        verify._computed("generator", two, VALUE)


def test_a_model_without_symbolic_outputs_needs_the_name_of_its_tensor():
    class Own(keras.Model):
        def call(self, value):
            return value

    with pytest.raises(UserError, match="--outputs=generator=TENSOR:0"):
        verify._only_output("generator", Own())

"""Keras models and train steps as a user would hand them to `compare.py replay`."""

import keras
import tensorflow as tf

from tf2gan import training
from tf2gan.common import specs

RATE = 0.125


def tiny_models():
    """Two dense layers without biases: the networks of `tiny_gan`."""
    exact = {"dtype": "float64"}
    latent, images = keras.Input([2], **exact), keras.Input([3], **exact)
    dense = {"use_bias": False, **exact}
    generator = keras.Model(latent, keras.layers.Dense(3, **dense)(latent))
    discriminator = keras.Model(images, keras.layers.Dense(1, **dense)(images))
    return {"generator": generator, "discriminator": discriminator}


def tiny_steps(models, rate=RATE):
    """Plain gradient descent on the losses of `tiny_gan`."""

    def losses(images, latent):
        fake = models["discriminator"](models["generator"](latent))
        real = models["discriminator"](images)
        of_d = tf.reduce_mean((real - 1) ** 2) + tf.reduce_mean(fake**2)
        return {
            "discriminator": of_d,
            "generator": tf.reduce_mean((fake - 1) ** 2),
        }

    def train(name, images, latent):
        with tf.GradientTape() as tape:
            loss = losses(images, latent)[name]
        variables = models[name].trainable_variables
        for variable, slope in zip(variables, tape.gradient(loss, variables)):
            variable.assign(variable - rate * slope)
        return loss

    def gradients(images, latent):
        found = {}
        for name, model in models.items():
            with tf.GradientTape() as tape:
                loss = losses(images, latent)[name]
            variables = model.trainable_variables
            for variable, slope in zip(
                variables, tape.gradient(loss, variables)
            ):
                found[f"{name}/{variable.path}"] = slope
        return found

    return {
        "discriminator_step": lambda x, z: train("discriminator", x, z),
        "generator_step": lambda x, z: train("generator", x, z),
        "gradients": gradients,
    }


def too_fast(models):
    return tiny_steps(models, 2 * RATE)


def misspelt_steps(models):
    return {**tiny_steps(models), "activation": print}


def dcgan_models():
    """The networks of dcgan28, compiled with the optimizers that train them."""
    trainer = training.Trainer(specs.get_spec("dcgan28"), dtype="float64")
    trainer.generator.compile(trainer.optimizer_g)
    trainer.discriminator.compile(trainer.optimizer_d)
    trainer.generator.trainer = trainer
    return [trainer.generator, trainer.discriminator]


class dcgan_steps:  # noqa: N801 (named as the function that it stands for)
    """The steps of their trainer."""

    def __init__(self, models):
        self._trainer = models["generator"].trainer
        self.discriminator_step = self._trainer.discriminator_step
        self.generator_step = self._trainer.generator_step
        self.activations = self._trainer.activations

"""Trains a GAN: its networks, its train steps and the loop around them."""

import os
from typing import Dict, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from tf1gan import layers, losses
from tf1gan.checkpoint import Checkpointer
from tf1gan.models import get_model
from tf1gan.optimizers import Adam
from tf2gan.common import randomness, specs
from tf2gan.common.config import TrainConfig
from tf2gan.common.run import Run
from tf2gan.common.run_state import check_names_and_shapes, unwritable
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR, GanSpec


class Trainer:
    """A GAN in training: both networks, both optimizers, and their steps.

    Images are arrays [B, height, width, channels] in the spec's range, latents
    arrays [B, latent_size], both of type `dtype`.
    """

    def __init__(
        self, spec: GanSpec, update_ops: str = "source", dtype: str = "float32"
    ) -> None:
        """Makes all variables; `initialize` or `load_state` gives them values.

        Args:
          spec: of the GAN.
          update_ops: "source" or "scoped"; see `specs.update_scopes`.
          dtype: "float32" or "float64", of all weights and activations.

        Raises:
          UserError: if the spec's model or the policy is unknown.
        """
        self.spec = spec
        self.dtype = dtype
        self._gradients = None
        # TF1: everything is declared once, in a graph; a session runs parts.
        # TF2: the networks are objects, and the steps below are functions.
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.set_random_seed(0)  # asked for by --deterministic; never used
            self._build_networks()
            self._build_train_ops(update_ops)
            self._build_summaries()
            self._initializer = tf.global_variables_initializer()
        self.session = tf.Session(graph=self.graph)

    def _build_networks(self):
        spec, model = self.spec, get_model(self.spec.name)
        shape = [None] + list(spec.image_shape)
        self._images = tf.placeholder(self.dtype, shape, name="images")
        shape = [None, spec.latent_size]
        self._latent = tf.placeholder(self.dtype, shape, name="latent")
        self._is_training = tf.placeholder(tf.bool, [], name="is_training")
        self._generated = model.generator(self._latent, self._is_training, spec)
        real = model.discriminator(self._images, self._is_training, spec)
        fake = model.discriminator(self._generated, self._is_training, spec)
        discriminator_loss, generator_loss = losses.get_losses(spec.loss)
        self._loss_d = discriminator_loss(real, fake)
        self._loss_g = generator_loss(fake)

    def _build_train_ops(self, update_ops):
        self._train_d = self._train_op(
            self._loss_d, DISCRIMINATOR, update_ops, "D_global_step"
        )
        self._train_g = self._train_op(
            self._loss_g, GENERATOR, update_ops, "G_global_step"
        )

    def _train_op(self, loss, network, update_ops, step_name):
        spec = self.spec
        global_step = tf.get_variable(
            step_name,
            [],
            tf.int32,
            tf.zeros_initializer(),
            trainable=False,
            use_resource=True,
        )
        optimizer = Adam(
            spec.learning_rate, spec.beta1, spec.beta2, spec.adam_epsilon
        )
        variables = tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, network)
        # TF1: the train op runs the moving-average updates that it depends on.
        # TF2: the layers of the chosen networks update as they are called.
        scopes = specs.update_scopes(update_ops, network)
        with tf.control_dependencies(layers.update_ops(scopes)):
            return optimizer.minimize(loss, global_step, variables)

    def _build_summaries(self):
        tf.summary.scalar("loss_D", self._loss_d)
        tf.summary.scalar("loss_G", self._loss_g)
        self._summaries = tf.summary.merge_all()

    @property
    def global_step(self) -> int:
        """The number of generator steps done, which is that of iterations."""
        return int(self._run(self.variables()["G_global_step"]))

    def variables(self) -> Dict[str, tf.Variable]:
        """Returns all variables, the optimizers' too, by their names in TF1."""
        with self.graph.as_default():
            return {v.op.name: v for v in tf.global_variables()}

    def initialize(self, seed: int) -> None:
        """Gives every variable its initial value; kernels follow the seed."""
        # TF1: the values are fed in place of those that the initializers draw.
        # TF2: variables are assigned to.
        values = {
            _initial_value(variable): randomness.glorot_uniform(
                variable.shape.as_list(), seed, name
            )
            for name, variable in self.variables().items()
            if name.endswith("/kernel")
        }
        self._run(self._initializer, values)

    def discriminator_step(
        self, images: np.ndarray, latent: np.ndarray
    ) -> float:
        """Trains the discriminator once; returns its loss before that."""
        # TF1: the train op moves the variables that `minimize` was given.
        # TF2: the tape is for the network that is trained; the other is called
        # outside it.
        _, loss = self._run(
            [self._train_d, self._loss_d], self._feed(images, latent, True)
        )
        return loss

    def generator_step(self, images: np.ndarray, latent: np.ndarray) -> float:
        """Trains the generator once; returns its loss before that.

        Under the policy "source" the images matter too: the discriminator's
        moving averages are updated with them.
        """
        # TF1: the train op runs updates that need the real images.
        # TF2: so that its averages move, the discriminator is called on them.
        _, loss = self._run(
            [self._train_g, self._loss_g], self._feed(images, latent, True)
        )
        return loss

    def train_step(
        self, images: np.ndarray, latent: np.ndarray
    ) -> Tuple[float, float]:
        """Trains discriminator, then generator; returns (loss_D, loss_G)."""
        # TF1: each step is a run of the session, and generates images anew.
        # TF2: in between the generator does not change: one call serves both,
        # and averages that both steps move take its statistics twice.
        loss_d = self.discriminator_step(images, latent)
        return loss_d, self.generator_step(images, latent)

    def evaluate(
        self, images: np.ndarray, latent: np.ndarray
    ) -> Tuple[float, float]:
        """Returns (loss_D, loss_G) in training mode; changes nothing."""
        return tuple(
            self._run(
                [self._loss_d, self._loss_g], self._feed(images, latent, True)
            )
        )

    def gradients(
        self, images: np.ndarray, latent: np.ndarray
    ) -> Dict[str, np.ndarray]:
        """Returns by variable the gradient of its own network's loss."""
        # TF1: they are made once, apart from the train ops, and then run.
        # TF2: a tape is run without an update.
        if self._gradients is None:
            with self.graph.as_default():
                self._gradients = _named_gradients(self._loss_d, DISCRIMINATOR)
                self._gradients.update(
                    _named_gradients(self._loss_g, GENERATOR)
                )
        return self._run(self._gradients, self._feed(images, latent, True))

    def activations(
        self, images: np.ndarray, latent: np.ndarray, training: bool = True
    ) -> Dict[str, np.ndarray]:
        """Returns each layer's output by name, in order of the layers.

        Names are those of TF1's name scopes: `discriminator/conv2d` sees the
        real images, `discriminator_1/conv2d` the generated ones. No moving
        average is updated; unless `training`, they are the statistics.
        """
        outputs = {
            operation.name[: -len("/output")]: operation.outputs[0]
            for operation in self.graph.get_operations()
            if operation.name.endswith("/output")
        }
        return self._run(outputs, self._feed(images, latent, training))

    def generate(self, latent: np.ndarray) -> np.ndarray:
        """Returns images of latents, with the moving averages as statistics."""
        feed = {self._latent: latent, self._is_training: False}
        return self._run(self._generated, feed)

    def state(self) -> Dict[str, np.ndarray]:
        """Returns the values of all variables by name."""
        return self._run(self.variables())

    def load_state(self, state: Dict[str, np.ndarray]) -> None:
        """Sets all variables; ValueError unless names and shapes match."""
        variables = self.variables()
        check_names_and_shapes(
            {name: v.shape.as_list() for name, v in variables.items()}, state
        )
        values = {
            _initial_value(variables[name]): state[name] for name in state
        }
        self._run(self._initializer, values)

    def write_summaries(
        self,
        writer: tf.summary.FileWriter,
        images: np.ndarray,
        latent: np.ndarray,
    ) -> None:
        """Writes both losses on a batch for TensorBoard, by global step."""
        summaries = self._run(self._summaries, self._feed(images, latent, True))
        try:
            writer.add_summary(summaries, self.global_step)
            writer.flush()
        except tf.errors.OpError as error:
            raise unwritable("logs", error) from error

    def _feed(self, images, latent, is_training):
        return {
            self._images: images,
            self._latent: latent,
            self._is_training: is_training,
        }

    def _run(self, fetches, feed=None):
        return self.session.run(fetches, feed)


def _named_gradients(loss, network):
    variables = tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, network)
    gradients = tf.gradients(loss, variables)
    return {v.op.name: gradient for v, gradient in zip(variables, gradients)}


def _initial_value(variable):
    """Returns the tensor that the variable's initializer assigns."""
    return variable.initializer.inputs[1]


def configure_runtime(config: TrainConfig) -> None:
    """Sets what holds for the whole process: determinism and TF32."""
    # TF1: TensorFlow 1.15 reads an environment variable, and knows no TF32.
    # TF2: both are settings of the library.
    if tf.version.VERSION.startswith("1."):
        os.environ["TF_DETERMINISTIC_OPS"] = str(int(config.deterministic))
        return
    from tensorflow import config as settings  # not all are in compat.v1

    if config.deterministic:
        settings.experimental.enable_op_determinism()
    # Rewritten graphs round otherwise, and each of the twins in its way.
    settings.optimizer.set_experimental_options(
        {"disable_meta_optimizer": config.deterministic}
    )
    settings.experimental.enable_tensor_float_32_execution(config.tf32)


def open_summaries(directory: str, trainer: Trainer) -> tf.summary.FileWriter:
    """Opens the logs; iterations that are done again count only once."""
    # TF1: a session's start in the log hides what an earlier one wrote beyond.
    # TF2: the same, in a file by itself: the new writer has no such record.
    first = trainer.global_step + 1
    try:
        with tf.Graph().as_default():
            start = tf.SessionLog(status=tf.SessionLog.START)
            # With a session it writes by operations, here in their own graph.
            # Without, a thread writes, and prints a traceback on a full disk.
            session = tf.Session()
            writer = tf.summary.FileWriter(
                directory, trainer.graph, session=session
            )
            writer.add_session_log(start, first)
            writer.flush()
    except tf.errors.OpError as error:
        raise unwritable(directory, error) from error
    return writer


def close_summaries(writer: tf.summary.FileWriter, directory: str) -> None:
    """Closes the logs in a folder; UserError if they cannot be written."""
    try:
        writer.close()
    except tf.errors.OpError as error:
        raise unwritable(directory, error) from error


def train(config: TrainConfig) -> None:
    """Trains a GAN from start to end, or from its last checkpoint on.

    Raises:
      UserError: if the configuration, the data or the folder cannot be used.
      Interrupted: if a signal ended the run; it has been saved.
    """
    with Run(config) as run:
        configure_runtime(config)
        trainer = Trainer(config.spec(), config.update_ops, config.dtype)
        checkpointer = Checkpointer(
            trainer, run.path("checkpoints"), config.keep_checkpoints
        )
        trainer.initialize(config.seed)
        if config.resume and checkpointer.latest():
            checkpointer.restore()
        run.start(trainer.global_step)
        writer = open_summaries(run.path("logs"), trainer)
        # TF1: each batch is fed to the session.
        # TF2: as an argument. On a CPU a `tf.data` pipeline would only cost:
        # its threads hand a batch over more slowly than it is made.
        for images, latent in run.batches.iterate(run.step, run.total_steps):
            run.record(*trainer.train_step(images, latent))
            if run.epoch_ended:
                trainer.write_summaries(writer, images, latent)
            if run.samples_due:
                run.save_samples(trainer.generate(run.sample_latents()))
            if run.checkpoint_due:
                run.sync()
                checkpointer.save(run.step)
            if run.stopping:
                break
        close_summaries(writer, run.path("logs"))
        run.finish()

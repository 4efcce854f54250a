"""Trains a GAN: its networks, its train steps and the loop around them."""

import contextlib
import warnings
from typing import Dict, Optional, Tuple

import keras
import numpy as np
import tensorflow as tf

from tf2gan import layers, losses
from tf2gan.checkpoint import Checkpointer
from tf2gan.common import randomness, specs
from tf2gan.common.config import TrainConfig
from tf2gan.common.errors import UserError
from tf2gan.common.run import Run
from tf2gan.common.run_state import check_names_and_shapes, unwritable
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR, GanSpec
from tf2gan.models import get_model
from tf2gan.optimizers import Adam

# What losses are multiplied by, and gradients divided by. Gradients of a GAN's
# losses are between about 1e-6 and 1; float16 loses digits below 6e-5 and ends
# at 65504. A gradient beyond that is infinite, and the run ends as diverged.
_LOSS_SCALES = {"mixed_float16": 1024.0}


class Trainer:
    """A GAN in training: both networks, both optimizers, and their steps.

    Images are arrays [B, height, width, channels] in the spec's range, latents
    arrays [B, latent_size], both of type `dtype`.
    """

    def __init__(
        self,
        spec: GanSpec,
        update_ops: str = "source",
        dtype: str = "float32",
        precision: Optional[str] = None,
    ) -> None:
        """Makes all variables; `initialize` or `load_state` gives them values.

        Args:
          spec: of the GAN.
          update_ops: "source" or "scoped"; see `specs.update_scopes`.
          dtype: "float32" or "float64", of all weights and activations.
          precision: "mixed_float16" or "mixed_bfloat16" has layers compute in
            16 bits; weights, averages, losses and samples stay float32.

        Raises:
          UserError: if the spec's model or the policy is unknown, or Keras
            runs on another backend than TensorFlow.
        """
        self.spec = spec
        self.dtype = dtype
        # TF1: everything is declared once, in a graph; a session runs parts.
        # TF2: the networks are objects, and the steps below are functions.
        _check_backend()
        with _dtype_policy(precision):
            self._build_networks()
        self._loss_scale = _LOSS_SCALES.get(precision)
        self._build_optimizers(update_ops)
        self._initial_state = self.state()

    def _build_networks(self):
        spec, model = self.spec, get_model(self.spec.name)
        images = keras.Input(spec.image_shape, dtype=self.dtype, name="images")
        latent = keras.Input(
            [spec.latent_size], dtype=self.dtype, name="latent"
        )
        generated = self._exact(model.generator(latent, None, spec))
        logits = self._exact(model.discriminator(images, None, spec))
        self.generator = keras.Model(latent, generated, name=GENERATOR)
        self.discriminator = keras.Model(images, logits, name=DISCRIMINATOR)
        discriminator_loss, generator_loss = losses.get_losses(spec.loss)
        self._discriminator_loss = discriminator_loss
        self._generator_loss = generator_loss

    def _exact(self, outputs):
        """Casts what mixed precision computed in 16 bits; else does nothing."""
        if outputs.dtype == self.dtype:
            return outputs
        return keras.ops.cast(outputs, self.dtype)

    def _build_optimizers(self, update_ops):
        # TF1: the train op runs the moving-average updates that it depends on.
        # TF2: the layers of the chosen networks update as they are called.
        self._scopes_d = specs.update_scopes(update_ops, DISCRIMINATOR)
        self._scopes_g = specs.update_scopes(update_ops, GENERATOR)
        self.optimizer_d = self._optimizer(self.discriminator)
        self.optimizer_g = self._optimizer(self.generator)

    def _optimizer(self, network):
        spec = self.spec
        optimizer = Adam(
            spec.learning_rate,
            spec.beta1,
            spec.beta2,
            spec.adam_epsilon,
            loss_scale_factor=self._loss_scale,
        )
        optimizer.build(network.trainable_variables)
        return optimizer

    @property
    def global_step(self) -> int:
        """The number of generator steps done, which is that of iterations."""
        return int(self.optimizer_g.iterations.value)

    def variables(self) -> Dict[str, tf.Variable]:
        """Returns all variables, the optimizers' too, by their names in TF1."""
        networks = self.generator.variables + self.discriminator.variables
        named = {variable.path: variable for variable in networks}
        named.update(
            _optimizer_variables(self.optimizer_d, self.discriminator, "")
        )
        named.update(
            _optimizer_variables(self.optimizer_g, self.generator, "_1")
        )
        named["D_global_step"] = self.optimizer_d.iterations
        named["G_global_step"] = self.optimizer_g.iterations
        return {name: variable.value for name, variable in named.items()}

    def initialize(self, seed: int) -> None:
        """Gives every variable its initial value; kernels follow the seed."""
        # TF1: the values are fed in place of those that the initializers draw.
        # TF2: variables are assigned to.
        values = {
            name: randomness.glorot_uniform(value.shape, seed, name)
            for name, value in self._initial_state.items()
            if name.endswith("/kernel")
        }
        self.load_state(dict(self._initial_state, **values))

    @tf.function(reduce_retracing=True)
    def discriminator_step(
        self, images: np.ndarray, latent: np.ndarray
    ) -> float:
        """Trains the discriminator once; returns its loss before that."""
        # TF1: the train op moves the variables that `minimize` was given.
        # TF2: the tape is for the network that is trained; the other is called
        # outside it.
        with layers.update_ops(self._scopes_d):
            generated = self.generator(latent, training=True)
        return self._train_discriminator(images, generated)

    @tf.function(reduce_retracing=True)
    def generator_step(self, images: np.ndarray, latent: np.ndarray) -> float:
        """Trains the generator once; returns its loss before that.

        Under the policy "source" the images matter too: the discriminator's
        moving averages are updated with them.
        """
        # TF1: the train op runs updates that need the real images.
        # TF2: so that its averages move, the discriminator is called on them.
        with tf.GradientTape() as tape, layers.update_ops(self._scopes_g):
            generated = self.generator(latent, training=True)
        return self._train_generator(images, generated, tape)

    @tf.function(reduce_retracing=True)
    def train_step(
        self, images: np.ndarray, latent: np.ndarray
    ) -> Tuple[float, float]:
        """Trains discriminator, then generator; returns (loss_D, loss_G)."""
        # TF1: each step is a run of the session, and generates images anew.
        # TF2: in between the generator does not change: one call serves both,
        # and averages that both steps move take its statistics twice.
        with tf.GradientTape() as tape, layers.update_ops([]) as updates:
            generated = self.generator(latent, training=True)
        for scopes in (self._scopes_d, self._scopes_g):
            for update in updates if GENERATOR in scopes else ():
                update()
        loss_d = self._train_discriminator(images, generated)
        return loss_d, self._train_generator(images, generated, tape)

    def _train_discriminator(self, images, generated):
        with layers.update_ops(self._scopes_d), tf.GradientTape() as tape:
            real = self.discriminator(images, training=True)
            fake = self.discriminator(generated, training=True)
            loss = self._discriminator_loss(real, fake)
            scaled = self.optimizer_d.scale_loss(loss)
        variables = self.discriminator.trainable_variables
        self.optimizer_d.apply(tape.gradient(scaled, variables), variables)
        return loss

    def _train_generator(self, images, generated, tape):
        with layers.update_ops(self._scopes_g):
            if DISCRIMINATOR in self._scopes_g:
                self.discriminator(images, training=True)
            with tape:
                fake = self.discriminator(generated, training=True)
                loss = self._generator_loss(fake)
                scaled = self.optimizer_g.scale_loss(loss)
        variables = self.generator.trainable_variables
        self.optimizer_g.apply(tape.gradient(scaled, variables), variables)
        return loss

    @tf.function(reduce_retracing=True)
    def evaluate(
        self, images: np.ndarray, latent: np.ndarray
    ) -> Tuple[float, float]:
        """Returns (loss_D, loss_G) in training mode; changes nothing."""
        with layers.update_ops([]):
            generated = self.generator(latent, training=True)
            real = self.discriminator(images, training=True)
            fake = self.discriminator(generated, training=True)
        return self._discriminator_loss(real, fake), self._generator_loss(fake)

    def gradients(
        self, images: np.ndarray, latent: np.ndarray
    ) -> Dict[str, np.ndarray]:
        """Returns by variable the gradient of its own network's loss."""
        # TF1: they are made once, apart from the train ops, and then run.
        # TF2: a tape is run without an update.
        gradients = self._gradients(images, latent)
        return {name: value.numpy() for name, value in gradients.items()}

    @tf.function(reduce_retracing=True)
    def _gradients(self, images, latent):
        with tf.GradientTape(persistent=True) as tape:
            loss_d, loss_g = self.evaluate(images, latent)
        of_d = _named_gradients(tape, loss_d, self.discriminator)
        return dict(of_d, **_named_gradients(tape, loss_g, self.generator))

    def activations(
        self, images: np.ndarray, latent: np.ndarray, training: bool = True
    ) -> Dict[str, np.ndarray]:
        """Returns each layer's output by name, in order of the layers.

        Names are those of TF1's name scopes: `discriminator/conv2d` sees the
        real images, `discriminator_1/conv2d` the generated ones. No moving
        average is updated; unless `training`, they are the statistics.
        """
        named = {}
        with layers.update_ops([]):
            generated = self.generator(latent, training=training)
            for network, inputs, scope in (
                (self.generator, latent, GENERATOR),
                (self.discriminator, images, DISCRIMINATOR),
                (self.discriminator, generated, DISCRIMINATOR + "_1"),
            ):
                named.update(_activations(network, inputs, scope, training))
        return named

    def generate(self, latent: np.ndarray) -> np.ndarray:
        """Returns images of latents, with the moving averages as statistics."""
        return self.generator(latent, training=False).numpy()

    def state(self) -> Dict[str, np.ndarray]:
        """Returns the values of all variables by name."""
        return {name: v.numpy() for name, v in self.variables().items()}

    def load_state(self, state: Dict[str, np.ndarray]) -> None:
        """Sets all variables; ValueError unless names and shapes match."""
        variables = self.variables()
        check_names_and_shapes(
            {name: v.shape.as_list() for name, v in variables.items()}, state
        )
        for name, variable in variables.items():
            variable.assign(tf.cast(state[name], variable.dtype))

    def write_summaries(
        self,
        writer: tf.summary.SummaryWriter,
        images: np.ndarray,
        latent: np.ndarray,
    ) -> None:
        """Writes both losses on a batch for TensorBoard, by global step."""
        loss_d, loss_g = self.evaluate(images, latent)
        try:
            with writer.as_default(step=self.global_step):
                tf.summary.scalar("loss_D", loss_d)
                tf.summary.scalar("loss_G", loss_g)
            writer.flush()
        except tf.errors.OpError as error:
            raise unwritable("logs", error) from error


def _named_gradients(tape, loss, network):
    variables = network.trainable_variables
    gradients = tape.gradient(loss, variables)
    return {v.path: gradient for v, gradient in zip(variables, gradients)}


def _activations(network, inputs, scope, training):
    chosen = [layer for layer in network.layers if layer.weights]
    probe = keras.Model(network.input, [layer.output for layer in chosen])
    outputs = probe(inputs, training=training)
    return {
        f"{scope}/{layer.name}": output.numpy()
        for layer, output in zip(chosen, outputs)
    }


def _optimizer_variables(optimizer, network, suffix):
    """Names slots and powers as TF1 does, by order of the optimizers."""
    named = {
        "beta1_power" + suffix: optimizer.beta1_power,
        "beta2_power" + suffix: optimizer.beta2_power,
    }
    for variable, m, v in zip(
        network.trainable_variables, optimizer.m, optimizer.v
    ):
        named[variable.path + "/Adam"] = m
        named[variable.path + "/Adam_1"] = v
    return named


@contextlib.contextmanager
def _dtype_policy(precision):
    """Has Keras build layers in that precision; afterwards all is as before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision or "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_backend():
    if keras.config.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on the backend '{keras.config.backend()}', tf2gan "
            "needs TensorFlow; set KERAS_BACKEND=tensorflow"
        )


def configure_runtime(config: TrainConfig) -> None:
    """Sets what holds for the whole process: determinism and TF32."""
    # TF1: TensorFlow 1.15 reads an environment variable, and knows no TF32.
    # TF2: both are settings of the library.
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Rewritten graphs round otherwise, and each of the twins in its way.
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": config.deterministic}
    )
    tf.config.experimental.enable_tensor_float_32_execution(config.tf32)
    tf.config.run_functions_eagerly(config.run_eagerly)
    # TensorFlow says that this does not reach `tf.data`; none is used.
    warnings.filterwarnings("ignore", ".*option does not apply to tf.data")


def open_summaries(
    directory: str, trainer: Trainer
) -> tf.summary.SummaryWriter:
    """Opens the logs; iterations that are done again count only once."""
    # TF1: a session's start in the log hides what an earlier one wrote beyond.
    # TF2: the same, in a file by itself: the new writer has no such record.
    first = trainer.global_step + 1
    try:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            start = tf.compat.v1.SessionLog(
                status=tf.compat.v1.SessionLog.START
            )
            log = tf.compat.v1.summary.FileWriter(directory, session=session)
            log.add_session_log(start, first)
            log.close()
        return tf.summary.create_file_writer(directory)
    except tf.errors.OpError as error:
        raise unwritable(directory, error) from error


def close_summaries(writer: tf.summary.SummaryWriter, directory: str) -> None:
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
    _check_backend()
    with Run(config) as run:
        configure_runtime(config)
        trainer = Trainer(
            config.spec(), config.update_ops, config.dtype, config.precision
        )
        checkpointer = Checkpointer(
            trainer, run.path("checkpoints"), config.keep_checkpoints
        )
        trainer.initialize(config.seed)
        if config.resume and checkpointer.latest():
            checkpointer.restore()
        run.start(trainer.global_step)
        writer = open_summaries(run.path("logs"), trainer)
        train_step = trainer.train_step
        if config.jit_compile:
            train_step = tf.function(train_step, jit_compile=True)
        # TF1: each batch is fed to the session.
        # TF2: as an argument. On a CPU a `tf.data` pipeline would only cost:
        # its threads hand a batch over more slowly than it is made.
        for images, latent in run.batches.iterate(run.step, run.total_steps):
            run.record(*train_step(images, latent))
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

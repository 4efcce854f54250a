"""The hazard catalogue's faults, each put into `tf2gan` on purpose.

Every entry plants one hazard of `tf2gan.migration.hazards`, and says where the lockstep
must find it first. The texts stand there; here is the code.
"""

import dataclasses
from typing import Callable, Optional

import keras
import numpy as np
import tensorflow as tf

from tf2gan import layers, losses, optimizers, training
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.migration.hazards import HAZARDS
from tf2gan.models import dcgan28


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A fault and where it shows first.

    Attributes:
      key: of the hazard.
      kind: of the first difference, one of `lockstep.KINDS`.
      place: what the name of the first difference begins with.
      phase: of the first difference.
      apply: takes (monkeypatch, trainer settings) and puts the fault in; returns the
        faulty trainer.
      update_ops: the policy to run it under.
      dtype: the type to run it in.
      finding: what the report's cause must say; None if it can name no cause.
    """

    key: str
    kind: str
    place: str
    phase: str
    apply: Callable
    update_ops: str = "source"
    dtype: str = "float64"
    finding: Optional[str] = ""

    @property
    def title(self) -> str:
        """The hazard's title."""
        return HAZARDS[self.key].title


MUTATIONS = []
D_STEP, G_STEP = "discriminator_step", "generator_step"


def mutation(
    key: str, kind: str, place: str, phase: str, **settings: Optional[str]
) -> Callable:
    """Enters a function that puts the hazard `key` into a trainer."""

    def enter(function):
        MUTATIONS.append(
            Mutation(key, kind, place, phase, function, **settings)
        )
        return function

    return enter


def _trainer(spec, update_ops, dtype, **changes):
    return training.Trainer(
        dataclasses.replace(spec, **changes), update_ops, dtype
    )


def _spec_mutation(key, kind, place, phase, finding, **changes):
    """Enters a fault that is a wrong constant."""

    def apply(monkeypatch, *settings):
        return _trainer(*settings, **changes)

    mutation(key, kind, place, phase, finding=finding)(apply)


_spec_mutation(
    "batch-norm-momentum",
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
    "momentum 0.9 instead of 0.99",
    batch_norm_momentum=0.9,
)
_spec_mutation(
    "batch-norm-momentum-inverted",
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
    "momentum 0.01 instead of 0.99",
    batch_norm_momentum=0.01,
)
_spec_mutation(
    "batch-norm-epsilon",
    "activation",
    "generator/batch_normalization",
    D_STEP,
    "epsilon 1e-05 instead of 0.001",
    batch_norm_epsilon=1e-5,
)
_spec_mutation(
    "leaky-relu-slope",
    "activation",
    "discriminator/conv2d_1",
    D_STEP,
    "slope 0.3 instead of 0.2",
    leaky_relu_slope=0.3,
)
_spec_mutation(
    "adam-epsilon",
    "weight",
    "discriminator/",
    D_STEP,
    "epsilon 1e-07 instead of 1e-08",
    adam_epsilon=1e-7,
)
_spec_mutation(
    "adam-beta1",
    "slot",
    "beta1_power",
    D_STEP,
    "beta1 0.5 instead of 0.9",
    beta1=0.5,
)
_spec_mutation(
    "adam-beta2",
    "slot",
    "beta2_power",
    D_STEP,
    "beta2 0.99 instead of 0.999",
    beta2=0.99,
)
_spec_mutation(
    "learning-rate",
    "weight",
    "discriminator/",
    D_STEP,
    "learning rate 0.0002 instead of 0.001",
    learning_rate=2e-4,
)


def _with_scopes(settings, scopes_d, scopes_g):
    trainer = _trainer(*settings)
    trainer._scopes_d, trainer._scopes_g = scopes_d, scopes_g
    return trainer


@mutation(
    "updates-never-run",
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
)
def _updates_never_run(monkeypatch, *settings):
    return _with_scopes(settings, (), ())


@mutation(
    "updates-scoped",
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
    finding="averages of the generator",
)
def _scoped_for_source(monkeypatch, *settings):
    return _with_scopes(settings, (DISCRIMINATOR,), (GENERATOR,))


@mutation(
    "updates-unscoped",
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
    update_ops="scoped",
    finding="averages of the generator",
)
def _source_for_scoped(monkeypatch, *settings):
    both = (GENERATOR, DISCRIMINATOR)
    return _with_scopes(settings, both, both)


@mutation(
    "updates-without-real",
    "moving average",
    "discriminator/batch_normalization/moving_mean",
    G_STEP,
    finding="on generated images only",
)
def _no_real_images_in_the_generator_step(monkeypatch, *settings):
    trainer = _trainer(*settings)
    whole = trainer.generator_step

    def step(images, latent):
        called = trainer.discriminator
        skipped = []

        def discriminator(inputs, training):
            if not skipped:  # the first call is that on the real images
                skipped.append(inputs)
                return None
            return called(inputs, training=training)

        trainer.discriminator = _Callable(discriminator, called)
        try:
            return whole(images, latent)
        finally:
            trainer.discriminator = called

    trainer.generator_step = step
    return trainer


class _Callable:
    """A network that is called by another function."""

    def __init__(self, function, network):
        self._function, self._network = function, network

    def __call__(self, inputs, training):
        return self._function(inputs, training)

    def __getattr__(self, name):
        return getattr(self._network, name)


@mutation(
    "updates-reversed",
    "moving average",
    "discriminator/batch_normalization/moving_mean",
    D_STEP,
    finding="generated before real",
)
def _fake_before_real(monkeypatch, *settings):
    trainer = _trainer(*settings)
    updates = []
    update = layers._update

    def later(average, value, decay):
        updates.append((average, tf.identity(value), decay))

    step = trainer.discriminator_step

    def reversed_step(images, latent):
        monkeypatch.setattr(layers, "_update", later)
        loss = step(images, latent)
        for average, value, decay in reversed(updates):
            update(average, value, decay)
        updates.clear()
        monkeypatch.setattr(layers, "_update", update)
        return loss

    trainer.discriminator_step = reversed_step
    return trainer


@mutation(
    "updates-race",
    "moving average",
    "discriminator/batch_normalization/moving_mean",
    D_STEP,
    finding="both read the old value",
)
def _both_from_the_old_value(monkeypatch, *settings):
    trainer = _trainer(*settings)
    step, update = trainer.discriminator_step, layers._update

    def stale_step(images, latent):
        old = {id(v): v.numpy() for v in trainer.variables().values()}

        def stale(average, value, decay):
            average.assign_sub((old[id(average)] - value) * decay)

        monkeypatch.setattr(layers, "_update", stale)
        loss = step(images, latent)
        monkeypatch.setattr(layers, "_update", update)
        return loss

    trainer.discriminator_step = stale_step
    return trainer


@mutation(
    "biased-variance",
    "moving average",
    "generator/batch_normalization",
    D_STEP,
    dtype="float32",
    finding="biased moving variance (factor (n-1)/n)",
)
def _biased_variance(monkeypatch, *settings):
    fused = layers.BatchNormalization._fused

    def biased(self, inputs, gamma, beta, training):
        outputs, mean, variance = fused(self, inputs, gamma, beta, training)
        count = tf.cast(tf.size(inputs) / tf.size(mean), variance.dtype)
        return (
            outputs,
            mean,
            variance * (count - 1) / count if training else variance,
        )

    monkeypatch.setattr(layers.BatchNormalization, "_fused", biased)
    return _trainer(*settings)


@mutation(
    "frozen-inference",
    "activation",
    "discriminator_1/batch_normalization",
    G_STEP,
)
def _frozen_is_inference(monkeypatch, *settings):
    trainer = _trainer(*settings)
    network = trainer.discriminator
    frozen = _Callable(lambda x, training: network(x, training=False), network)
    activations, step = trainer.activations, trainer.generator_step
    calls = []

    def watched(images, latent):
        calls.append(images)
        if len(calls) % 2:  # the discriminator's step comes first
            return activations(images, latent)
        training._activations, whole = _inference_probe, training._activations
        try:
            return activations(images, latent)
        finally:
            training._activations = whole

    def frozen_step(images, latent):
        trainer.discriminator = frozen
        try:
            return step(images, latent)
        finally:
            trainer.discriminator = network

    trainer.activations, trainer.generator_step = watched, frozen_step
    return trainer


_probe = training._activations


def _inference_probe(network, inputs, scope, training):
    """Probes a network, on generated images in inference mode."""
    on_generated = scope == DISCRIMINATOR + "_1"
    return _probe(network, inputs, scope, training and not on_generated)


@mutation("sampling-statistics", "sample", "generate", D_STEP)
def _sampling_with_batch_statistics(monkeypatch, *settings):
    trainer = _trainer(*settings)

    def generate(latent):
        with layers.update_ops([]):
            return trainer.generator(latent, training=True).numpy()

    trainer.generate = generate
    return trainer


@mutation(
    "evaluation-updates",
    "moving average",
    "discriminator/batch_normalization/moving_mean",
    D_STEP,
    finding="updated 3 times: real, real, generated",
)
def _evaluation_updates(monkeypatch, *settings):
    trainer = _trainer(*settings)
    step = trainer.discriminator_step

    def looked_at(images, latent):
        trainer.discriminator(images, training=True)
        return step(images, latent)

    trainer.discriminator_step = looked_at
    return trainer


@mutation(
    "step-count-shifted", "slot", "beta2_power", D_STEP, finding="off by +1"
)
def _step_count_off_by_one(monkeypatch, *settings):
    trainer = _trainer(*settings)
    load = trainer.load_state

    def load_late(state):
        powers = {n: v * 0.999 for n, v in state.items() if n == "beta2_power"}
        load(dict(state, **powers))

    trainer.load_state = load_late
    return trainer


@mutation("slots-exchanged", "slot", "discriminator/", D_STEP)
def _slots_exchanged(monkeypatch, *settings):
    trainer = _trainer(*settings)
    step, done = trainer.discriminator_step, []

    def exchanged(images, latent):
        loss = step(images, latent)
        if not done:
            done.append(True)
            for m, v in zip(trainer.optimizer_d.m, trainer.optimizer_d.v):
                kept = m.value.numpy()
                m.assign(v.value.numpy())
                v.assign(kept)
        return loss

    trainer.discriminator_step = exchanged
    return trainer


@mutation("powers-exact", "weight", "discriminator/", D_STEP)
def _powers_in_full_precision(monkeypatch, *settings):

    def exact(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, gradient.dtype)
        m, v = self.m[index].value, self.v[index].value
        beta1, beta2 = (
            np.float64(np.float32(b)) for b in (self.beta1, self.beta2)
        )
        m.assign_add((gradient - m) * (1 - beta1))
        v.assign_add((gradient * gradient - v) * (1 - beta2))
        rate = np.float64(np.float32(0.001)) * tf.sqrt(1 - 0.999**step)
        rate /= 1 - 0.9**step
        variable.assign_sub(rate * m / (tf.sqrt(v) + self.epsilon))

    monkeypatch.setattr(optimizers.Adam, "update_step", exact)
    return _trainer(*settings)


@mutation(
    "moment-rate-exact",
    "slot",
    "discriminator/",
    D_STEP,
    finding="by 0.001, TF1 by 0.000999987",
)
def _moments_by_the_number_as_written(monkeypatch, *settings):
    update = optimizers.Adam.update_step

    def exact(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self.m[index].value, self.v[index].value
        kept, old = tf.identity(variable), tf.identity(v)
        update(self, gradient, variable, learning_rate)
        first, second = (
            tf.cast(power.value, v.dtype)
            for power in (self.beta1_power, self.beta2_power)
        )
        v.assign(old + (gradient**2 - old) * (1 - self.beta2))
        rate = tf.cast(learning_rate, v.dtype) * tf.sqrt(1 - second)
        step = rate / (1 - first) * m / (tf.sqrt(v) + self.epsilon)
        variable.assign(kept - step)

    monkeypatch.setattr(optimizers.Adam, "update_step", exact)
    return _trainer(*settings)


@mutation("label-flipped", "loss", G_STEP, G_STEP)
def _flipped_label(monkeypatch, *settings):
    monkeypatch.setitem(
        losses.LOSSES,
        "sigmoid_cross_entropy",
        (
            losses.cross_entropy_discriminator,
            lambda fake: losses.sigmoid_cross_entropy(fake, 0.0),
        ),
    )
    return _trainer(*settings)


@mutation("loss-factor", "loss", D_STEP, D_STEP)
def _halved_loss(monkeypatch, *settings):
    monkeypatch.setitem(
        losses.LOSSES,
        "sigmoid_cross_entropy",
        (
            lambda r, f: losses.cross_entropy_discriminator(r, f) / 2,
            losses.cross_entropy_generator,
        ),
    )
    return _trainer(*settings)


@mutation(
    "label-smoothed",
    "loss",
    D_STEP,
    D_STEP,
    finding="labels 0.9 for real and 0 for",
)
def _smoothed_label(monkeypatch, *settings):
    monkeypatch.setitem(
        losses.LOSSES,
        "sigmoid_cross_entropy",
        (
            lambda real, fake: (
                losses.sigmoid_cross_entropy(real, 0.9)
                + losses.sigmoid_cross_entropy(fake, 0.0)
            ),
            losses.cross_entropy_generator,
        ),
    )
    return _trainer(*settings)


@mutation(
    "another-loss",
    "loss",
    D_STEP,
    D_STEP,
    finding="least squares against 1 and 0 instead of sigmoid cross entropy",
)
def _least_squares(monkeypatch, *settings):
    monkeypatch.setitem(
        losses.LOSSES,
        "sigmoid_cross_entropy",
        (
            lambda real, fake: tf.reduce_mean((real - 1) ** 2 + fake**2),
            losses.cross_entropy_generator,
        ),
    )
    return _trainer(*settings)


@mutation("loss-of-probabilities", "loss", D_STEP, D_STEP, finding=None)
def _probabilities(monkeypatch, *settings):

    def of_probabilities(logits, label):
        labels = tf.fill(tf.shape(logits), tf.constant(label, logits.dtype))
        return tf.reduce_mean(
            keras.losses.binary_crossentropy(labels, tf.sigmoid(logits * 4) / 1)
        )

    monkeypatch.setattr(losses, "sigmoid_cross_entropy", of_probabilities)
    return _trainer(*settings)


@mutation("simultaneous-updates", "loss", G_STEP, G_STEP)
def _simultaneous(monkeypatch, *settings):
    trainer = _trainer(*settings)
    step = trainer.discriminator_step
    early = []

    def note(images, latent):
        early[:] = [trainer.evaluate(images, latent)[1]]
        return step(images, latent)

    whole = trainer.generator_step

    def late(images, latent):
        whole(images, latent)
        return early[0]

    trainer.discriminator_step, trainer.generator_step = note, late
    return trainer


@mutation(
    "discriminator-twice",
    "slot",
    "beta1_power",
    D_STEP,
    finding="trained 2 times",
)
def _discriminator_twice(monkeypatch, *settings):
    trainer = _trainer(*settings)
    step = trainer.discriminator_step

    def twice(images, latent):
        loss = step(images, latent)
        step(images, latent)
        return loss

    trainer.discriminator_step = twice
    return trainer


@mutation("leaky-relu-at-zero", "gradient", "discriminator/conv2d/bias", D_STEP)
def _leaky_relu_at_zero(monkeypatch, *settings):
    monkeypatch.setattr(
        layers,
        "leaky_relu",
        lambda x, slope: keras.ops.where(x > 0, x, x * slope),
    )
    return _trainer(*settings)


@mutation(
    "float32-inside",
    "activation",
    "generator/dense",
    D_STEP,
    finding="generator/dense was rounded",
)
def _float32_in_between(monkeypatch, *settings):
    trainer = _trainer(*settings)
    dense = trainer.generator.get_layer("dense")
    call = dense.call

    def rounded(inputs):
        return tf.cast(tf.cast(call(inputs), tf.float32), tf.float64)

    dense.call = rounded
    return trainer


@mutation(
    "kernel-order",
    "activation",
    "generator/dense",
    D_STEP,
    finding="generator/dense/kernel is the reference's with its axis 0 reversed",
)
def _reversed_kernel(monkeypatch, *settings):
    trainer = _trainer(*settings)
    load = trainer.load_state

    def reversed_kernel(state):
        name = "generator/dense/kernel"
        load(dict(state, **{name: state[name][::-1]}))

    trainer.load_state = reversed_kernel
    return trainer


@mutation(
    "generator-output",
    "activation",
    "discriminator_1/conv2d",
    D_STEP,
    finding="sigmoid instead of tanh",
)
def _sigmoid_output(monkeypatch, *settings):
    monkeypatch.setattr(dcgan28.keras.ops, "tanh", keras.ops.sigmoid)
    return _trainer(*settings)


@mutation("trains-both", "weight", "generator/", D_STEP)
def _discriminator_step_trains_both(monkeypatch, *settings):
    trainer = _trainer(*settings)
    step = trainer.discriminator_step

    def both(images, latent):
        gradients = trainer.gradients(images, latent)
        loss = step(images, latent)
        for variable in trainer.generator.trainable_variables:
            variable.assign(variable.value + 1e-3 * gradients[variable.path])
        return loss

    trainer.discriminator_step = both
    return trainer


@mutation(
    "shared-global-step",
    "step count",
    "G_global_step",
    D_STEP,
    finding="G_global_step counts",
)
def _one_global_step(monkeypatch, *settings):
    trainer = _trainer(*settings)
    step = trainer.discriminator_step

    def counting(images, latent):
        loss = step(images, latent)
        trainer.optimizer_g.iterations.assign_add(1)
        return loss

    trainer.discriminator_step = counting
    return trainer


@mutation(
    "gradient-clipped", "slot", "discriminator/", D_STEP, finding="norm 0.001"
)
def _clipped_gradient(monkeypatch, *settings):
    trainer = _trainer(*settings)
    trainer.optimizer_d.clipnorm = 1e-3
    return trainer


@mutation(
    "image-range", "feed", "images", D_STEP, finding="[-1, 1] instead of [0, 1]"
)
def _another_range(monkeypatch, *settings):
    return _Refeeding(_trainer(*settings), lambda x, z: (2 * x - 1, z))


@mutation(
    "latent-distribution",
    "feed",
    "latent",
    D_STEP,
    finding="deviation 0.855 instead of 0.57",
)
def _normal_latents(monkeypatch, *settings):
    return _Refeeding(_trainer(*settings), lambda x, z: (x, 1.5 * z))


class _Refeeding:
    """A trainer that changes what it is fed."""

    def __init__(self, trainer, change):
        self._trainer, self._change = trainer, change

    def __getattr__(self, name):
        return getattr(self._trainer, name)

    def feed(self, images, latent):
        images, latent = self._change(images, latent)
        return {"images": images, "latent": latent}

    def discriminator_step(self, images, latent):
        return self._trainer.discriminator_step(*self._change(images, latent))

    def generator_step(self, images, latent):
        return self._trainer.generator_step(*self._change(images, latent))


@mutation("loss-summed", "loss", D_STEP, D_STEP, finding="factor 8")
def _summed_loss(monkeypatch, *settings):
    def summed(logits, label):
        labels = tf.fill(tf.shape(logits), tf.constant(label, logits.dtype))
        return tf.reduce_sum(
            tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
        )

    monkeypatch.setattr(losses, "sigmoid_cross_entropy", summed)
    return _trainer(*settings)


@mutation("gradient-sign", "slot", "discriminator/", D_STEP)
def _ascending_optimizer(monkeypatch, *settings):
    trainer = _trainer(*settings)
    apply = trainer.optimizer_d.apply

    def ascend(gradients, variables):
        apply([-gradient for gradient in gradients], variables)

    trainer.optimizer_d.apply = ascend
    return trainer


@mutation("slots-of-another", "slot", "discriminator/", D_STEP)
def _slots_of_another_variable(monkeypatch, *settings):
    """Once there are slots, two of the discriminator's go to one another."""
    trainer = _trainer(*settings)
    step = trainer.discriminator_step
    names = (
        "discriminator/batch_normalization/beta/Adam",
        "discriminator/batch_normalization/gamma/Adam",
    )

    def mixed_up(images, latent):
        loss = step(images, latent)
        one, other = (trainer.variables()[name] for name in names)
        kept = one.numpy()
        one.assign(other.numpy())
        other.assign(kept)
        return loss

    trainer.discriminator_step = mixed_up
    return trainer

"""The hazard catalogue: faults of a port from TF1 to TF2, each put in on purpose.

Every entry has a title, the cause, the symptom and the cure, for readers; and a
function that puts the fault into `tf2gan`, with the place where the lockstep must
find it first.
"""

import dataclasses
from typing import Callable, Tuple

import keras
import numpy as np
import tensorflow as tf

from tf2gan import layers, losses, optimizers, training
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.models import dcgan28


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A fault and where it shows first.

    Attributes:
      title: what is wrong, in a few words.
      cause: how it comes about.
      symptom: what one sees of it, or does not.
      cure: what to do.
      kind: of the first difference, one of `lockstep.KINDS`.
      place: what the name of the first difference begins with.
      phase: of the first difference.
      apply: takes (monkeypatch, trainer settings) and puts the fault in; returns the
        faulty trainer.
      update_ops: the policy to run it under.
      dtype: the type to run it in.
    """

    title: str
    cause: str
    symptom: str
    cure: str
    kind: str
    place: str
    phase: str
    apply: Callable
    update_ops: str = "source"
    dtype: str = "float64"


MUTATIONS = []
D_STEP, G_STEP = "discriminator_step", "generator_step"


def mutation(kind: str, place: str, phase: str, **settings: str) -> Callable:
    """Enters a function into the catalogue; its docstring is the entry's text."""

    def enter(function):
        texts = [
            line.strip() for line in function.__doc__.strip().split("\n\n")
        ]
        title, cause, symptom, cure = (" ".join(text.split()) for text in texts)
        MUTATIONS.append(
            Mutation(
                title,
                cause,
                symptom,
                cure,
                kind,
                place,
                phase,
                function,
                **settings,
            )
        )
        return function

    return enter


def _trainer(spec, update_ops, dtype, **changes):
    return training.Trainer(
        dataclasses.replace(spec, **changes), update_ops, dtype
    )


def _spec_mutation(kind, place, phase, texts, **changes):
    """Enters a fault that is a wrong constant."""

    def apply(monkeypatch, *settings):
        return _trainer(*settings, **changes)

    apply.__doc__ = texts
    mutation(kind, place, phase)(apply)


_spec_mutation(
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
    """Batch-norm momentum 0.9 instead of 0.99

    The papers' or another library's default was taken over.

    Training losses are the same; samples differ.

    Write out momentum: 0.99 in tf.layers and Keras, 0.999 in tf.contrib.layers.""",
    batch_norm_momentum=0.9,
)
_spec_mutation(
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
    """Batch-norm momentum from a framework that weighs the new value

    PyTorch's momentum is one minus TensorFlow's.

    The averages follow the last batch; losses are the same.

    Use one minus the number.""",
    batch_norm_momentum=0.01,
)
_spec_mutation(
    "activation",
    "generator/batch_normalization",
    D_STEP,
    """Batch-norm epsilon 1e-5 instead of 1e-3

    Papers and other libraries have 1e-5.

    Channels of low variance come out larger.

    Write out epsilon.""",
    batch_norm_epsilon=1e-5,
)
_spec_mutation(
    "activation",
    "discriminator/conv2d_1",
    D_STEP,
    """Leaky ReLU slope 0.3 instead of 0.2

    keras.layers.LeakyReLU has 0.3, tf.nn.leaky_relu 0.2.

    The loss is off from the first step.

    Write out the slope.""",
    leaky_relu_slope=0.3,
)
_spec_mutation(
    "weight",
    "discriminator/",
    D_STEP,
    """Adam's epsilon 1e-7 instead of 1e-8

    1e-8 is TF1's default, 1e-7 Keras's.

    Weights with small gradients move less; losses agree for a while.

    Pass epsilon=1e-8.""",
    adam_epsilon=1e-7,
)
_spec_mutation(
    "slot",
    "beta1_power",
    D_STEP,
    """Adam's beta1 0.5 instead of 0.9

    The DCGAN paper's value was put in while porting.

    The first step is the same size, later ones are not.

    Keep the constants of the code that is ported.""",
    beta1=0.5,
)
_spec_mutation(
    "slot",
    "beta2_power",
    D_STEP,
    """Adam's beta2 0.99 instead of 0.999

    A typing error, or another optimizer's default.

    As with beta1.

    Compare the slots, not only the losses.""",
    beta2=0.99,
)
_spec_mutation(
    "weight",
    "discriminator/",
    D_STEP,
    """Learning rate 2e-4 instead of 1e-3

    The paper's value was put in while porting.

    Slots agree after the first step, weights do not.

    Keep the constants of the code that is ported.""",
    learning_rate=2e-4,
)


def _with_scopes(settings, scopes_d, scopes_g):
    trainer = _trainer(*settings)
    trainer._scopes_d, trainer._scopes_g = scopes_d, scopes_g
    return trainer


@mutation("moving average", "generator/batch_normalization/moving_mean", D_STEP)
def _updates_never_run(monkeypatch, *settings):
    """UPDATE_OPS are never run

    Nothing depends on the collection, or the layers are called without training.

    Averages stay 0 and 1: losses look fine, samples are bad.

    Make the train op depend on them; in Keras call with training=True.
    """
    return _with_scopes(settings, (), ())


@mutation("moving average", "generator/batch_normalization/moving_mean", D_STEP)
def _scoped_for_source(monkeypatch, *settings):
    """Each step updates its own network only, where the original updates both

    The port does what one would write today.

    Averages move half as often: the effective momentum is another.

    Run both networks' updates in both steps, or decide for the change.
    """
    return _with_scopes(settings, (DISCRIMINATOR,), (GENERATOR,))


@mutation(
    "moving average",
    "generator/batch_normalization/moving_mean",
    D_STEP,
    update_ops="scoped",
)
def _source_for_scoped(monkeypatch, *settings):
    """Every step updates both networks, where the original updates its own

    A Keras layer updates whenever it is called for training.

    Averages move twice as often.

    Keep the other network's layers from updating; see tf2gan.layers.update_ops.
    """
    both = (GENERATOR, DISCRIMINATOR)
    return _with_scopes(settings, both, both)


@mutation(
    "moving average", "discriminator/batch_normalization/moving_mean", G_STEP
)
def _no_real_images_in_the_generator_step(monkeypatch, *settings):
    """The generator's step updates the discriminator on generated images only

    Under unscoped UPDATE_OPS the original feeds real images in that step too.

    The discriminator's averages lean to generated images.

    Call the discriminator on the real images too, or scope the updates.
    """
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
    "moving average", "discriminator/batch_normalization/moving_mean", D_STEP
)
def _fake_before_real(monkeypatch, *settings):
    """Generated images come before real ones

    The order of the calls was exchanged; in TF1 without an order it is a race.

    The discriminator's averages differ by some thousandths; losses agree.

    Call on real images first.
    """
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
    "moving average", "discriminator/batch_normalization/moving_mean", D_STEP
)
def _both_from_the_old_value(monkeypatch, *settings):
    """Two updates of one average both read its old value

    What unordered updates in one session.run of TF1 mostly do.

    As above; nothing in the losses.

    Order them: the second reads after the first has written.
    """
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
    "moving average",
    "generator/batch_normalization",
    D_STEP,
    dtype="float32",
)
def _biased_variance(monkeypatch, *settings):
    """The biased variance is averaged

    TF1's fused kernel returns n/(n-1) times it; Keras 3 averages it as it is.

    The averages are too small by 1/n; losses agree.

    Use tf2gan.layers.BatchNormalization.
    """
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


@mutation("activation", "discriminator_1/batch_normalization", G_STEP)
def _frozen_is_inference(monkeypatch, *settings):
    """A frozen discriminator normalizes with its moving averages

    trainable = False puts a Keras batch-norm layer into inference mode.

    The generator is trained against another discriminator than in TF1.

    Leave trainable alone: a tape takes gradients of the variables it is given.
    """
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


def _inference_probe(network, inputs, scope):
    if scope != DISCRIMINATOR + "_1":
        return _probe(network, inputs, scope)
    chosen = [layer for layer in network.layers if layer.weights]
    outputs = keras.Model(network.input, [layer.output for layer in chosen])(
        inputs, training=False
    )
    return {f"{scope}/{c.name}": o.numpy() for c, o in zip(chosen, outputs)}


@mutation("sample", "generate", D_STEP)
def _sampling_with_batch_statistics(monkeypatch, *settings):
    """Samples are drawn with the statistics of their batch

    The generator is called with training=True, or without the argument fed.

    An image depends on the others of its batch.

    Call with training=False.
    """
    trainer = _trainer(*settings)

    def generate(latent):
        with layers.update_ops([]):
            return trainer.generator(latent, training=True).numpy()

    trainer.generate = generate
    return trainer


@mutation(
    "moving average", "discriminator/batch_normalization/moving_mean", D_STEP
)
def _evaluation_updates(monkeypatch, *settings):
    """Evaluating a loss moves the averages

    updates_collections=None in TF1, or a Keras call with training=True.

    Looking at the run changes it.

    Evaluate without updates.
    """
    trainer = _trainer(*settings)
    step = trainer.discriminator_step

    def looked_at(images, latent):
        trainer.discriminator(images, training=True)
        return step(images, latent)

    trainer.discriminator_step = looked_at
    return trainer


@mutation("slot", "beta2_power", D_STEP)
def _step_count_off_by_one(monkeypatch, *settings):
    """The step count is carried over one too high

    TF1 stores beta^(t+1), which was taken for beta^t.

    The first steps after a move are a little too large.

    Recover t from beta2's power: log(power) / log(beta2) - 1.
    """
    trainer = _trainer(*settings)
    load = trainer.load_state

    def load_late(state):
        powers = {n: v * 0.999 for n, v in state.items() if n == "beta2_power"}
        load(dict(state, **powers))

    trainer.load_state = load_late
    return trainer


@mutation("slot", "discriminator/", D_STEP)
def _slots_exchanged(monkeypatch, *settings):
    """First and second moments are exchanged

    Keras's optimizer variables are numbered; TF1 names them Adam and Adam_1.

    No error: they have the same shapes. Training jumps.

    Carry slots over by name.
    """
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


@mutation("weight", "discriminator/", D_STEP)
def _powers_in_full_precision(monkeypatch, *settings):
    """Adam computes beta^t exactly

    Keras does; TF1 multiplies a float32 variable once per step.

    6e-6 in the first step; in float64 the runs part within a hundred.

    Use tf2gan.optimizers.Adam where it must agree.
    """

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


@mutation("loss", G_STEP, G_STEP)
def _flipped_label(monkeypatch, *settings):
    """The generator's label is flipped

    It asks for 0 on generated images, the discriminator's target.

    The generator learns to be found out.

    Ask for 1: the loss is -log D(G(z)).
    """
    monkeypatch.setitem(
        losses.LOSSES,
        "sigmoid_cross_entropy",
        (
            losses.cross_entropy_discriminator,
            lambda fake: losses.sigmoid_cross_entropy(fake, 0.0),
        ),
    )
    return _trainer(*settings)


@mutation("loss", D_STEP, D_STEP)
def _halved_loss(monkeypatch, *settings):
    """The discriminator's two losses are averaged instead of added

    Many ports write (real + fake) / 2.

    With Adam hardly anything but the reported loss and epsilon's share.

    Add them.
    """
    monkeypatch.setitem(
        losses.LOSSES,
        "sigmoid_cross_entropy",
        (
            lambda r, f: losses.cross_entropy_discriminator(r, f) / 2,
            losses.cross_entropy_generator,
        ),
    )
    return _trainer(*settings)


@mutation("loss", D_STEP, D_STEP)
def _smoothed_label(monkeypatch, *settings):
    """The label of real images is 0.9

    One-sided label smoothing was put in while porting.

    The discriminator's loss has another floor.

    Keep the labels of the code that is ported.
    """
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


@mutation("loss", D_STEP, D_STEP)
def _probabilities(monkeypatch, *settings):
    """Cross entropy of probabilities

    Keras clips them at 1e-7 unless from_logits=True.

    A confident logit costs 16 at most: its gradient is gone.

    Take it of logits.
    """

    def of_probabilities(logits, label):
        labels = tf.fill(tf.shape(logits), tf.constant(label, logits.dtype))
        return tf.reduce_mean(
            keras.losses.binary_crossentropy(labels, tf.sigmoid(logits * 4) / 1)
        )

    monkeypatch.setattr(losses, "sigmoid_cross_entropy", of_probabilities)
    return _trainer(*settings)


@mutation("loss", G_STEP, G_STEP)
def _simultaneous(monkeypatch, *settings):
    """Both gradients come from one forward pass

    Tutorials for TF2 update both networks at once; the original takes turns.

    The generator answers the discriminator of the step before.

    Take turns.
    """
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


@mutation("slot", "beta1_power", D_STEP)
def _discriminator_twice(monkeypatch, *settings):
    """The discriminator is trained twice per iteration

    Two fetches of its train op, or a loop from another GAN.

    It wins too early.

    Fetch its train op once.
    """
    trainer = _trainer(*settings)
    step = trainer.discriminator_step

    def twice(images, latent):
        loss = step(images, latent)
        step(images, latent)
        return loss

    trainer.discriminator_step = twice
    return trainer


@mutation("gradient", "discriminator/conv2d/bias", D_STEP)
def _leaky_relu_at_zero(monkeypatch, *settings):
    """Leaky ReLU's gradient at exactly 0

    max(x, 0.2 x) passes 1 there, tf.nn.leaky_relu 0.2 (which it also rounds to
    float32, so that in float64 the activations differ by 1e-9 too).

    Black pixels under zero biases are zeros: the first step differs, losses agree.

    Write the maximum, if the original does.
    """
    monkeypatch.setattr(
        layers,
        "leaky_relu",
        lambda x, slope: keras.ops.where(x > 0, x, x * slope),
    )
    return _trainer(*settings)


@mutation("activation", "generator/dense", D_STEP)
def _float32_in_between(monkeypatch, *settings):
    """A float64 model that computes in float32

    set_floatx came after the first layer, or an input was cast.

    A test in float64 that proves nothing.

    Assert the variables' dtype.
    """
    trainer = _trainer(*settings)
    dense = trainer.generator.get_layer("dense")
    call = dense.call

    def rounded(inputs):
        return tf.cast(tf.cast(call(inputs), tf.float32), tf.float64)

    dense.call = rounded
    return trainer


@mutation("activation", "generator/dense", D_STEP)
def _reversed_kernel(monkeypatch, *settings):
    """A kernel is carried over in another order

    Its rows were reversed or transposed; a square kernel was read column by column.

    No error where the shape allows it.

    Verify an import by running both sides.
    """
    trainer = _trainer(*settings)
    load = trainer.load_state

    def reversed_kernel(state):
        name = "generator/dense/kernel"
        load(dict(state, **{name: state[name][::-1]}))

    trainer.load_state = reversed_kernel
    return trainer


@mutation("activation", "discriminator_1/conv2d", D_STEP)
def _sigmoid_output(monkeypatch, *settings):
    """The generator ends in a sigmoid instead of a tanh

    The images lie in [0, 1], so the port put the output there too.

    Other samples, other gradients; training may even look better.

    Port first, improve afterwards.
    """
    monkeypatch.setattr(dcgan28.keras.ops, "tanh", keras.ops.sigmoid)
    return _trainer(*settings)


@mutation("weight", "generator/", D_STEP)
def _discriminator_step_trains_both(monkeypatch, *settings):
    """The discriminator's step moves the generator too

    minimize without var_list, or a tape over both networks' variables.

    The generator is trained to help the discriminator.

    Give each optimizer its own variables.
    """
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


@mutation("step count", "G_global_step", D_STEP)
def _one_global_step(monkeypatch, *settings):
    """One global step for both optimizers

    Both minimize calls were given the same variable.

    Schedules and summaries run at twice the pace.

    One step variable per optimizer.
    """
    trainer = _trainer(*settings)
    step = trainer.discriminator_step

    def counting(images, latent):
        loss = step(images, latent)
        trainer.optimizer_g.iterations.assign_add(1)
        return loss

    trainer.discriminator_step = counting
    return trainer


@mutation("slot", "discriminator/", D_STEP)
def _clipped_gradient(monkeypatch, *settings):
    """Gradients are clipped

    clipnorm came along with the optimizer's arguments.

    Slots and weights differ where gradients are large.

    Keep the constants of the code that is ported.
    """
    trainer = _trainer(*settings)
    trainer.optimizer_d.clipnorm = 1e-3
    return trainer


@mutation("feed", "images", D_STEP)
def _another_range(monkeypatch, *settings):
    """Images in [-1, 1] instead of [0, 1]

    The tanh suggests it; the original did not do it.

    The discriminator sees other data.

    Check minimum and maximum of the first batch.
    """
    return _Refeeding(_trainer(*settings), lambda x, z: (2 * x - 1, z))


@mutation("feed", "latent", D_STEP)
def _normal_latents(monkeypatch, *settings):
    """Latents from another distribution

    tf.random.normal is the habit of TF2 tutorials; the original is uniform.

    Samples of a converted generator look wrong, or too bold.

    Draw as the original does.
    """
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


def texts(entry: Mutation) -> Tuple[str, str, str, str]:
    """Returns title, cause, symptom and cure."""
    return entry.title, entry.cause, entry.symptom, entry.cure

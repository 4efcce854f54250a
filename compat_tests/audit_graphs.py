"""Small graphs with one fault each, and what a run of their train ops changes.

They build on TensorFlow 1.15.5 with `tf.layers` and `tf.contrib`, and on 2.x with
`tf1gan.layers`. As a program it builds all of them, writes .meta files and observes:

    python compat_tests/audit_graphs.py FOLDER
"""

import collections
import json
import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from tf1gan import layers as own_layers

IS_1X = tf.__version__.startswith("1.")
# Halves are exact: after k updates towards zero an average of 1 is 0.5^k.
MOMENTUM = 0.5
BATCH = 4
UNITS = 4

# What a graph's builder gives: the operations that one would run to train, and the
# Saver if there is one.
Built = collections.namedtuple("Built", "train_ops saver")
Gan = collections.namedtuple("Gan", "loss_d loss_g")

BUILDERS = {}


def graph(function):
    """Registers a builder by its name."""
    BUILDERS[function.__name__] = function
    return function


def only(condition):
    """Registers a builder where it can build."""
    return graph if condition else (lambda function: function)


# Layers.


def layers_module():
    """Returns the layers that a script of its time would use."""
    return tf.layers if IS_1X else own_layers


def official(x, training, name):
    """Batch norm of `tf.layers`, or of its stand-in."""
    layer = layers_module().batch_normalization
    return layer(x, momentum=MOMENTUM, training=training, name=name)


def own(x, training, name):
    """Batch norm that orders the updates of one average."""
    return own_layers.batch_normalization(
        x, momentum=MOMENTUM, training=training, name=name
    )


def by_hand(x, training, name, update="collect"):
    """Batch norm as people wrote it; `update` says what becomes of the updates."""
    with tf.variable_scope(name):
        mean, variance = tf.nn.moments(x, [0])
        averages = _averages()
        updates = [
            _update(average, value, update)
            for average, value in zip(averages, (mean, variance))
        ]
        if update != "in place":
            for operation in updates:
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, operation)
            updates = []
        used = _either(training, (mean, variance), averages, updates)
        return _normalized(x, *used)


def _update(average, value, update):
    if update == "assign":
        new = average * MOMENTUM + value * (1 - MOMENTUM)
        return tf.assign(average, new).op
    return tf.assign_sub(average, (average - value) * (1 - MOMENTUM)).op


def updated_in_a_branch(x, training, name):
    """Batch norm whose updates are the branches of a condition."""
    with tf.variable_scope(name):
        moments = tf.nn.moments(x, [0])
        averages = _averages()
        used = []
        for average, value in zip(averages, moments):

            def moved(average=average, value=value):
                delta = (average - value) * (1 - MOMENTUM)
                return tf.identity(tf.assign_sub(average, delta))

            def kept(average=average):
                return tf.identity(average)

            def of_batch(value=value):
                return tf.identity(value)

            update = tf.cond(training, moved, kept)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            used.append(tf.cond(training, of_batch, kept))
        return _normalized(x, *used)


def with_moving_moments(x, training, name):
    """Batch norm of the first DCGANs: an average of moments, updated in place."""
    with tf.variable_scope(name):
        mean, variance = tf.nn.moments(x, [0])
        average = tf.train.ExponentialMovingAverage(MOMENTUM)
        apply = average.apply([mean, variance])
        averages = [average.average(mean), average.average(variance)]
        used = _either(training, (mean, variance), averages, [apply])
        return _normalized(x, *used)


def by_contrib(x, training, name):
    """Batch norm of `tf.contrib.layers` that updates in place."""
    from tensorflow.contrib import layers

    return layers.batch_norm(
        x,
        decay=MOMENTUM,
        is_training=training,
        updates_collections=None,
        scale=True,
        scope=name,
    )


def _averages():
    return [
        tf.get_variable(
            name,
            [UNITS],
            initializer=tf.constant_initializer(value),
            trainable=False,
        )
        for name, value in (("moving_mean", 0.0), ("moving_variance", 1.0))
    ]


def _either(training, moments, averages, first=()):
    """Returns the batch's moments, `first` done before, or the averages."""

    def of_batch():
        with tf.control_dependencies(list(first)):
            return tuple(tf.identity(moment) for moment in moments)

    def of_all():
        return tuple(tf.identity(average) for average in averages)

    return tf.cond(training, of_batch, of_all)


def _normalized(x, mean, variance):
    gamma = tf.get_variable("gamma", [UNITS], initializer=tf.ones_initializer())
    beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


# Networks.


def gan(normalize=official, training=None, twice=False, loss=tf.identity):
    """Builds both networks.

    Args:
      normalize: batch norm of both.
      training: its flag; a placeholder if None.
      twice: whether the discriminator sees real and generated images in turn, or
        both at once. In turn, its averages have two updates each.
      loss: what is made of the discriminator's loss.
    """
    images = tf.placeholder(tf.float32, [None, 2], name="images")
    latent = tf.placeholder(tf.float32, [None, 3], name="latent")
    flag = tf.placeholder(tf.bool, [], name="is_training")
    training = flag if training is None else training
    fake_images = generator(latent, training, normalize)
    if twice:
        real = discriminator(images, training, normalize)
        fake = discriminator(fake_images, training, normalize)
    else:
        both = tf.concat([images, fake_images], 0)
        logits = discriminator(both, training, normalize)
        real, fake = logits[:BATCH], logits[BATCH:]
    loss_d = tf.reduce_mean(tf.square(real - 1)) + tf.reduce_mean(
        tf.square(fake)
    )
    return Gan(loss(loss_d), tf.reduce_mean(tf.square(fake - 1)))


def generator(latent, training, normalize):
    """Returns points of the plane, [B, 2]; its batch norm is the fused one."""
    with tf.variable_scope("generator", reuse=tf.AUTO_REUSE):
        x = layers_module().dense(latent, UNITS, name="dense")  # [B, UNITS]
        if normalize is official:
            x = tf.reshape(x, [-1, 1, 1, UNITS])  # [B, 1, 1, UNITS]
        x = normalize(x, training, "norm")
        x = tf.nn.relu(tf.reshape(x, [-1, UNITS]))  # [B, UNITS]
        return layers_module().dense(x, 2, name="dense_1")  # [B, 2]


def discriminator(points, training, normalize):
    """Returns logits [B, 1]; its batch norm is that of matrices."""
    with tf.variable_scope("discriminator", reuse=tf.AUTO_REUSE):
        x = layers_module().dense(points, UNITS, name="dense")  # [B, UNITS]
        x = tf.nn.relu(normalize(x, training, "norm"))
        return layers_module().dense(x, 1, name="dense_1")  # [B, 1]


def updates_of(network=None):
    """Returns the updates of a network, or all."""
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS, network)


def train(loss, network, updates=(), step=None, optimizer=None):
    """Returns a train op named after its network."""
    optimizer = optimizer or tf.train.AdamOptimizer(2e-4, beta1=0.5)
    variables = tf.trainable_variables(network)
    with tf.control_dependencies(list(updates)):
        return optimizer.minimize(
            loss, step, variables, name="train_" + network
        )


def scoped(losses, **arguments):
    """Returns train ops that each run the updates of their own network."""
    return [
        train(loss, network, updates_of(network), **arguments)
        for loss, network in zip(losses, ("discriminator", "generator"))
    ]


# Graphs without a fault.


@graph
def scoped_updates():
    return Built(scoped(gan()), tf.train.Saver())


@graph
def pinned_updates():
    return Built(scoped(gan(own, twice=True)), None)


@graph
def assigned_averages():
    def normalize(x, training, name):
        return by_hand(x, training, name, "assign")

    return Built(scoped(gan(normalize)), None)


@graph
def updates_in_branches():
    return Built(scoped(gan(updated_in_a_branch)), None)


@graph
def grouped_updates():
    losses = gan()
    train_ops = [
        tf.group(
            train(loss, network), *updates_of(network), name="both_" + network
        )
        for loss, network in zip(losses, ("discriminator", "generator"))
    ]
    return Built(train_ops, None)


@graph
def averaged_weights():
    train_d, train_g = scoped(gan())
    average = tf.train.ExponentialMovingAverage(MOMENTUM)
    with tf.control_dependencies([train_g]):
        train_g = tf.group(
            average.apply(tf.trainable_variables("generator")), name="averaged"
        )
    return Built([train_d, train_g], None)


def _one_after_the_other(*networks):
    """Returns train ops, each of which runs the one before it."""
    losses = gan()
    named = {"discriminator": losses.loss_d, "generator": losses.loss_g}
    train_ops = []
    for network in networks:
        with tf.control_dependencies(train_ops[-1:]):
            train_ops.append(
                train(named[network], network, updates_of(network))
            )
    return train_ops


@graph
def generator_after_discriminator():
    return Built(_one_after_the_other("discriminator", "generator"), None)


@graph
def discriminator_after_generator():
    return Built(_one_after_the_other("generator", "discriminator"), None)


def _scoped_with(use_resource):
    scope = tf.get_variable_scope()
    with tf.variable_scope(scope, use_resource=use_resource):
        return scoped(gan())


@graph
def both_in_a_group():
    """A resource is read once, for both steps; see also the same of references."""
    train_d, train_g = _scoped_with(use_resource=True)
    both = tf.group(train_d, train_g, name="both")
    with tf.control_dependencies([both]):
        tf.identity(tf.get_variable("noise", [], trainable=False), "read")
    return Built([train_d, train_g, both], None)


@graph
def averaged_and_grouped():
    train_d, train_g = _scoped_with(use_resource=True)
    averaged = tf.group(_averaged(train_g), name="averaged")
    both = tf.group(train_d, averaged, name="both")
    return Built([train_d, averaged, both], None)


@graph
def averaged_after_both():
    train_d, train_g = _one_after_the_other("discriminator", "generator")
    averaged = tf.group(_averaged(train_g), name="averaged")
    return Built([train_d, averaged], None)


def _averaged(train_op):
    average = tf.train.ExponentialMovingAverage(MOMENTUM)
    with tf.control_dependencies([train_op]):
        return average.apply(tf.trainable_variables("generator"))


@graph
def steps_are_read_afterwards():
    losses = gan()
    train_ops = []
    for loss, network in zip(losses, ("discriminator", "generator")):
        with tf.variable_scope(network):
            step = tf.get_variable("step", [], tf.int32, trainable=False)
        train_op = train(loss, network, updates_of(network), step)
        with tf.control_dependencies([train_op]):
            read = tf.identity(step, "read_" + network)
            tf.summary.scalar("step_of_" + network, read)
        train_ops.append(train_op.op if hasattr(train_op, "op") else train_op)
    return Built(train_ops, None)


@graph
def losses_are_the_train_ops():
    """As `slim.learning.create_train_op` makes them, and TFGAN with it."""
    losses = gan()
    train_ops = []
    for loss, train_op in zip(losses, scoped(losses)):
        with tf.control_dependencies([train_op]):
            value = tf.identity(loss, "run_" + train_op.name)
        tf.add_to_collection("train_op", value)
        train_ops.append(value.op)
    return Built(train_ops, None)


@graph
def trained_in_a_condition():
    losses = gan()
    train_d = train(losses.loss_d, "discriminator", updates_of("discriminator"))
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    variables = tf.trainable_variables("generator")
    with tf.control_dependencies(updates_of("generator")):
        train_g = tf.cond(
            tf.placeholder_with_default(True, [], name="turn"),
            lambda: tf.group(
                optimizer.minimize(losses.loss_g, var_list=variables)
            ),
            tf.no_op,
        )
    return Built([train_d, getattr(train_g, "op", train_g)], None)


@only(IS_1X)
def trained_in_a_loop():
    """Some steps of the discriminator for one of the generator, in the graph."""
    losses = gan()
    train_g = train(losses.loss_g, "generator", updates_of("generator"))
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    weight = tf.get_variable("discriminator/scale", [2])

    def step(count):
        loss = tf.reduce_sum(tf.square(weight))
        train_d = optimizer.minimize(loss, var_list=[weight])
        with tf.control_dependencies([train_d]):
            return count + 1

    with tf.control_dependencies(updates_of("discriminator")):
        loop = tf.while_loop(lambda n: n < 3, step, [tf.constant(0)])
    return Built([train_g, loop.op], None)


@graph
def weights_clipped_in_a_list():
    """A Python list of operations is no operation: it has no name to run."""
    train_d, train_g = scoped(gan())
    _clipped(train_d)
    return Built([train_d, train_g], None)


@graph
def weights_clipped_in_a_group():
    train_d, train_g = scoped(gan())
    clipped = tf.group(*_clipped(train_d), name="clipped")
    return Built([clipped, train_g], None)


def _clipped(*first):
    with tf.control_dependencies(first):
        return [
            tf.assign(weight, tf.clip_by_value(weight, -0.01, 0.01))
            for weight in tf.trainable_variables("discriminator")
        ]


@graph
def a_saver_for_each_network():
    train_ops = scoped(gan())
    for network in ("generator", "discriminator"):
        tf.train.Saver(tf.global_variables(network))
    return Built(train_ops, tf.train.Saver(sharded=True))


@graph
def loss_in_a_loop():
    def loop(loss):
        _, factor = tf.while_loop(
            lambda i, x: i < 3,
            lambda i, x: (i + 1, x * 0.5),
            (tf.constant(0), tf.stop_gradient(loss)),
        )
        return loss * factor

    return Built(scoped(gan(loss=loop)), None)


@graph
def saved_in_the_old_format():
    train_ops = scoped(gan())
    saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
    return Built(train_ops, saver)


# Graphs with a fault.


@graph
def updates_not_run():
    losses = gan()
    return Built(
        [
            train(losses.loss_d, "discriminator"),
            train(losses.loss_g, "generator"),
        ],
        None,
    )


@graph
def updates_before_the_constructor_only():
    losses = gan()
    with tf.control_dependencies(updates_of()):
        optimizers = [tf.train.AdamOptimizer(2e-4) for _ in losses]
    train_ops = [
        train(loss, network, optimizer=optimizer)
        for loss, network, optimizer in zip(
            losses, ("discriminator", "generator"), optimizers
        )
    ]
    return Built(train_ops, None)


@graph
def updates_of_real_images_only():
    losses = gan(by_hand, twice=True)
    of_discriminator = updates_of("discriminator")
    train_d = train(losses.loss_d, "discriminator", of_discriminator[:2])
    train_g = train(losses.loss_g, "generator", updates_of("generator"))
    return Built([train_d, train_g], None)


@graph
def updates_of_both_networks():
    losses = gan()
    train_ops = [
        train(loss, network, updates_of())
        for loss, network in zip(losses, ("discriminator", "generator"))
    ]
    return Built(train_ops, None)


@graph
def racing_updates():
    normalize = official if IS_1X else by_hand
    return Built(scoped(gan(normalize, twice=True)), None)


@graph
def in_place_by_hand():
    def normalize(x, training, name):
        return by_hand(x, training, name, "in place")

    return Built(scoped(gan(normalize)), None)


@graph
def in_place_by_moving_moments():
    return Built(scoped(gan(with_moving_moments)), None)


@only(IS_1X)
def in_place_by_contrib():
    return Built(scoped(gan(by_contrib)), None)


@graph
def never_in_training_mode():
    return Built(scoped(gan(training=False)), None)


@graph
def always_in_training_mode():
    return Built(scoped(gan(training=True)), None)


@graph
def a_constant_decides():
    return Built(scoped(gan(by_hand, training=tf.constant(True))), None)


@graph
def averages_not_saved():
    train_ops = scoped(gan())
    return Built(train_ops, tf.train.Saver(tf.trainable_variables()))


@graph
def averages_not_saved_in_the_old_format():
    train_ops = scoped(gan())
    saver = tf.train.Saver(
        tf.trainable_variables(), write_version=tf.train.SaverDef.V1
    )
    return Built(train_ops, saver)


@graph
def averages_left_out_of_one_saver():
    train_ops = scoped(gan())
    tf.train.Saver()
    tf.train.Saver(tf.trainable_variables("generator"))
    return Built(train_ops, tf.train.Saver())


@only(IS_1X)
def both_of_references_in_a_group():
    train_ops = _scoped_with(use_resource=False)
    return Built([*train_ops, tf.group(*train_ops, name="both")], None)


@graph
def clipped_in_one_group_with_the_step():
    train_d, train_g = scoped(gan())
    both = tf.group(train_d, *_clipped(), name="clipped")
    return Built([both, train_g], None)


@graph
def gradients_before_both_steps():
    """Simultaneous steps: all gradients are there before a weight moves."""
    losses = gan()
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    pairs = [
        optimizer.compute_gradients(loss, tf.trainable_variables(network))
        for loss, network in zip(losses, ("discriminator", "generator"))
    ]
    gradients = [gradient for some in pairs for gradient, _ in some]
    with tf.control_dependencies(updates_of() + gradients):
        train_ops = [
            optimizer.apply_gradients(some, name="train_" + network)
            for some, network in zip(pairs, ("discriminator", "generator"))
        ]
    return Built([*train_ops, tf.group(*train_ops, name="both")], None)


@graph
def one_step_for_both():
    losses = gan()
    step = tf.train.get_or_create_global_step()
    return Built(scoped(losses, step=step), None)


@graph
def text_in_the_loss():
    def loss(value):
        length = tf.strings.length(tf.as_string(value, name="text"))
        return value * tf.cast(length, tf.float32)

    return Built(scoped(gan(loss=loss)), None)


@only(IS_1X)
def resampled_by_contrib():
    from tensorflow.contrib import resampler

    losses = gan()
    picture = tf.zeros([1, 4, 4, 1])
    resampler.resampler(picture, tf.zeros([1, 2]), name="resampled")
    return Built(scoped(losses), None)


@only(not IS_1X)
def updates_in_a_function():
    """The whole batch norm lies in a function, which updates when it is called."""

    def normalize(x, training, name):
        with tf.variable_scope(name, use_resource=True):
            averages = _averages()

            @tf.function
            def moments_of(x):
                moments = tf.nn.moments(x, [0])
                for average, value in zip(averages, moments):
                    average.assign_sub((average - value) * (1 - MOMENTUM))
                return moments

            used = _either(training, moments_of(x), averages)
            return _normalized(x, *used)

    return Built(scoped(gan(normalize)), None)


# The same conditions and loops as TensorFlow's other control flow writes them: as
# functions on 1.15.5, as Switch and Merge on 2.x.


def _with_other_control_flow(builder):
    def other():
        usual = tf.control_flow_v2_enabled()
        turn = [tf.enable_control_flow_v2, tf.disable_control_flow_v2]
        turn[usual]()
        try:
            return builder()
        finally:
            turn[not usual]()

    return other


OTHER = "_with_other_control_flow"
# On 1.15.5 `tf.layers` does not build with it, and a function takes no reference.
for _name in ["pinned_updates", "in_place_by_hand", "a_constant_decides"] + (
    [] if IS_1X else ["scoped_updates", "updates_in_branches", "loss_in_a_loop"]
):
    BUILDERS[_name + OTHER] = _with_other_control_flow(BUILDERS[_name])


# Optimizers: one train op for each, with the constants that it must have.

OPTIMIZERS = {
    "GradientDescent": (
        lambda: tf.train.GradientDescentOptimizer(0.1),
        {"alpha": 0.1},
    ),
    "Momentum": (
        lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
        {"lr": 0.1, "momentum": 0.9, "use_nesterov": True},
    ),
    "RMSProp": (
        lambda: tf.train.RMSPropOptimizer(1e-3, 0.9, 0.1, 1e-10),
        {"lr": 1e-3, "rho": 0.9, "momentum": 0.1, "epsilon": 1e-10},
    ),
    "Adagrad": (lambda: tf.train.AdagradOptimizer(0.1), {"lr": 0.1}),
    "Adadelta": (
        lambda: tf.train.AdadeltaOptimizer(0.1, 0.95, 1e-8),
        {"lr": 0.1, "rho": 0.95, "epsilon": 1e-8},
    ),
    "Adam": (
        lambda: tf.train.AdamOptimizer(1e-3, 0.5, 0.9, 1e-8),
        {"lr": 1e-3, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-8},
    ),
}


@graph
def optimizers():
    """Each trains a weight of its own, and rows of a table."""
    train_ops = []
    for resource in (False, True):
        for name, (make, _) in OPTIMIZERS.items():
            scope = "{}_{}".format("resource" if resource else "ref", name)
            with tf.variable_scope(scope, use_resource=resource):
                weight = tf.get_variable("weight", [2])
                table = tf.get_variable("table", [5, 2])
                rows = tf.gather(table, [1, 3])
                loss = tf.reduce_sum(tf.square(weight) + tf.square(rows))
            train_ops.append(
                make().minimize(
                    loss, var_list=[weight, table], name="train_" + scope
                )
            )
    return Built(train_ops, None)


@graph
def rates_that_are_no_constants():
    """The learning rate is fed, is a variable, and decays."""
    step = tf.get_variable("step", [], tf.int32, trainable=False)
    rates = {
        "fed": tf.placeholder_with_default(0.1, [], name="rate"),
        "kept": tf.get_variable("kept_rate", [], trainable=False),
        "decaying": tf.train.exponential_decay(0.1, step, 10, 0.5),
    }
    train_ops = []
    for name, rate in rates.items():
        weight = tf.get_variable(name, [2])
        optimizer = tf.train.GradientDescentOptimizer(rate)
        train_ops.append(
            optimizer.minimize(
                tf.reduce_sum(weight),
                step if name == "decaying" else None,
                [weight],
                name="train_" + name,
            )
        )
    return Built(train_ops, None)


# What a run changes.


def feeds(zeros):
    """Returns values of the placeholders by name."""
    random = np.random.RandomState(1)
    values = {
        "images:0": random.randn(BATCH, 2),
        "latent:0": random.randn(BATCH, 3),
    }
    values = {name: value * (not zeros) for name, value in values.items()}
    return dict(values, **{"is_training:0": True})


def observe(built, in_graph):
    """Runs each train op once from the same start; returns what changed, by its name.

    "changed" are the names of the variables with another value. "halved" says how a
    run moves what is no weight: weights and inputs are zero, so that every batch's
    mean and variance is; all else starts at 1.
    """
    session = tf.Session(graph=in_graph, config=_as_written())
    with in_graph.as_default(), session:
        tf.set_random_seed(1)
        variables = {v.op.name: v for v in tf.global_variables()}
        initializer = tf.global_variables_initializer()
        found = {}
        for operation in built.train_ops:
            fed = {
                name: value
                for name, value in feeds(zeros=False).items()
                if _holds(in_graph, name)
            }
            session.run(initializer)
            before = session.run(variables)
            session.run(operation, fed)
            after = session.run(variables)
            changed = [
                name
                for name in variables
                if not np.array_equal(before[name], after[name])
            ]
            found[operation.name] = {
                "changed": sorted(changed),
                "halved": _halved(session, variables, operation, in_graph),
            }
        return found


def _as_written():
    """Returns settings under which nothing is optimized: each graph runs briefly."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _halved(session, variables, operation, in_graph):
    trained = {v.op.name for v in tf.trainable_variables()}
    values = {
        variable.initializer.inputs[1]: np.full(
            variable.shape.as_list(), float(name not in trained)
        )
        for name, variable in variables.items()
        if variable.dtype.base_dtype == tf.float32
    }
    session.run(tf.global_variables_initializer(), values)
    fed = {
        name: value
        for name, value in feeds(zeros=True).items()
        if _holds(in_graph, name)
    }
    session.run(operation, fed)
    values = session.run(variables)
    return {
        name: float(value[0])
        for name, value in values.items()
        if value.shape == (UNITS,) and name not in trained
    }


def _holds(in_graph, tensor):
    try:
        in_graph.get_tensor_by_name(tensor)
        return True
    except KeyError:
        return False


def build(name):
    """Builds a graph of that name; returns it and what its builder gives."""
    new = tf.Graph()
    with new.as_default():
        tf.set_random_seed(1)
        return new, BUILDERS[name]()


def export(folder):
    """Writes every graph as a .meta file, and what was observed as one JSON."""
    observed = {}
    for name in BUILDERS:
        new, built = build(name)
        _export_graph(new, built.saver, os.path.join(folder, name + ".meta"))
        observed[name] = observe(built, new)
    if IS_1X:
        observed.update(_export_sources(folder))
    with open(os.path.join(folder, "observed.json"), "w") as file:
        json.dump(observed, file)


def _export_graph(new, saver, path):
    with new.as_default():
        if saver:
            saver.export_meta_graph(path)
        else:
            tf.train.export_meta_graph(path)


def _export_sources(folder):
    """Exports the original GAN; returns which averages its train ops move."""
    from source_graph import SourceTrainer

    observed = {}
    for policy, pinned in (
        ("source", True),
        ("source", False),
        ("scoped", True),
    ):
        trainer = SourceTrainer(policy, pinned=pinned)
        name = "original_{}_{}".format(policy, "pinned" if pinned else "open")
        _export_graph(trainer.graph, None, os.path.join(folder, name + ".meta"))
        observed[name] = observe_trainer(trainer)
    return observed


def observe_trainer(trainer):
    """Returns by train op the names of the variables that one step changes."""
    random = np.random.RandomState(1)
    images = random.rand(2, 28, 28, 1).astype(trainer.dtype)
    latent = random.randn(2, 100).astype(trainer.dtype)
    found = {}
    for operation, step in (
        (trainer._train_d, trainer.discriminator_step),
        (trainer._train_g, trainer.generator_step),
    ):
        trainer.initialize(seed=1)
        before = trainer.state()
        step(images, latent)
        after = trainer.state()
        found[operation.name.partition(":")[0]] = {
            "changed": sorted(
                name
                for name in before
                if not np.array_equal(before[name], after[name])
            )
        }
    return found


if __name__ == "__main__":
    export(sys.argv[1])

"""Makes small checkpoints in the styles of legacy GANs, with TensorFlow 1.15.5.

/path/to/python3.7 compat_tests/make_foreign.py compat_tests/foreign

Each folder gets a checkpoint and `expected.npz`: what the graph computes of recorded
inputs. The networks are tiny; names, scopes and savers are what is tested.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

slim = tf.contrib.slim
contrib = tf.contrib.layers
tf.logging.set_verbosity(tf.logging.ERROR)

LATENT, SIDE, BATCH = 3, 4, 5


class Case:
    """A graph under construction: what it is fed, what is kept of it."""

    def __init__(self):
        self.z = tf.placeholder(tf.float32, [None, LATENT], name="z")
        self.x = tf.placeholder(tf.float32, [None, SIDE, SIDE, 1], name="x")
        self.is_training = tf.placeholder(tf.bool, [], name="is_training")
        self.outputs = {}
        self.steps = []
        self.saved = None
        self.options = {}
        self.meta = False


def leaky(x):
    return tf.maximum(x, 0.2 * x)


def batch_norm(x, training, **kwargs):
    return tf.layers.batch_normalization(
        x, training=training, fused=False, **kwargs
    )


def minimize(optimizer, loss, variables, **kwargs):
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        return optimizer.minimize(loss, var_list=variables, **kwargs)


def losses(real, fake):
    entropy = tf.nn.sigmoid_cross_entropy_with_logits
    loss_d = tf.reduce_mean(
        entropy(logits=real, labels=tf.ones_like(real))
        + entropy(logits=fake, labels=tf.zeros_like(fake))
    )
    return loss_d, tf.reduce_mean(
        entropy(logits=fake, labels=tf.ones_like(fake))
    )


def layers_generator(z, training):
    x = tf.layers.dense(z, 2 * 2 * 4)
    x = tf.reshape(x, [-1, 2, 2, 4])
    x = tf.nn.relu(batch_norm(x, training))
    x = tf.layers.conv2d_transpose(x, 4, 3, 2, "same")
    x = tf.nn.relu(batch_norm(x, training))
    return tf.tanh(tf.layers.conv2d_transpose(x, 1, 3, 1, "same"))


def layers_discriminator(x, training):
    x = leaky(tf.layers.conv2d(x, 4, 3, 1, "same"))
    x = leaky(batch_norm(tf.layers.conv2d(x, 4, 3, 2, "same"), training))
    return tf.layers.dense(tf.layers.flatten(x), 1)


def scoped(name, network, *inputs):
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        return network(*inputs)


def two_networks(case, generator, discriminator):
    """Builds both in scopes, the discriminator twice; returns the losses."""
    fake = scoped("generator", generator, case.z, case.is_training)
    real = scoped("discriminator", discriminator, case.x, case.is_training)
    wrong = scoped("discriminator", discriminator, fake, case.is_training)
    case.outputs = {"generator": fake, "discriminator": real}
    return losses(real, wrong)


def trained(scope):
    return tf.trainable_variables(scope)


def layers_scoped(case):
    """`tf.layers` in scopes, two Adams; the discriminator steps twice as often."""
    loss_d, loss_g = two_networks(case, layers_generator, layers_discriminator)
    step_d = tf.Variable(0, trainable=False, name="D_global_step")
    step_g = tf.Variable(0, trainable=False, name="G_global_step")
    adam = tf.train.AdamOptimizer
    train_d = minimize(
        adam(1e-3, 0.5), loss_d, trained("discriminator"), global_step=step_d
    )
    train_g = minimize(
        adam(1e-3, 0.5), loss_g, trained("generator"), global_step=step_g
    )
    case.steps = [train_d, train_d, train_g] * 3


def layers_unscoped(case):
    """`tf.layers` without scopes: numbers run through both networks."""
    fake = layers_generator(case.z, case.is_training)
    count = len(tf.trainable_variables())
    real = layers_discriminator(case.x, case.is_training)
    case.outputs = {"generator": fake, "discriminator": real}
    variables = tf.trainable_variables()
    loss = tf.reduce_mean(tf.square(real)) + tf.reduce_mean(fake)
    step = tf.train.get_or_create_global_step()
    adam = tf.train.AdamOptimizer(1e-3)
    case.steps = [
        minimize(adam, loss, variables[:count], global_step=step),
        minimize(tf.train.AdamOptimizer(1e-3), loss, variables[count:]),
    ] * 2


def layers_interleaved(case):
    """Layers of both networks made in turn, at the root, of like shapes."""
    g, d = case.z, tf.layers.flatten(case.x)
    for units in (8, 6, 7):
        g = tf.nn.relu(tf.layers.dense(g, units))
        d = leaky(tf.layers.dense(d, units + 2))
    case.outputs = {
        "generator": tf.layers.dense(g, 5),
        "discriminator": tf.layers.dense(d, 1),
    }


def contrib_generator(z, training):
    norm = {"is_training": training, "fused": False}
    x = contrib.fully_connected(
        z, 16, normalizer_fn=contrib.batch_norm, normalizer_params=norm
    )
    x = contrib.fully_connected(
        x, 16, normalizer_fn=contrib.batch_norm, normalizer_params=norm
    )
    x = tf.reshape(x, [-1, 2, 2, 4])
    return contrib.conv2d_transpose(
        x, 1, 3, 2, padding="SAME", activation_fn=tf.tanh
    )


def contrib_discriminator(x, training):
    x = contrib.conv2d(x, 4, 3, 2, activation_fn=leaky)
    x = contrib.flatten(x)
    return contrib.fully_connected(x, 1, activation_fn=None)


def contrib_layers(case):
    """`tf.contrib.layers`: weights, biases, BatchNorm in the layer's scope."""
    loss_d, loss_g = two_networks(
        case, contrib_generator, contrib_discriminator
    )
    adam = tf.train.AdamOptimizer
    case.steps = [
        minimize(adam(1e-3), loss_d, trained("discriminator")),
        minimize(adam(1e-3), loss_g, trained("generator")),
    ] * 2


def slim_deep(case):
    """slim, twelve like convolutions: Conv_10 comes after Conv_2."""
    norm = {"is_training": case.is_training, "decay": 0.9, "scale": True}
    with slim.arg_scope(
        [slim.conv2d],
        normalizer_fn=slim.batch_norm,
        normalizer_params=dict(norm, fused=False),
        activation_fn=leaky,
    ), tf.variable_scope("critic"):
        x = slim.repeat(case.x, 1, slim.conv2d, 3, 3, scope="stem")
        for _ in range(12):
            x = slim.conv2d(x, 3, 3)
        x = slim.fully_connected(slim.flatten(x), 1, activation_fn=None)
    case.outputs = {"critic": x}
    case.steps = [
        minimize(
            tf.train.AdamOptimizer(1e-3),
            tf.reduce_mean(tf.square(x)),
            tf.trainable_variables(),
        )
    ] * 2


def raw_conv(x, filters, name):
    with tf.variable_scope(name):
        shape = [3, 3, x.shape[-1].value, filters]
        w = tf.get_variable(
            "w", shape, initializer=tf.truncated_normal_initializer(0, 0.1)
        )
        biases = tf.get_variable("biases", [filters])
        x = tf.nn.conv2d(x, w, [1, 2, 2, 1], "SAME")
        return tf.nn.bias_add(x, biases)


def raw_linear(x, units, name):
    with tf.variable_scope(name):
        matrix = tf.get_variable(
            "Matrix",
            [x.shape[-1].value, units],
            initializer=tf.random_normal_initializer(0, 0.1),
        )
        return tf.matmul(x, matrix) + tf.get_variable("bias", [units])


def raw_norm(x, training, name):
    return contrib.batch_norm(
        x, 0.9, scale=True, is_training=training, scope=name, fused=False
    )


def raw_scoped(case):
    """Raw variables as DCGAN-tensorflow names them: d_h0_conv/w, Matrix."""
    with tf.variable_scope("generator"):
        x = raw_linear(case.z, 64, "g_h0_lin")
        x = tf.nn.relu(raw_norm(x, case.is_training, "g_bn0"))
        fake = tf.tanh(raw_linear(x, 16, "g_h1_lin"))
    with tf.variable_scope("discriminator"):
        x = leaky(raw_conv(case.x, 4, "d_h0_conv"))
        x = raw_conv(x, 4, "d_h1_conv")
        x = leaky(raw_norm(x, case.is_training, "d_bn1"))
        real = raw_linear(tf.reshape(x, [-1, 4]), 1, "d_h2_lin")
    case.outputs = {"generator": fake, "discriminator": real}
    case.steps = [
        minimize(
            tf.train.AdamOptimizer(1e-3, 0.5),
            tf.reduce_mean(tf.square(real)),
            trained("discriminator"),
        )
    ] * 2
    case.meta = True


def raw_variables(sizes, names=None):
    made = []
    for number, shape in enumerate(zip(sizes, sizes[1:])):
        for kind, size in (("W", shape), ("b", shape[1:])):
            name = names and names.format(kind, number + 1)
            value = np.random.RandomState(number).normal(0, 0.3, size)
            made.append(tf.Variable(value.astype(np.float32), name=name))
    return made


def mlp(x, variables):
    for w, b in zip(variables[:-2:2], variables[1:-2:2]):
        x = tf.nn.relu(tf.matmul(x, w) + b)
    return tf.matmul(x, variables[-2]) + variables[-1]


def raw_flat(case):
    """Raw variables without scopes: G_W1, G_b1, D_W1."""
    g = raw_variables([LATENT, 6, 6, 6, 16], "G_{}{}")
    d = raw_variables([16, 6, 6, 6, 1], "D_{}{}")
    case.outputs = {
        "generator": tf.sigmoid(mlp(case.z, g)),
        "discriminator": mlp(tf.layers.flatten(case.x), d),
    }
    case.steps = [
        tf.train.AdamOptimizer(1e-3).minimize(
            tf.reduce_mean(case.outputs["generator"]), var_list=g
        )
    ] * 2


def raw_unnamed(case):
    """Variable, Variable_1, ... Variable_13, in order of creation alone."""
    variables = raw_variables([LATENT, 6, 6, 6, 6, 6, 6, 2])
    case.outputs = {"generator": mlp(case.z, variables)}


def unnamed_norm(x):
    """Batch norm of variables without names, beta before gamma."""
    size = x.shape[-1].value
    random = np.random.RandomState(size)
    beta, gamma, mean, variance = [
        tf.Variable(random.uniform(0.5, 1.5, size).astype(np.float32))
        for _ in range(4)
    ]
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


def raw_unnamed_norm(case):
    """Variable, Variable_1, ... with several of one shape in each layer."""
    random = np.random.RandomState(3)

    def variable(*shape):
        return tf.Variable(random.normal(0, 0.5, shape).astype(np.float32))

    x = tf.nn.relu(unnamed_norm(tf.matmul(case.z, variable(LATENT, 5))))
    x = tf.matmul(x, variable(5, 6)) + variable(6)
    x = tf.nn.relu(unnamed_norm(x))
    x = tf.matmul(x, variable(6, 2)) + variable(2)
    case.outputs = {"generator": x}


def raw_ambiguous(case):
    """Two matrices of one shape, and names that no order follows from."""
    value = np.random.RandomState(0).normal(size=[2, 6, 6]).astype(np.float32)
    with tf.variable_scope("generator"):
        first = tf.Variable(value[0], name="early")
        second = tf.Variable(value[1], name="late")
        last = tf.get_variable("out/w", [6, 2])
        x = tf.tile(case.z, [1, 2])
        x = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, first)), second))
        case.outputs = {"generator": tf.matmul(x, last)}


def scoped_slots(case):
    """Slots in the scope of `minimize`: optimize/generator/dense/kernel/Adam."""
    loss_d, loss_g = two_networks(case, layers_generator, layers_discriminator)
    adam = tf.train.AdamOptimizer
    with tf.variable_scope("optimize"):
        with tf.variable_scope("d_opt"):
            train_d = minimize(
                adam(1e-3, 0.5), loss_d, trained("discriminator")
            )
        with tf.variable_scope("g_opt"):
            train_g = minimize(adam(1e-3, 0.5), loss_g, trained("generator"))
    case.steps = [train_d] * 3 + [train_g]


def no_moving_statistics(case):
    """`Saver(tf.trainable_variables())`: the moving averages were never saved."""
    layers_scoped(case)
    case.saved = tf.trainable_variables()


def frozen_statistics(case):
    """UPDATE_OPS never run: the moving averages are 0 and 1."""
    loss_d, loss_g = two_networks(case, layers_generator, layers_discriminator)
    case.steps = [
        tf.train.AdamOptimizer().minimize(
            loss_d, var_list=trained("discriminator")
        ),
        tf.train.AdamOptimizer().minimize(
            loss_g, var_list=trained("generator")
        ),
    ]


def rmsprop(case):
    """RMSProp for both, centered for the discriminator."""
    loss_d, loss_g = two_networks(case, layers_generator, layers_discriminator)
    optimizer = tf.train.RMSPropOptimizer
    case.steps = [
        minimize(
            optimizer(1e-3, centered=True, momentum=0.3),
            loss_d,
            trained("discriminator"),
        ),
        minimize(optimizer(1e-3), loss_g, trained("generator")),
    ] * 2


def momentum(case):
    """Momentum for both, in the checkpoint format V1."""
    loss_d, loss_g = two_networks(case, layers_generator, layers_discriminator)
    case.steps = [
        minimize(tf.train.MomentumOptimizer(1e-3, 0.9), loss, trained(scope))
        for loss, scope in ((loss_d, "discriminator"), (loss_g, "generator"))
    ] * 2
    case.options = {"write_version": tf.train.SaverDef.V1}


def overlapping(case):
    """Two Adams over overlapping variables: pretraining, then everything."""
    loss_d, loss_g = two_networks(case, layers_generator, layers_discriminator)
    adam = tf.train.AdamOptimizer
    first = trained("generator")[:2]
    case.steps = [
        minimize(adam(1e-3), loss_g, first),
        minimize(adam(1e-3), loss_g, trained("generator")),
    ] * 2


def averaged(case):
    """Shadow variables of `ExponentialMovingAverage`, partitioned kernels."""
    partitioner = tf.fixed_size_partitioner(2)
    with tf.variable_scope("generator", partitioner=partitioner):
        x = tf.nn.relu(tf.layers.dense(case.z, 8))
        x = tf.layers.dense(x, 4)
    case.outputs = {"generator": x}
    with tf.variable_scope("generator"):
        extra = tf.get_variable("dense_2/kernel", [4, 2])
        case.outputs = {"generator": tf.matmul(x, extra)}
    average = tf.train.ExponentialMovingAverage(0.9)
    case.steps = [average.apply([extra])]


def averaged_in_scopes(case):
    """Two averages, in the scope of the training and of the trainer."""
    with tf.variable_scope("generator"):
        w = tf.get_variable("w", [LATENT, 3])
        v = tf.get_variable("v", [3, 2])
        case.outputs = {"generator": tf.matmul(tf.matmul(case.z, w), v)}
    average = tf.train.ExponentialMovingAverage
    with tf.variable_scope("train"):
        case.steps = [average(0.9).apply([w, v])]
        case.steps.append(average(0.9, name="slow").apply([w]))
    with tf.variable_scope("trainer/ema"):
        tensors = average(0.9, zero_debias=True).apply([w, 2.0 * v])
        case.steps.append(tensors)


CASES = (
    layers_scoped,
    layers_unscoped,
    layers_interleaved,
    contrib_layers,
    slim_deep,
    raw_scoped,
    raw_flat,
    raw_unnamed,
    raw_unnamed_norm,
    raw_ambiguous,
    scoped_slots,
    no_moving_statistics,
    frozen_statistics,
    rmsprop,
    momentum,
    overlapping,
    averaged,
    averaged_in_scopes,
)


def make(build, folder):
    """Builds, trains for some steps, saves and records."""
    os.makedirs(folder)
    random = np.random.RandomState(7)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        case = Case()
        build(case)
        session.run(tf.global_variables_initializer())
        feed = {
            case.z: random.uniform(-1, 1, [BATCH, LATENT]),
            case.x: random.uniform(0, 1, [BATCH, SIDE, SIDE, 1]),
        }
        for step in case.steps:
            session.run(step, {**feed, case.is_training: True})
        saver = tf.train.Saver(
            case.saved, save_relative_paths=True, **case.options
        )
        path = saver.save(
            session, folder + "/model.ckpt", write_meta_graph=False
        )
        if case.meta:
            saver.export_meta_graph(path + ".meta", strip_default_attrs=True)
        outputs = session.run(case.outputs, {**feed, case.is_training: False})
        np.savez(
            folder + "/expected.npz", z=feed[case.z], x=feed[case.x], **outputs
        )


def main():
    """Makes every case below the folder that is named."""
    for build in CASES:
        make(build, os.path.join(sys.argv[1], build.__name__))


if __name__ == "__main__":
    main()

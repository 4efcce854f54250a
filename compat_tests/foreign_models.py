"""Keras 3 models of the networks in `make_foreign.py`, as a user would write them."""

import keras

LATENT, SIDE = 3, 4


def leaky(x):
    return keras.ops.maximum(x, 0.2 * x)


def norm(x, **kwargs):
    options = {"momentum": 0.99, "epsilon": 1e-3, **kwargs}
    return keras.layers.BatchNormalization(**options)(x)


def latent():
    return keras.Input([LATENT])


def images():
    return keras.Input([SIDE, SIDE, 1])


def layers_generator():
    z = latent()
    x = keras.layers.Dense(16)(z)
    x = keras.layers.Reshape([2, 2, 4])(x)
    x = keras.ops.relu(norm(x))
    x = keras.layers.Conv2DTranspose(4, 3, 2, "same")(x)
    x = keras.ops.relu(norm(x))
    x = keras.layers.Conv2DTranspose(1, 3, 1, "same")(x)
    return keras.Model(z, keras.ops.tanh(x), name="generator")


def layers_discriminator():
    inputs = images()
    x = leaky(keras.layers.Conv2D(4, 3, 1, "same")(inputs))
    x = leaky(norm(keras.layers.Conv2D(4, 3, 2, "same")(x)))
    x = keras.layers.Dense(1)(keras.layers.Flatten()(x))
    return keras.Model(inputs, x, name="discriminator")


def layers():
    return [layers_generator(), layers_discriminator()]


def layers_other_order():
    """The same, the discriminator made first, so that Keras's numbers differ."""
    discriminator = layers_discriminator()
    return {"generator": layers_generator(), "discriminator": discriminator}


def _compiled(optimizer_d, optimizer_g):
    generator, discriminator = layers()
    generator.compile(optimizer_g)
    discriminator.compile(optimizer_d)
    return [generator, discriminator]


def adam(beta_1=0.5):
    return keras.optimizers.Adam(1e-3, beta_1, epsilon=1e-8)


def layers_adam():
    return _compiled(adam(), adam())


def layers_adam_9():
    return _compiled(adam(0.9), adam(0.9))


def layers_rmsprop():
    optimizer = keras.optimizers.RMSprop
    return _compiled(
        optimizer(1e-3, 0.9, 0.3, 1e-10, centered=True),
        optimizer(1e-3, 0.9, 0.0, 1e-10),
    )


def layers_momentum():
    optimizer = keras.optimizers.SGD
    return _compiled(optimizer(1e-3, 0.9), optimizer(1e-3, 0.9))


def interleaved():
    z, x = latent(), images()
    g, d = z, keras.layers.Flatten()(x)
    for units in (8, 6, 7):
        g = keras.layers.Dense(units, "relu")(g)
        d = leaky(keras.layers.Dense(units + 2)(d))
    g, d = keras.layers.Dense(5)(g), keras.layers.Dense(1)(d)
    return {
        "generator": keras.Model(z, g),
        "discriminator": keras.Model(x, d),
    }


def contrib():
    z, inputs = latent(), images()
    x = z
    for _ in range(2):
        x = keras.layers.Dense(16, use_bias=False)(x)
        x = keras.ops.relu(norm(x, scale=False))
    x = keras.layers.Reshape([2, 2, 4])(x)
    x = keras.layers.Conv2DTranspose(1, 3, 2, "same", activation="tanh")(x)
    generator = keras.Model(z, x)
    x = leaky(keras.layers.Conv2D(4, 3, 2, "same")(inputs))
    x = keras.layers.Dense(1)(keras.layers.Flatten()(x))
    return {"generator": generator, "discriminator": keras.Model(inputs, x)}


def contrib_with_gamma():
    """Somebody forgot that contrib's batch norm has no gamma."""
    z = latent()
    x = z
    for _ in range(2):
        x = keras.layers.Dense(16, use_bias=False)(x)
        x = keras.ops.relu(norm(x))
    x = keras.layers.Reshape([2, 2, 4])(x)
    x = keras.layers.Conv2DTranspose(1, 3, 2, "same", activation="tanh")(x)
    return keras.Model(z, x, name="generator")


def slim_deep():
    x = inputs = images()
    for _ in range(13):
        x = keras.layers.Conv2D(3, 3, padding="same", use_bias=False)(x)
        x = leaky(norm(x))
    x = keras.layers.Dense(1)(keras.layers.Flatten()(x))
    return keras.Model(inputs, x, name="a_model_of_another_name")


def raw_scoped():
    z, inputs = latent(), images()
    x = keras.ops.relu(norm(keras.layers.Dense(64)(z)))
    generator = keras.Model(z, keras.layers.Dense(16, "tanh")(x))
    x = leaky(keras.layers.Conv2D(4, 3, 2, "same")(inputs))
    x = leaky(norm(keras.layers.Conv2D(4, 3, 2, "same")(x)))
    x = keras.layers.Dense(1)(keras.layers.Flatten()(x))
    return {"generator": generator, "discriminator": keras.Model(inputs, x)}


def mlp(inputs, sizes, name, activation=None):
    x = keras.layers.Flatten()(inputs)
    for units in sizes[:-1]:
        x = keras.layers.Dense(units, "relu")(x)
    x = keras.layers.Dense(sizes[-1], activation)(x)
    return keras.Model(inputs, x, name=name)


def raw_flat():
    return [
        mlp(latent(), [6, 6, 6, 16], "generator", "sigmoid"),
        mlp(images(), [6, 6, 6, 1], "discriminator"),
    ]


def raw_unnamed():
    return mlp(latent(), [6, 6, 6, 6, 6, 6, 2], "generator")


def raw_unnamed_norm():
    z = latent()
    x = keras.ops.relu(norm(keras.layers.Dense(5, use_bias=False)(z)))
    x = keras.ops.relu(norm(keras.layers.Dense(6)(x)))
    return keras.Model(z, keras.layers.Dense(2)(x), name="generator")


def raw_ambiguous():
    z = latent()
    x = keras.ops.tile(z, [1, 2])
    for _ in range(2):
        x = keras.layers.Dense(6, "relu", use_bias=False)(x)
    return keras.Model(
        z, keras.layers.Dense(2, use_bias=False)(x), name="generator"
    )


def averaged_in_scopes():
    z = latent()
    x = keras.layers.Dense(3, use_bias=False)(z)
    x = keras.layers.Dense(2, use_bias=False)(x)
    return keras.Model(z, x, name="generator")


def averaged():
    z = latent()
    x = keras.layers.Dense(4)(keras.layers.Dense(8, "relu")(z))
    x = keras.layers.Dense(2, use_bias=False)(x)
    return keras.Model(z, x, name="generator")

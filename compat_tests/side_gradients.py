"""Gradients of a trainer of either side, which itself hands out none."""


def of_graph(trainer):
    """Returns a function of (images, latents): tf1gan's gradients by name."""
    import tensorflow.compat.v1 as tf

    from tf2gan.common.specs import DISCRIMINATOR, GENERATOR

    fetches = {}
    with trainer.graph.as_default():
        for loss, network in (
            (trainer._loss_d, DISCRIMINATOR),
            (trainer._loss_g, GENERATOR),
        ):
            variables = tf.trainable_variables(network)
            names = [variable.op.name for variable in variables]
            fetches.update(zip(names, tf.gradients(loss, variables)))

    def gradients(images, latent):
        feed = trainer._feed(images, latent, True)
        return trainer.session.run(fetches, feed)

    return gradients


def of_tapes(trainer):
    """Returns a function of (images, latents): tf2gan's gradients by name."""
    import tensorflow as tf

    from tf2gan import layers

    @tf.function
    def gradients(images, latent):
        with layers.update_ops([]), tf.GradientTape(persistent=True) as tape:
            generated = trainer.generator(latent, training=True)
            real = trainer.discriminator(images, training=True)
            fake = trainer.discriminator(generated, training=True)
            loss_d = trainer._discriminator_loss(real, fake)
            loss_g = trainer._generator_loss(fake)
        found = {}
        for loss, network in (
            (loss_d, trainer.discriminator),
            (loss_g, trainer.generator),
        ):
            variables = network.trainable_variables
            names = [variable.path for variable in variables]
            found.update(zip(names, tape.gradient(loss, variables)))
        return found

    return gradients

"""Walks the trainers' steps for the kernels that serve them on a GPU."""

import tensorflow as tf

from tf2gan.migration import kernels

BATCH = 4


def tf1_walk(trainer, device="GPU"):
    """Returns the rows of tf1gan's train ops, losses and samples."""
    fetches = [trainer._loss_d.op, trainer._loss_g.op, trainer._generated.op]
    steps = [trainer._train_d, trainer._train_g]
    return graph_walk(trainer.graph, steps + fetches, device)


def tf2_walk(trainer, device="GPU"):
    """Returns the rows of tf2gan's steps, of `evaluate` and of samples."""
    return function_walk(_tf2_functions(trainer), device)


def graph_walk(graph, operations, device="GPU"):
    """Returns the rows of operations of a graph and of all that they need."""
    nodes = [("", op.node_def) for op in _ancestors(operations)]
    return kernels.rows(nodes, _library(graph), device=device)


def function_walk(functions, device="GPU"):
    """Returns the rows of concrete functions, whole: they run what has effects."""
    library, nodes = {}, []
    for function in functions:
        library.update(_library(function.graph))
        nodes += kernels.function_body(function.function_def)
    entered = {f.function_def.signature.name for f in functions}
    return kernels.rows(nodes, library, entered, device)


def _tf2_functions(trainer):
    images = _batch_of(trainer.spec.image_shape, trainer.dtype)
    latent = _batch_of([trainer.spec.latent_size], trainer.dtype)
    steps = [
        trainer.discriminator_step,
        trainer.generator_step,
        trainer.train_step,
        trainer.evaluate,
    ]
    # `generate` calls the network without a function around it.
    sample = tf.function(
        lambda latent: trainer.generator(latent, training=False)
    )
    return [step.get_concrete_function(images, latent) for step in steps] + [
        sample.get_concrete_function(latent)
    ]


def _batch_of(shape, dtype):
    return tf.TensorSpec([BATCH] + list(shape), dtype)


def _library(graph):
    functions = graph.as_graph_def().library.function
    return {function.signature.name: function for function in functions}


def _ancestors(operations):
    """Returns operations and those that they wait for, by data or by control."""
    found, waiting = set(), list(operations)
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += operation.control_inputs
    return found

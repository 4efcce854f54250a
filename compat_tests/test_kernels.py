"""Every operation of a training step has a GPU kernel, told without a GPU.

`pytest -n 0 -s compat_tests/test_kernels.py` also prints the kernel of each.
"""

import textwrap

import kernel_walks
import pytest
import tensorflow as tf

from tf1gan import losses as losses1
from tf1gan import training as training1
from tf2gan import losses as losses2
from tf2gan import training as training2
from tf2gan.common import specs
from tf2gan.migration import kernels

pytestmark = pytest.mark.skipif(
    not tf.test.is_built_with_gpu_support(),
    reason="no GPU kernels: this TensorFlow was built without them",
)

SPEC = specs.get_spec("dcgan28")
TRAINERS = {"tf1": training1.Trainer, "tf2": training2.Trainer}
LOSSES = {"tf1": losses1, "tf2": losses2}
WALKS = {"tf1": kernel_walks.tf1_walk, "tf2": kernel_walks.tf2_walk}

# What has no GPU kernel, and why it need not. Each entry must be needed.
WITHOUT_KERNEL = {
    "tf1": {
        # TensorFlow keeps int32 variables in the memory of the CPU, as it keeps other
        # int32 numbers that count; the step's increment, alone, follows them there.
        ("VarHandleOp", "dtype=int32"): ("D_global_step", "G_global_step"),
    },
    "tf2": {},
}
# What must be found, with the weights' dtype and a kernel made for GPUs.
COMPUTATIONS = {
    "AddN",
    "AssignSubVariableOp",
    "BiasAdd",
    "BiasAddGrad",
    "Conv2D",
    "Conv2DBackpropFilter",
    "Conv2DBackpropInput",
    "MatMul",
    "ResourceApplyAdam",
    "Tanh",
    "TanhGrad",
}
BATCH_NORM = {
    "float32": {"FusedBatchNormV3", "FusedBatchNormGradV3"},
    "float64": {"SquaredDifference", "Rsqrt", "RsqrtGrad"},
}
LEAKY_RELU = {
    ("tf1", "float32"): {"Maximum"},
    ("tf1", "float64"): {"Maximum"},
    ("tf2", "float32"): {"LeakyRelu", "LeakyReluGrad"},
    ("tf2", "float64"): {"Maximum"},
}


def _length_of_text(loss):
    return tf.strings.length(tf.strings.as_string(loss))


def _product_of_integers(loss):
    matrix = tf.cast(tf.reshape(loss, [1, 1]), tf.int32)
    return tf.raw_ops.MatMul(a=matrix, b=matrix)[0, 0]


PLANTS = {
    _length_of_text: {("AsString", "T=float32"), ("StringLength", "")},
    _product_of_integers: {("MatMul", "T=int32")},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
@pytest.mark.parametrize("side", TRAINERS)
def test_every_operation_of_a_training_step_has_a_gpu_kernel(
    side, update_ops, dtype, show
):
    trainer = TRAINERS[side](SPEC, update_ops, dtype)
    rows = WALKS[side](trainer)
    print(side, update_ops, dtype, *rows, sep="\n")
    title = (
        f"{side}, {update_ops}, {dtype}: operations checked for a GPU kernel"
    )
    show(textwrap.fill(f"{title}: {', '.join(_kinds(rows))}", 100))
    assert kernels.unserved(rows) == WITHOUT_KERNEL[side]
    expected = COMPUTATIONS | BATCH_NORM[dtype] | LEAKY_RELU[side, dtype]
    assert expected <= _on_gpu(rows, dtype)
    # All of them run here, so whatever has no kernel here would be wrongly looked up.
    assert kernels.unserved(WALKS[side](trainer, "CPU")) == {}


def _kinds(rows):
    return sorted({row.op for row in rows})


def _on_gpu(rows, dtype):
    """Returns the types of operations that have a GPU's own kernel for a dtype."""
    return {
        row.op
        for row in rows
        if row.device == "GPU" and "=" + dtype in row.dtypes
    }


@pytest.mark.parametrize("branch", [False, True], ids=["plain", "in_a_branch"])
@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("side", TRAINERS)
def test_an_operation_without_gpu_kernel_is_named(
    side, plant, branch, monkeypatch, show
):
    _plant(monkeypatch, LOSSES[side], plant, branch)
    rows = WALKS[side](TRAINERS[side](SPEC))
    found = kernels.unserved(rows)
    planted = set(found) - set(WITHOUT_KERNEL[side])
    assert planted == PLANTS[plant]
    show(f"planted in {side}, no GPU kernel: {sorted(planted)}")
    for key in planted:
        assert all(key[0] in name for name in found[key])
        assert branch == all("cond_true" in name for name in found[key])


def _plant(monkeypatch, losses, plant, branch):
    """Adds a number that is computed from the discriminator's loss to that loss."""
    get_losses = losses.get_losses

    def planted(name):
        of_discriminator, of_generator = get_losses(name)

        def loss(real, fake):
            value = of_discriminator(real, fake)

            def more():
                return value + tf.cast(plant(value), value.dtype)

            return tf.cond(value > 0, more, lambda: value) if branch else more()

        return loss, of_generator

    monkeypatch.setattr(losses, "get_losses", planted)


def test_what_a_step_does_not_need_is_not_walked():
    """The summaries, which are texts, are in the same graph, but in no step."""
    trainer = training1.Trainer(SPEC)
    summaries = kernel_walks.graph_walk(trainer.graph, [trainer._summaries.op])
    assert ("ScalarSummary", "T=float32") in kernels.unserved(summaries)
    walked = {row.op for row in kernel_walks.tf1_walk(trainer)}
    assert "ScalarSummary" not in walked
    assert {"If", "Switch", "Merge", "_Arg", "_Retval"} <= walked


@pytest.mark.parametrize(
    "dtype, served",
    [("float32", True), ("int32", True), ("uint8", False), ("uint32", False)],
)
def test_the_kernel_that_is_found_is_the_one_that_tensorflow_finds(
    dtype, served
):
    """On the CPU, where TensorFlow can be asked."""
    number = tf.as_dtype(dtype).as_datatype_enum
    node = kernels.make_node("MatMul", "product", T=number)
    assert bool(kernels.serving(node, "CPU")) == served
    with tf.device("CPU"):
        matrix = tf.ones([2, 2], dtype)
        if served:
            tf.raw_ops.MatMul(a=matrix, b=matrix)
        else:
            with pytest.raises(tf.errors.NotFoundError, match="MatMul"):
                tf.raw_ops.MatMul(a=matrix, b=matrix)

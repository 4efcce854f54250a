"""Records of training runs, small enough to commit, and how they are compared.

A record is a dictionary of plain arrays: the losses of every iteration, and after
some of them a fingerprint of each variable and of each gradient.
"""

import numpy as np

from tf2gan.common import datasets, randomness, specs
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR

SEED = 7
BATCH_SIZE = 20
# In float32 the third iteration already differs by 3e-3: Adam's first steps are of
# the size of the learning rate wherever a gradient is nothing but rounding noise.
STEPS = {"float32": 2, "float64": 30}
# The states are taken after so many iterations, the gradients on the batch after.
SNAPSHOTS = (0, 1, 3, 10, 30)
ELEMENTS = 8  # values of a tensor, at positions that follow from its name

# In front of batch norm the true gradient of a bias is zero. Adam makes steps of
# up to the learning rate out of its rounding noise, which differs everywhere.
NOISY_BIASES = tuple(
    "{}/{}/bias".format(network, layer)
    for network, layer in [
        (GENERATOR, "conv2d_transpose"),
        (GENERATOR, "conv2d_transpose_1"),
        (DISCRIMINATOR, "conv2d_1"),
        (DISCRIMINATOR, "conv2d_2"),
    ]
)


def make_batches(dtype, batch_size=BATCH_SIZE):
    """Returns the batches of all records and comparisons."""
    spec = specs.get_spec("dcgan28")
    images = datasets.load_images("mnist10k", spec)
    return datasets.Batches(images, spec, batch_size, SEED, dtype=dtype)


def fingerprint(name, value):
    """Returns [4 + ELEMENTS] numbers: if elements change by up to e, so do they.

    They are the greatest magnitude, the root of the mean square, the mean, the
    mean after each element is multiplied by a weight of its own in [-1, 1), by
    which permutations show, and some of the elements.
    """
    flat = np.asarray(value, np.float64).ravel()
    draws = randomness.uniform([flat.size + ELEMENTS], 0, "fingerprint/" + name)
    weights = 2.0 * draws[: flat.size] - 1.0
    positions = (draws[flat.size :] * flat.size).astype(int)
    numbers = [
        np.max(np.abs(flat)),
        np.sqrt(np.mean(flat**2)),
        np.mean(flat),
        np.mean(flat * weights),
    ]
    return np.concatenate([numbers, flat[positions]])


def record(trainer, gradients, dtype, steps=None):
    """Trains from the seeded start and returns a record.

    Args:
      trainer: of either side, or of the source's graph.
      gradients: a function of (images, latents) that returns them by name.
      dtype: of the trainer.
      steps: iterations; those of a golden if None.
    """
    steps = steps or STEPS[dtype]
    batches = make_batches(dtype)
    trainer.initialize(SEED)
    losses, states, slopes = [], [], []
    for step in range(steps + 1):
        batch = batches.batch(step)
        if step in SNAPSHOTS:
            states.append(_fingerprints(trainer.state()))
            slopes.append(_fingerprints(gradients(*batch)))
        if step < steps:
            losses.append([float(loss) for loss in trainer.train_step(*batch)])
    return {
        "losses": np.array(losses),  # [iterations, 2]: loss_D, loss_G
        "state_names": np.array(sorted(trainer.state())),
        "states": np.array(states),  # [snapshots, variables, numbers]
        "gradient_names": np.array(sorted(gradients(*batches.batch(0)))),
        "gradients": np.array(slopes),  # [snapshots, variables, numbers]
    }


def _fingerprints(values):
    return [fingerprint(name, values[name]) for name in sorted(values)]


def load(path):
    """Returns the record in an .npz file of plain arrays."""
    with np.load(str(path), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def differences(expected, actual):
    """Compares two records; the shorter one decides up to which iteration.

    Returns:
      A list of (kind, where, difference). Losses and gradients differ relative to
      themselves, that is to a tensor's greatest magnitude, as do weights, averages
      and slots; the kinds "noisy bias" and "noisy gradient" differ absolutely.

    Raises:
      ValueError: if the records are not of the same variables.
    """
    for names in ("state_names", "gradient_names"):
        if list(expected[names]) != list(actual[names]):
            odd = set(expected[names]) ^ set(actual[names])
            raise ValueError("{} differ: {}".format(names, sorted(odd)))
    return (
        _loss_differences(expected["losses"], actual["losses"])
        + _tensor_differences(expected, actual, "state")
        + _tensor_differences(expected, actual, "gradient")
    )


def _loss_differences(expected, actual):
    found = []
    for step, (row1, row2) in enumerate(zip(expected, actual), 1):
        error = np.max(np.abs(row1 - row2) / np.abs(row1))
        found.append(("loss", "iteration {}".format(step), error))
    return found


def _tensor_differences(expected, actual, what):
    found = []
    for step, rows1, rows2 in zip(
        SNAPSHOTS, expected[what + "s"], actual[what + "s"]
    ):
        for name, row1, row2 in zip(expected[what + "_names"], rows1, rows2):
            error = np.max(np.abs(row1 - row2))
            kind = kind_of(name, what)
            if not kind.startswith("noisy"):
                error = relative(error, row1[0])
            where = "{} after {} iterations".format(name, step)
            found.append((kind, where, error))
    return found


def kind_of(name, what):
    """Names the kind of a variable, by which a tolerance is chosen."""
    if name.startswith(NOISY_BIASES):
        return "noisy gradient" if what == "gradient" else "noisy bias"
    if what == "gradient":
        return "gradient"
    for average in ("moving_mean", "moving_variance"):
        if name.endswith(average):
            return average.replace("_", " ")
    if "/Adam" in name or "_power" in name:
        return "slot"
    return "step" if name.endswith("_step") else "weight"


def relative(error, size):
    """Returns error / size; for a tensor of zeros any error is infinite."""
    if size == 0:
        return 0.0 if error == 0 else float("inf")
    return error / size


def largest(found):
    """Returns the largest difference of each kind, as {kind: (difference, where)}.

    One that is not a number counts as infinite.
    """
    worst = {}
    for kind, where, error in found:
        error = float("inf") if np.isnan(error) else error
        if kind not in worst or error > worst[kind][0]:
            worst[kind] = (error, where)
    return worst


def assert_alike(expected, actual, tolerances):
    """Raises AssertionError unless all differences are within {kind: tolerance}.

    Kinds without a tolerance are not compared.
    """
    for kind, (error, where) in largest(differences(expected, actual)).items():
        bound = tolerances.get(kind)
        assert bound is None or error <= bound, (
            "{} differs: {}, by {:.3g}, more than {:g}".format(
                kind, where, error, bound
            )
        )

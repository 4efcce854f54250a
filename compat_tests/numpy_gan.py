"""A GAN in NumPy for tests of the comparison, with faults that can be asked for.

The generator is one dense layer, the discriminator a fixed dense layer and a trained
one; both trained by Adam. Batch norm only measures: it averages, and changes nothing.
Images are [B, 2, 2, 1], latents [B, 3].
"""

import numpy as np

SHAPES = {
    "generator/dense/kernel": [3, 4],
    "generator/dense/bias": [4],
    "discriminator/hidden/kernel": [4, 5],
    "discriminator/dense/kernel": [5, 1],
    "discriminator/dense/bias": [1],
}
TRAINED = {
    "generator": ("generator/dense/kernel", "generator/dense/bias"),
    "discriminator": ("discriminator/dense/kernel", "discriminator/dense/bias"),
}
AVERAGED = {"generator": 4, "discriminator": 5}
BETA2 = 0.999


class NumpyGan:
    """Has the methods that `lockstep.run` describes."""

    def __init__(
        self,
        dtype="float64",
        order=("real", "generated"),
        momentum=0.99,
        learning_rate=0.01,
        label=1.0,
        beta1=0.9,
        seed=0,
    ):
        self.order, self.rate = order, 1 - momentum
        self.learning_rate, self.label = learning_rate, label
        self.betas = (beta1, BETA2)
        random = np.random.RandomState(seed)
        self.values = {n: random.normal(size=s) for n, s in SHAPES.items()}
        for network, channels in AVERAGED.items():
            stem = network + "/batch_normalization/moving_"
            self.values[stem + "mean"] = np.zeros(channels)
            self.values[stem + "variance"] = np.ones(channels)
        for suffix, names in zip(("", "_1"), reversed(list(TRAINED.values()))):
            for name in names:
                self.values[name + "/Adam"] = np.zeros(SHAPES[name])
                self.values[name + "/Adam_1"] = np.zeros(SHAPES[name])
            for number, beta in enumerate(self.betas, 1):
                power = "beta{}_power{}".format(number, suffix)
                self.values[power] = np.array(beta)
        self.values = {n: v.astype(dtype) for n, v in self.values.items()}

    def state(self):
        return self.values

    def load_state(self, state):
        assert set(state) == set(self.values)
        self.values = {name: np.array(value) for name, value in state.items()}

    def activations(self, images, latent):
        made = self._dense("generator/dense", latent)
        shown = {
            "generator/dense": made,
            "generator/batch_normalization": made,
        }
        flat = images.reshape(len(images), -1)
        for scope, inputs in (
            ("discriminator", flat),
            ("discriminator_1", made),
        ):
            hidden = inputs @ self.values["discriminator/hidden/kernel"]
            shown[scope + "/hidden"] = hidden
            shown[scope + "/batch_normalization"] = hidden
            shown[scope + "/dense"] = self._dense("discriminator/dense", hidden)
        return shown

    def gradients(self, images, latent):
        shown = self.activations(images, latent)
        found = dict.fromkeys(TRAINED["discriminator"], 0.0)
        kernel, bias = TRAINED["discriminator"]
        for scope, label in (("discriminator", 1.0), ("discriminator_1", 0.0)):
            error = _sigmoid(shown[scope + "/dense"]) - label
            hidden = shown[scope + "/hidden"]
            found[kernel] = found[kernel] + hidden.T @ error / len(error)
            found[bias] = found[bias] + error.mean(0)
        error = _sigmoid(shown["discriminator_1/dense"]) - self.label
        error = error @ self.values[kernel].T
        error = error @ self.values["discriminator/hidden/kernel"].T
        kernel, bias = TRAINED["generator"]
        found[kernel] = latent.T @ error / len(error)
        found[bias] = error.mean(0)
        return found

    def discriminator_step(self, images, latent):
        shown = self.activations(images, latent)
        loss = _cross_entropy(shown["discriminator/dense"], 1.0)
        loss += _cross_entropy(shown["discriminator_1/dense"], 0.0)
        gradients = self.gradients(images, latent)
        self._average("discriminator", shown, self.order)
        self._adam("discriminator", gradients, "")
        return loss

    def generator_step(self, images, latent):
        shown = self.activations(images, latent)
        gradients = self.gradients(images, latent)
        self._average("generator", shown, ("batch",))
        self._adam("generator", gradients, "_1")
        return _cross_entropy(shown["discriminator_1/dense"], self.label)

    def generate(self, latent):
        return np.tanh(self._dense("generator/dense", latent))

    def _dense(self, name, inputs):
        kernel, bias = (
            self.values[name + "/kernel"],
            self.values[name + "/bias"],
        )
        return inputs @ kernel + bias

    def _average(self, network, shown, order):
        race = order[:1] == ("race",)
        for average in ("mean", "variance"):
            name = network + "/batch_normalization/moving_" + average
            old = value = self.values[name]
            for call in order[1:] if race else order:
                scope = network + ("_1" if call == "generated" else "")
                inputs = shown[scope + "/batch_normalization"]
                batch = inputs.mean(0) if average == "mean" else inputs.var(0)
                value = value - self.rate * ((old if race else value) - batch)
            self.values[name] = value.astype(old.dtype)

    def _adam(self, network, gradients, suffix):
        powers = ["beta{}_power{}".format(n, suffix) for n in (1, 2)]
        first, second = (self.values[name] for name in powers)
        alpha = self.learning_rate * np.sqrt(1 - second) / (1 - first)
        for name in TRAINED[network]:
            m, v = self.values[name + "/Adam"], self.values[name + "/Adam_1"]
            m = m + (1 - self.betas[0]) * (gradients[name] - m)
            v = v + (1 - self.betas[1]) * (gradients[name] ** 2 - v)
            value = self.values[name] - alpha * m / (np.sqrt(v) + 1e-8)
            self.values.update({name: value, name + "/Adam": m})
            self.values[name + "/Adam_1"] = v
        for name, beta in zip(powers, self.betas):
            self.values[name] = self.values[name] * beta


def batches(count=3, size=16, seed=1):
    """Returns [(images, latent)]."""
    random = np.random.RandomState(seed)
    return [
        (random.uniform(size=[size, 2, 2, 1]), random.uniform(-1, 1, [size, 3]))
        for _ in range(count)
    ]


def right():
    return NumpyGan()


def slow():
    return NumpyGan(learning_rate=0.002)


def wrong_order():
    return NumpyGan(order=("generated", "real"))


def _sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def _cross_entropy(logits, label):
    return np.mean(np.logaddexp(0, logits) - label * logits)

"""What the names of variables say: order, layer, role, and network."""

import dataclasses
import re
from typing import FrozenSet, List, Optional, Sequence, Tuple

KERNEL, BIAS, GAMMA, BETA = "kernel", "bias", "gamma", "beta"
RECURRENT_KERNEL = "recurrent_kernel"
MOVING_MEAN, MOVING_VARIANCE = "moving_mean", "moving_variance"
MOVING = (MOVING_MEAN, MOVING_VARIANCE)

# The last words of names: `tf.layers`, `tf.contrib.layers` and slim, and what
# people wrote by hand.
_ROLES = {
    KERNEL: ("kernel", "weights", "weight", "w", "matrix"),
    RECURRENT_KERNEL: ("recurrent_kernel",),
    BIAS: ("bias", "biases", "b"),
    # `tf.nn.batch_normalization` calls them scale and offset.
    GAMMA: ("gamma", "scale"),
    BETA: ("beta", "offset"),
    MOVING_MEAN: ("moving_mean", "pop_mean", "running_mean"),
    MOVING_VARIANCE: (
        "moving_variance",
        "pop_variance",
        "pop_var",
        "running_var",
    ),
}
_WORDS = {word: role for role, words in _ROLES.items() for word in words}
_TRAILING_NUMBER = re.compile(r"^(.*?)_(\d+)$")
_DIMENSIONS = re.compile(r"(conv|pool(?:ing)?|up_sampling)([123])d", re.I)


def natural_key(name: str) -> Tuple:
    """Returns a key that sorts conv2d_2 before conv2d_10, and conv2d first."""
    return tuple(
        (_template(part), _numbers(part), part) for part in name.split("/")
    )


def _numbers(part):
    return split_numbers(part)[1]


def _template(part):
    return split_numbers(part)[0]


def split_numbers(part: str) -> Tuple[str, Tuple[int, ...]]:
    """Splits the part of a name into its words and its numbers.

    A missing number at the end counts as 0, as in TF1's automatic numbering:
    conv2d is ("conv2d", (0,)), conv2d_10 ("conv2d", (10,)), and d_h1_conv
    ("d_h#_conv", (1, 0)).
    """
    match = _TRAILING_NUMBER.match(part)
    words, last = (match[1], int(match[2])) if match else (part, 0)
    words = _DIMENSIONS.sub(lambda m: m[1] + "\0" * int(m[2]) + "d", words)
    numbers = tuple(int(digits) for digits in re.findall(r"\d+", words))
    words = re.sub(r"\d+", "#", words)
    words = re.sub("\0+", lambda m: str(len(m[0])), words)
    return words, numbers + (last,)


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A variable's name, taken apart.

    Attributes:
      role: kernel, bias, ...; None if the name does not say.
      template: what the variables of its layer have in common, without numbers.
      numbers: those of the name.
    """

    role: Optional[str]
    template: str
    numbers: Tuple[int, ...]

    @property
    def layer(self) -> Tuple[str, Tuple[int, ...]]:
        """What tells the layer from the others of the network."""
        return self.template, self.numbers


def parse(name: str) -> Parsed:
    """Takes a variable's name apart."""
    parts = [split_numbers(part) for part in name.split("/")]
    role, rest = _role(name.split("/")[-1], parts[-1][0])
    words = [part[0] for part in parts[:-1]] + ([rest] if rest else [])
    numbers = tuple(number for part in parts for number in part[1])
    return Parsed(role, "/".join(words), numbers)


def _role(last, words):
    """Returns the role that a name's last part says, and its other words."""
    if last.lower() in _WORDS:
        return _WORDS[last.lower()], ""
    for word, role in sorted(_WORDS.items(), key=lambda item: -len(item[0])):
        match = re.match(rf"^(.*_)?{word}#?$", words, re.I)
        if match:
            return role, match[1] or ""
    return None, words


def tokens(name: str) -> List[str]:
    """Returns the words of a name, small, in order, without numbers at the end."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    words = re.split(r"[^A-Za-z0-9]+", spaced)
    return [word.rstrip("0123456789").lower() for word in words if word]


_ALIASES = (
    frozenset(("generator", "gen", "g", "netg")),
    frozenset(("discriminator", "disc", "dis", "critic", "d", "netd")),
    frozenset(("encoder", "enc", "e")),
)


def aliases(model: str) -> FrozenSet[str]:
    """Returns the words by which a network of this name is called in TF1."""
    words = set(tokens(model))
    for known in _ALIASES:
        if words & known:
            return known | words
    return frozenset({model.lower()})


def network(name: str, models: Sequence[str]) -> Optional[str]:
    """Returns the model whose word comes first in a variable's name, or None.

    Of models that share the word, as generator_a2b and generator_b2a, it is the
    one whose other words follow in the name; None if that tells no single one.
    """
    parts = name.split("/")
    for position, part in enumerate(parts):
        for token in tokens(part):
            found = [model for model in models if token in aliases(model)]
            if found:
                return _closest("_".join(parts[position:]), found)
    return None


def _closest(name, models):
    """Returns the one of models with most of its other words in front of a name."""
    if len(models) == 1:
        return models[0]
    words = _other_words(name)
    others = {model: _other_words(model) for model in models}
    fitting = [m for m in models if words[: len(others[m])] == others[m]]
    most = max((len(others[model]) for model in fitting), default=0)
    closest = [model for model in fitting if len(others[model]) == most]
    return closest[0] if len(closest) == 1 else None


def _other_words(name):
    """Returns words and numbers, small, without those that mean a kind of network."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    words = re.findall(r"[a-z]+|\d+", spaced)
    return [w for w in words if not any(w in known for known in _ALIASES)]

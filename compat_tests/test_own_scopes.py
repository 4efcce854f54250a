"""Networks that a script calls otherwise are still told apart: by what a step moves."""

import numpy as np
import pytest

from tf2gan.migration import lockstep
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.fingerprints import steps, updates
from tf2gan.migration.report import Tolerance, in_words

BATCH, CHANNELS, RATE = 16, 3, 0.1


def _side(moved):
    """Returns a discriminator's step that moves these weights and layers."""
    random = np.random.RandomState(0)
    side = Side()
    for network in ("d_net", "g_net"):
        inputs = random.normal(size=[BATCH, CHANNELS])
        side.activations[f"{network}/dense"] = inputs
        side.activations[f"{network}/bn"] = inputs
        for name, old, step in (
            ("w", 0.0, 0.5),
            ("frozen", 0.0, 0.5),
            ("bn/moving_mean", 0.0, RATE * inputs.mean(0)),
            ("bn/moving_variance", 1.0, RATE * (inputs.var(0) - 1.0)),
        ):
            name = f"{network}/{name}"
            key = name.replace("/moving_mean", "").replace(
                "/moving_variance", ""
            )
            side.before[name] = np.full(CHANNELS, old)
            side.after[name] = side.before[name] + step * (key in moved)
    return side


def _found(fingerprint, reference, candidate):
    evidence = Evidence(
        1, "discriminator_step", _side(reference), _side(candidate)
    )
    evidence.differences = [
        lockstep.compare(
            evidence,
            lockstep.kind_of(name),
            name,
            (value, evidence.candidate.after[name]),
            False,
            Tolerance(),
        )
        for name, value in evidence.reference.after.items()
    ]
    return [(hazard, finding) for hazard, finding, _ in fingerprint(evidence)]


@pytest.mark.parametrize(
    "fingerprint, reference, candidate, found",
    [
        (
            updates.updates_missing,
            ["d_net/w", "d_net/bn", "g_net/bn"],
            ["d_net/w", "g_net/bn"],
            [("updates-never-run", "the averages of d_net are never updated")],
        ),
        (
            updates.updates_missing,
            ["d_net/w", "d_net/bn", "g_net/bn"],
            ["d_net/w", "d_net/bn"],
            [
                (
                    "updates-scoped",
                    "the discriminator's step does not update the averages of "
                    "g_net",
                )
            ],
        ),
        (
            updates.updates_unscoped,
            ["d_net/w"],
            ["d_net/w", "d_net/bn"],
            [],
        ),
        (
            updates.updates_unscoped,
            ["d_net/w"],
            ["d_net/w", "g_net/bn"],
            [
                (
                    "updates-unscoped",
                    "the discriminator's step updates the averages of g_net too",
                )
            ],
        ),
        (steps.trains_both, ["d_net/w"], ["d_net/w", "d_net/frozen"], []),
        (
            steps.trains_both,
            ["d_net/w"],
            ["d_net/w", "g_net/w"],
            [
                (
                    "trains-both",
                    "the discriminator's step moves the other network",
                )
            ],
        ),
    ],
)
def test_a_network_is_what_its_step_moves(
    fingerprint, reference, candidate, found
):
    assert _found(fingerprint, reference, candidate) == found


def test_only_networks_of_known_names_have_an_article():
    assert in_words("generator") == "the generator"
    assert in_words("g_net") == "g_net"

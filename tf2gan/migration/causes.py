"""Recognises faults of the hazard catalogue by what they leave in the numbers."""

from typing import Callable, List

import numpy as np

from tf2gan.migration.evidence import Evidence
from tf2gan.migration.fingerprints import (
    inputs,
    layers,
    losses,
    steps,
    updates,
)
from tf2gan.migration.fingerprints.common import Found
from tf2gan.migration.report import Cause

# In the order of a step: what comes first is the likeliest cause of the rest.
FINGERPRINTS: List[Callable[[Evidence], Found]] = [
    inputs.image_range,
    inputs.latent_distribution,
    inputs.kernel_order,
    inputs.slots_of_another,
    inputs.slots_exchanged,
    inputs.step_count_shifted,
    layers.batch_norm_epsilon,
    layers.frozen_inference,
    layers.leaky_relu_slope,
    layers.leaky_relu_at_zero,
    layers.float32_inside,
    layers.generator_output,
    layers.sampling_statistics,
    losses.loss_factor,
    losses.discriminator_labels,
    losses.generator_label,
    losses.loss_of_probabilities,
    losses.another_loss,
    losses.simultaneous_updates,
    steps.adam_constants,
    steps.adam_epsilon,
    steps.learning_rate,
    steps.powers_exact,
    steps.moment_rate,
    steps.gradient_factor,
    steps.gradient_sign,
    steps.discriminator_twice,
    steps.trains_both,
    steps.shared_global_step,
    updates.biased_variance,
    updates.batch_norm_momentum,
    updates.updates_missing,
    updates.updates_unscoped,
    updates.updates_in_another_order,
    updates.recording_raced,
]


def find(evidence: Evidence) -> List[Cause]:
    """Returns the causes that a phase shows; none if nothing differs in it."""
    with np.errstate(all="ignore"):
        return [
            Cause(*found, evidence.iteration, evidence.phase)
            for function in _fingerprints(evidence)
            for found in _whole(function, evidence)
        ]


def _fingerprints(evidence):
    """Returns those to try: of a difference by order alone, what the order says."""
    if not all(difference.allowed for difference in evidence.differences):
        return FINGERPRINTS
    if any(difference.unordered for difference in evidence.differences):
        return [updates.recording_raced]
    return []


def _whole(function, evidence):
    """Returns what a fingerprint found; nothing where the two sides do not compare.

    A candidate may lack tensors, or have them in other shapes or types. That is in
    the report; here it only means that nothing can be measured.
    """
    try:
        return list(function(evidence))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return []

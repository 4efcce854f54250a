"""Random numbers are functions of (seed, purpose, step), the same everywhere."""

import numpy as np
import pytest

from tf2gan.common import latent, randomness, specs

SPEC = specs.get_spec("dcgan28")


def philox_4x64(counter, key):
    """The published algorithm (Salmon et al., 2011, table 2), in plain integers."""
    mask = 2**64 - 1
    for _ in range(10):
        product0, product1 = (
            0xD2E7470EE14C6C93 * counter[0],
            0xCA5A826395121157 * counter[2],
        )
        counter = [
            (product1 >> 64) ^ counter[1] ^ key[0],
            product1 & mask,
            (product0 >> 64) ^ counter[3] ^ key[1],
            product0 & mask,
        ]
        key = [
            (key[0] + 0x9E3779B97F4A7C15) & mask,
            (key[1] + 0xBB67AE8584CAA73B) & mask,
        ]
    return counter


def test_bits_are_those_of_the_published_generator():
    import hashlib

    purpose = int.from_bytes(hashlib.sha256(b"latent").digest()[:8], "little")
    expected = philox_4x64([1, 0, 5, 0], [3, purpose]) + philox_4x64(
        [2, 0, 5, 0], [3, purpose]
    )
    assert randomness.random_bits(8, 3, "latent", 5).tolist() == expected


def test_uniform_is_exact_in_float32_also_when_stretched_to_minus_one_and_one():
    values = 2.0 * randomness.uniform([100000], 0, "test") - 1.0
    assert np.array_equal(values, values.astype(np.float32))
    assert values.min() >= -1.0
    assert values.max() < 1.0


@pytest.mark.parametrize(
    "draw, mean, variance",
    [(randomness.uniform, 0.5, 1 / 12), (randomness.normal, 0.0, 1.0)],
)
def test_distributions_have_their_moments(draw, mean, variance):
    count = 200000
    values = draw([count], 1, "moments")
    five_sigma = 5 * np.sqrt(variance / count)
    assert abs(values.mean() - mean) < five_sigma
    assert abs(values.var() / variance - 1) < 5 * np.sqrt(2.0 / count)


def test_streams_differ_by_seed_purpose_and_step():
    draws = [
        randomness.random_bits(4, *key).tobytes()
        for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    ]
    assert len(set(draws)) == len(draws)


def test_a_permutation_holds_every_number_once():
    order = randomness.permutation(1000, 0, "shuffle")
    assert sorted(order) == list(range(1000))
    assert order.tolist() != list(range(1000))


@pytest.mark.parametrize(
    "shape, fans", [([100, 6272], 6372), ([5, 5, 32, 64], 25 * 96)]
)
def test_glorot_fills_its_limits_and_no_more(shape, fans):
    values = randomness.glorot_uniform(shape, 0, "kernel")
    limit = np.sqrt(6.0 / fans)
    assert limit * 0.999 < np.abs(values).max() <= limit


def test_the_walk_strides_as_the_source_does():
    walk = latent.latent_walk(SPEC, 10, 0, "walk")
    start, end = latent.sample_latent(SPEC, 2, 0, "walk")
    strides = np.diff(walk, axis=0)
    assert np.array_equal(walk[0], start)
    assert np.array_equal(walk[-1], end)
    np.testing.assert_allclose(
        strides[:-1], np.tile((end - start) / 10, [8, 1])
    )
    np.testing.assert_allclose(strides[-1], 2 * (end - start) / 10)

"""Over many free float32 runs, the losses of both sides have the same distribution."""

import itertools

import loss_behaviour
import numpy as np
import pytest

FAULTS = {
    "tf2gan with beta1 = 0.5": {"beta1": 0.5},
    "tf2gan with half the learning rate": {"learning_rate": 5e-4},
}
SIMULATIONS = 300
RUNS = 6  # of a simulated side: the least p-value, 2 / 924, can still count


@pytest.fixture
def random():
    return np.random.RandomState(0)


def _simulated(random, runs=RUNS, iterations=40, factor=1.0):
    """Returns curves [runs, iterations, 2] whose logarithms are random walks."""
    steps = random.normal(size=[runs, iterations, 2])
    start = random.normal(size=[runs, 1, 2])
    return factor * np.exp(start + 0.1 * np.cumsum(steps, axis=1))


def _differ(curves1, curves2):
    found = loss_behaviour.compare(curves1, curves2)
    return any(comparison.differs for comparison in found)


def test_the_p_value_is_that_of_counting_by_hand():
    # Of the six ways to take two of 0, 1, 2, 10, the means of four are 4.5 or more
    # apart: {0, 1}, {0, 2} and what they leave, {2, 10} and {1, 10}.
    p_value = loss_behaviour.permutation_test
    assert p_value(np.array([0.0, 1.0]), np.array([2.0, 10.0])) == 2 / 6
    assert p_value(np.array([0.0, 2.0]), np.array([1.0, 10.0])) == 4 / 6
    assert p_value(np.array([0.0, 10.0]), np.array([1.0, 2.0])) == 1.0


def test_samples_that_lie_apart_have_the_least_p_value():
    low, high = np.arange(8.0), np.arange(8.0) + 100
    ways = len(list(itertools.combinations(range(16), 8)))
    assert loss_behaviour.permutation_test(low, high) == 2 / ways
    assert loss_behaviour.permutation_test(high, low) == 2 / ways


def test_the_least_p_value_counts_as_a_difference():
    runs = loss_behaviour.SEEDS
    ways = len(list(itertools.combinations(range(2 * runs), runs)))
    tests = len(loss_behaviour.summaries(np.ones([1, 40, 2])))
    assert 2 / ways <= loss_behaviour.LEVEL / tests


def test_equal_samples_have_the_greatest_p_value():
    sample = np.array([0.1, 0.2, 0.3])
    assert loss_behaviour.permutation_test(sample, sample[::-1]) == 1.0


def test_p_values_of_one_distribution_are_uniform(random):
    p_values = np.array(
        [
            loss_behaviour.permutation_test(*random.exponential(size=[2, RUNS]))
            for _ in range(SIMULATIONS)
        ]
    )
    # The deviation of a share of 300 is 0.029 at most; three of them are allowed.
    for level in (0.05, 0.25, 0.5, 0.75):
        assert np.mean(p_values <= level) == pytest.approx(level, abs=0.087)


def test_alike_sides_are_told_apart_as_seldom_as_the_level_says(
    random, monkeypatch
):
    """At a level of 0.1, because at that of the test 300 simulations show little."""
    monkeypatch.setattr(loss_behaviour, "LEVEL", 0.1)
    alarms = sum(
        _differ(_simulated(random), _simulated(random))
        for _ in range(SIMULATIONS)
    )
    # Three deviations of a binomial variable above its mean.
    assert 0 < alarms <= 0.1 * SIMULATIONS + 3 * (0.09 * SIMULATIONS) ** 0.5


def test_sides_of_other_size_or_restlessness_are_told_apart(random):
    curves = _simulated(random, runs=8)
    assert _differ(curves, _simulated(random, runs=8, factor=10.0))
    restless = curves * np.exp(random.normal(size=curves.shape))
    names = [
        comparison.summary
        for comparison in loss_behaviour.compare(curves, restless)
        if comparison.differs
    ]
    assert "restlessness of log loss_D" in names


def test_summaries_are_what_they_say():
    iterations = np.arange(1, 101)
    curves = np.stack([np.exp(iterations), np.full(100, 0.0)], axis=1)[None]
    found = loss_behaviour.summaries(np.minimum(curves, 1e40))
    assert found["mean log loss_D, iterations 1 to 10"] == pytest.approx(5.5)
    assert found["mean log loss_D, iterations 11 to 40"] == pytest.approx(25.5)
    floor = np.log(loss_behaviour.LEAST_LOSS)
    assert found["mean log loss_G, iterations 41 to 100"] == pytest.approx(
        floor
    )
    assert found["restlessness of log loss_G"] == 0.0
    assert len(found) == 8


def test_a_loss_that_is_not_a_number_is_refused():
    curves = np.ones([2, 40, 2])
    broken = np.where(np.arange(40)[:, None] == 7, np.nan, curves)
    with pytest.raises(ValueError, match="finite"):
        loss_behaviour.compare(curves, broken)


def test_pairs_are_described_by_where_they_part():
    curves = np.ones([1, 40, 2])
    parted = curves.copy()
    parted[0, 25:, 1] = 1.5
    (line,) = loss_behaviour.describe_pairs(curves, parted)
    assert "first 25 of 40" in line
    assert "at most 0.5 apart" in line
    (line,) = loss_behaviour.describe_pairs(curves, curves)
    assert "first 40 of 40" in line


def test_the_picture_is_drawn(tmp_path, random):
    sides = {"one": _simulated(random), "other": _simulated(random)}
    picture = tmp_path / "curves.png"
    loss_behaviour.draw(sides, str(picture))
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.iterdir()) == [picture]


@pytest.fixture(scope="module")
def trained():
    return loss_behaviour.train_sides(
        loss_behaviour.SEEDS, loss_behaviour.ITERATIONS, FAULTS
    )


@pytest.mark.slow
def test_both_sides_have_the_same_distribution_of_losses(
    trained, tmp_path, show
):
    picture = tmp_path / "loss_behaviour.png"
    sides = {side: runs for side, runs in trained.items() if side != "pairs"}
    loss_behaviour.draw(sides, str(picture))
    show(f"{loss_behaviour.report(trained)}\nThe curves are in {picture}.")
    found = loss_behaviour.compare(trained["tf1gan"], trained["tf2gan"])
    differing = [str(comparison) for comparison in found if comparison.differs]
    assert not differing


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_faulty_side_has_another_distribution_of_losses(trained, fault):
    assert _differ(trained["tf1gan"], trained[fault])

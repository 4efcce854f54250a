"""`tf1gan.layers` is `tf.layers`: names, collections, values, gradients and errors.

The official layers are those of TensorFlow 1.15.5, if the environment variable
TF115_PYTHON names a Python 3.7 with this package installed, and on TensorFlow 2 those
of the legacy Keras package. Each TensorFlow runs `compare_layers.py` once.
"""

import json
import subprocess
import sys
from pathlib import Path

import helpers
import pytest
from layer_cases import CASES, ERRORS
from layer_faults import FAULTS

SCRIPT = Path(__file__).resolve().parent / "compare_layers.py"
LEGACY = pytest.mark.skipif(
    sys.version_info < (3, 9), reason="the legacy Keras package is of TF 2"
)
TENSORFLOWS = [
    pytest.param(
        "1.15.5",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115
            ),
        ],
    ),
    pytest.param("2", marks=LEGACY),
    pytest.param("2 with the behaviour of 1", marks=[pytest.mark.slow, LEGACY]),
]

# On more than two dimensions the official layer multiplies by another route, whose
# sums have another order. Seen: 1.7e-7, or two units of float32's last place.
OTHER_SUMS = {
    case: {"outputs": 1e-6, "gradient values": 1e-6}
    for case in ("dense on three dimensions", "dense on four dimensions")
}


@pytest.fixture(scope="module", params=TENSORFLOWS)
def report(request):
    """What the script prints under one TensorFlow."""
    command = [sys.executable, "-W", "ignore", str(SCRIPT)]
    environment = dict(helpers.environment(), TF_USE_LEGACY_KERAS="1")
    if request.param == "1.15.5":
        command[0] = helpers.TF115_PYTHON
    elif request.param != "2":
        command.append("--v1")
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads(done.stdout.decode())
    assert found["tensorflow"].startswith(request.param[:1])
    return found


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_layer_is_the_official_one(case, report):
    found = report["cases"][case]
    assert found["descriptions"] == {}
    bounds = OTHER_SUMS.get(case, {})
    for aspect, difference in found["values"].items():
        assert difference <= bounds.get(aspect, 0.0), aspect
    assert found["compared"]["outputs"] > 0
    assert found["compared"]["gradient values"] > 0


@pytest.mark.parametrize("case", sorted(ERRORS))
def test_what_the_official_layers_refuse_is_refused(case, report):
    expected, actual = report["errors"][case]
    assert expected is not None
    assert actual is not None
    if "Variable" in expected[1] or "variable" in expected[1]:
        # `tf.get_variable` says it; 1.15 has another word for the type.
        assert actual == expected


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_shows_where_it_is(name, report):
    fault, found = FAULTS[name], report["faults"][name]
    if fault.aspect is None:
        assert found[0] is not None
        assert found[1] is None
    elif fault.aspect in found["values"]:
        assert found["values"][fault.aspect] > 1e-6
    else:
        assert fault.aspect in found["descriptions"]

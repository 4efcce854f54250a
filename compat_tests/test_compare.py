"""The comparison: its reports, its verdicts and causes, and the script."""

import html.parser
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
import types

import helpers
import numpy as np
import numpy_gan
import pytest
import tensorflow as tf
from numpy_gan import NumpyGan

from tf2gan.migration import (
    causes,
    dataflow,
    implementations,
    lockstep,
    report_html,
    report_json,
    report_text,
)
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.fingerprints import losses
from tf2gan.migration.hazards import HAZARDS
from tf2gan.migration.report import PHASES, Difference, Report

HOSTILE = "generator/<img src=x onerror=alert(1)>\"'&</style><script>/kernel"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def compare(candidate, reference=None, **settings):
    return lockstep.run(
        reference or NumpyGan(), candidate, numpy_gan.batches(), **settings
    )


def hazards(report):
    return [cause.hazard for cause in report.causes]


@pytest.fixture(scope="module")
def different():
    report = compare(NumpyGan(momentum=0.9))
    report.settings = {"reference": "one.py:right", "candidate": "two.py:<b>"}
    return report


@pytest.fixture(scope="module")
def hostile():
    """A report with names that mean something in HTML, and with no number."""
    report = Report(iterations=1, settings={"candidate": HOSTILE})
    arguments = (1, "discriminator_step", "weight", HOSTILE, np.inf, np.inf)
    report.add(Difference(*arguments, False, False, "only <i>one</i> has it"))
    return report


def test_equal_implementations_are_alike_and_no_cause_is_claimed():
    report = compare(NumpyGan())
    assert report.first is None
    assert report.causes == []
    assert all(row.alike for row in report.averages)
    assert "alike: no difference" in report_text.text(report)
    assert "causes" not in report_text.text(report)


def test_the_first_difference_is_marked_in_the_tree(different):
    marked = [node for node in dataflow.tree(different) if node.first]
    assert [node.name for node in marked] == ["moving averages"]
    before = dataflow.tree(different)[:8]
    assert {node.status for node in before} == {dataflow.OK}
    (line,) = [
        line
        for line in report_text.text(different).splitlines()
        if line.endswith("<- first")
    ]
    assert "discriminator/batch_normalization/moving_mean" in line


def hiding(implementation, *hidden):
    """Returns an implementation that shows less."""
    names = implementations.REQUIRED + implementations.OPTIONAL
    return types.SimpleNamespace(
        **{
            name: getattr(implementation, name)
            for name in names
            if name not in hidden and hasattr(implementation, name)
        }
    )


def test_what_one_side_cannot_show_is_not_compared():
    hidden = ("activations", "gradients", "generate")
    report = compare(hiding(NumpyGan(), *hidden))
    assert report.first is None
    statuses = {node.name: node.status for node in dataflow.tree(report)}
    for name in ("generator layers", "gradients", "samples"):
        assert statuses[name] == dataflow.NOT_COMPARED
    assert statuses["weights"] == dataflow.OK


def showing(change, **settings):
    """Returns an implementation whose activations are changed as they are shown."""
    whole = NumpyGan(**settings)
    candidate = hiding(whole)
    candidate.activations = lambda *batch: change(whole.activations(*batch))
    return candidate


def without_dense(shown):
    del shown["generator/dense"]
    return shown


@pytest.mark.parametrize(
    "change, note",
    [
        (without_dense, "only the reference has it"),
        (
            lambda shown: {n: v[:, :2] for n, v in shown.items()},
            "shapes (16, 4) and (16, 2)",
        ),
        (lambda shown: {n: v * np.nan for n, v in shown.items()}, "NaN on one"),
        (lambda shown: dict.fromkeys(shown, 1), "shapes (16, 4) and ()"),
    ],
)
def test_what_cannot_be_compared_is_named(change, note):
    report = compare(showing(change))
    assert report.first.name == "generator/dense"
    assert report.first.note.startswith(note)
    assert report.causes == []
    for write in (report_text.text, report_json.to_json, report_html.to_html):
        assert note.split(" (")[0] in write(report)


def test_the_text_fits_100_columns(different, hostile):
    for report in (different, hostile):
        lines = report_text.text(report).splitlines()
        assert max(map(len, lines)) <= report_text.WIDTH


def test_with_the_tolerance_that_is_needed_nothing_differs(different):
    needed = max(t.needed for t in different.tensors() if not t.noisy)
    assert needed > 1e-3
    enough = lockstep.Tolerance(relative=needed)
    assert compare(NumpyGan(momentum=0.9), tolerance=enough).first is None
    less = lockstep.Tolerance(relative=needed * 0.999)
    assert compare(NumpyGan(momentum=0.9), tolerance=less).first


@pytest.mark.parametrize(
    "order, said, hazard",
    [
        ((), "never updated", "updates-never-run"),
        (("generated", "real"), "generated before real", "updates-reversed"),
        (
            ("race", "real", "generated"),
            "matches TF1's unordered update: both read the old value",
            "updates-race",
        ),
        (
            ("generated",),
            "updated on generated images only",
            "updates-without-real",
        ),
        (
            ("real", "real", "generated"),
            "updated 3 times: real, real, generated",
            "evaluation-updates",
        ),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_order_of_updates_is_told(order, said, hazard, dtype):
    report = compare(NumpyGan(dtype, order), NumpyGan(dtype))
    rows = [
        row
        for row in report.averages
        if row.phase == "discriminator_step"
        and row.name.startswith("discriminator")
    ]
    assert len(rows) == 2
    for row in rows:
        assert row.reference == "real before generated"
        assert row.candidate == said
        assert not row.alike
    assert hazards(report) == [hazard]


@pytest.mark.parametrize(
    "settings, hazard",
    [
        ({"order": ("generated", "real")}, "updates-reversed"),
        ({"momentum": 0.9}, "batch-norm-momentum"),
        ({"learning_rate": 0.002}, "learning-rate"),
    ],
)
def test_a_reference_without_activations_is_measured_by_the_candidates(
    settings, hazard
):
    reference = hiding(NumpyGan(), "activations", "gradients", "generate")
    report = compare(NumpyGan(**settings), reference)
    assert hazards(report) == [hazard]


def test_a_port_in_order_is_told_from_a_reference_that_races():
    race = ("race", "real", "generated")
    report = compare(NumpyGan(), NumpyGan(order=race))
    assert (
        report.averages[2].reference
        == "unordered update: both read the old value"
    )
    assert report.averages[2].candidate == "real before generated"
    assert hazards(report) == ["updates-race"]


def test_without_activations_an_average_that_stands_is_still_told():
    report = compare(hiding(NumpyGan(order=()), "activations"))
    rows = [row for row in report.averages if not row.alike]
    assert rows[0].candidate == "never updated"


def test_resync_shows_the_fault_of_each_phase():
    def faulty():
        candidate = NumpyGan(learning_rate=0.002)
        candidate.label = 0.0
        return candidate

    report = compare(faulty())
    assert hazards(report) == ["learning-rate"]
    assert report.causes[0].finding == "learning rate 0.002 instead of 0.01"
    synced = compare(faulty(), resync=True)
    assert hazards(synced)[:2] == ["learning-rate", "label-flipped"]
    loss = synced.history["loss", "discriminator_step"]
    assert [d.allowed for d in loss] == [True] * 3
    loss = report.history["loss", "discriminator_step"]
    assert [d.allowed for d in loss] == [True, False, False]


def test_what_is_found_again_in_later_iterations_is_said_once():
    report = compare(NumpyGan(momentum=0.9), resync=True)
    averages = report.history["moving average", report.first.name]
    assert sum(not d.allowed for d in averages) == 3
    assert len(report.averages) == 4 * 2  # of each average in each phase
    assert hazards(report) == ["batch-norm-momentum"]


def test_another_difference_than_those_of_the_catalogue_has_no_cause():
    candidate = NumpyGan()
    step = candidate.discriminator_step

    def noisy_step(images, latent):
        loss = step(images, latent)
        kernel = candidate.values["discriminator/dense/kernel"]
        kernel += np.random.RandomState(5).normal(size=kernel.shape) * 1e-3
        return loss

    candidate.discriminator_step = noisy_step
    report = compare(candidate)
    assert report.first.name == "discriminator/dense/kernel"
    assert report.causes == []
    assert "likely causes: none recognised" in report_text.text(report)


def trained():
    """Returns an implementation whose slots are filled."""
    gan = NumpyGan()
    for batch in numpy_gan.batches(2, seed=8):
        gan.discriminator_step(*batch)
        gan.generator_step(*batch)
    return gan


def loading(change):
    """Returns an implementation that changes the state it is given."""
    candidate = NumpyGan()
    load = candidate.load_state
    candidate.load_state = lambda state: load(dict(state, **change(state)))
    return candidate


def exchange(state):
    stem = "discriminator/dense/kernel/Adam"
    return {stem: state[stem + "_1"], stem + "_1": state[stem]}


@pytest.mark.parametrize(
    "change, hazard, finding",
    [
        (exchange, "slots-exchanged", "Adam's first and second moments"),
        (
            lambda s: {"beta2_power": s["beta2_power"] / 0.999},
            "step-count-shifted",
            "off by -1 in beta2_power",
        ),
        (
            lambda s: {"generator/dense/bias": s["generator/dense/bias/Adam"]},
            "slots-of-another",
            "generator/dense/bias holds the reference's generator/dense/bias/",
        ),
        (
            lambda s: {
                "generator/dense/kernel": s["generator/dense/kernel"][:, ::-1]
            },
            "kernel-order",
            "with its axis 1 reversed",
        ),
        (
            lambda s: {
                "generator/dense/kernel": s["generator/dense/kernel"]
                .transpose()
                .reshape([3, 4])
            },
            "kernel-order",
            "axes in the order (1, 0), then reshaped",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")  # roots of first moments
def test_what_an_import_did_to_the_state_is_told(change, hazard, finding):
    report = compare(loading(change), trained())
    assert hazards(report) == [hazard]
    assert finding in report.causes[0].finding


OUTPUTS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "nothing": lambda x: x,
}


@pytest.mark.parametrize("size", [0.01, 1.0])
@pytest.mark.parametrize(
    "right, wrong", list(itertools.permutations(OUTPUTS, 2))
)
def test_the_generators_last_function_is_told(right, wrong, size):
    def ending_in(name):
        gan = hiding(NumpyGan())
        gan.generate = lambda latent: OUTPUTS[name](size * latent)
        return gan

    report = compare(ending_in(wrong), ending_in(right))
    assert [cause.finding for cause in report.causes] == [
        "the generator ends in {} instead of {}".format(wrong, right)
    ]


@pytest.mark.parametrize("size", [0.01, 1.0])
def test_other_samples_are_not_taken_for_another_last_function(size):
    def scaled(factor):
        gan = hiding(NumpyGan())
        gan.generate = lambda latent: np.tanh(factor * size * latent)
        return gan

    report = compare(scaled(1.001), scaled(1.0))
    assert report.first.kind == "sample"
    assert report.causes == []


def test_opposite_gradients_are_told():
    candidate = NumpyGan()
    gradients = candidate.gradients
    candidate.gradients = lambda *batch: {
        name: -value for name, value in gradients(*batch).items()
    }
    assert hazards(compare(candidate)) == ["gradient-sign"]


def without_powers(gan):
    """Returns an implementation that keeps its beta powers to itself, as Keras."""
    state, load = gan.state, gan.load_state
    powers = {n: v for n, v in state().items() if "_power" in n}
    shown = hiding(gan)
    shown.state = lambda: {n: v for n, v in state().items() if n not in powers}
    shown.load_state = lambda given: load(dict(powers, **given))
    return shown


@pytest.mark.parametrize(
    "settings, findings",
    [
        (
            {"learning_rate": 0.002},
            ["the learning rate is 0.2 times the reference's"],
        ),
        # A step of another length, a first moment of another size: nothing tells
        # which of the constants it was.
        ({"beta1": 0.95}, []),
        ({"beta1": 0.5}, []),
    ],
)
def test_without_beta_powers_no_more_is_claimed_than_can_be(settings, findings):
    report = compare(
        without_powers(NumpyGan(**settings)), without_powers(NumpyGan())
    )
    assert report.first is not None
    assert [cause.finding for cause in report.causes] == findings


@pytest.mark.parametrize("beta1", [0.5, 0.95])
def test_another_beta_is_not_taken_for_clipping_or_another_rate(beta1):
    report = compare(NumpyGan(beta1=beta1))
    assert hazards(report) == ["adam-beta1"]


def _confident(clip):
    """A discriminator's phase with logits that Keras's clipping changes."""
    logits = np.array([[-30.0], [2.0]])
    scopes = ("discriminator", "discriminator_1")
    shown = {scope + "/dense": logits for scope in scopes}
    share = 1 / (1 + np.exp(-logits))
    share = np.clip(share, clip, 1 - clip)
    loss = -np.log(share).mean() - np.log(1 - share).mean()
    return Side(loss=loss, activations=shown)


def test_a_loss_of_clipped_probabilities_is_recognised():
    arguments = (1, "discriminator_step", "loss", "discriminator_step")
    apart = Difference(*arguments, 7.0, 0.4, False, False)
    phase = (1, "discriminator_step")
    exact, clipped = _confident(1e-15), _confident(1e-7)
    found = causes.find(Evidence(*phase, exact, clipped, [apart]))
    assert [cause.hazard for cause in found] == ["loss-of-probabilities"]
    assert causes.find(Evidence(*phase, exact, exact, [apart])) == []


def test_every_fingerprint_belongs_to_an_entry_of_the_catalogue():
    folder = helpers.ROOT / "tf2gan/migration/fingerprints"
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    named = set(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', source))
    assert named - {"batch-norm-momentum"} <= set(HAZARDS) | {"-inverted"}
    assert set(HAZARDS) - named == {
        # These keys are put together.
        "adam-beta1",
        "adam-beta2",
        "batch-norm-momentum-inverted",
    }


def _strict(text):
    def refuse(name):
        raise AssertionError(name + " is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_json_is_complete(different):
    read = _strict(report_json.to_json(different))
    assert (read["format"], read["version"]) == ("tf2gan comparison", 2)
    assert (read["alike"], read["iterations"]) == (False, 3)
    assert read["first"]["kind"] == "moving average"
    assert read["causes"][0]["hazard"] == "batch-norm-momentum"
    catalogue = read["causes"][0]["catalogue"]
    assert catalogue["cure"] == HAZARDS["batch-norm-momentum"].cure
    rows = {(t["kind"], t["name"]): t["history"] for t in read["tensors"]}
    assert set(rows) == set(different.history)
    for key, comparisons in different.history.items():
        assert rows[key] == [
            [d.iteration, d.phase, d.absolute, d.relative] for d in comparisons
        ]
    stages = [stage["name"] for stage in read["dataflow"]["stages"]]
    assert stages == [node.name for node in dataflow.tree(different)]
    assert len(read["averages"]) == len(different.averages) == 8


def test_what_is_not_finite_is_null_in_the_json(hostile):
    (tensor,) = _strict(report_json.to_json(hostile))["tensors"]
    assert tensor["name"] == HOSTILE
    assert tensor["needed"] is None
    assert tensor["history"] == [[1, "discriminator_step", None, None]]


class _Page(html.parser.HTMLParser):
    """Checks that tags are balanced; collects them and the text."""

    VOID = {"meta", "br", "line", "polyline", "circle"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_whole_and_needs_nothing_else(different):
    text = report_html.to_html(different)
    page = _Page(text)
    assert page.tags.count("svg") == len({t.kind for t in different.tensors()})
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {"src", "href", "xlink:href", "style"} & names
    assert not [name for name in names if name.startswith("on")]
    for forbidden in ("http:", "https:", "//", "url(", "@import"):
        assert forbidden not in text
    shown = " ".join(page.texts)
    for expected in (
        different.first.name,
        different.causes[0].finding,
        HAZARDS["batch-norm-momentum"].cure,
        "real before generated",
        "two.py:<b>",
    ):
        assert expected in shown


def test_names_cannot_become_markup(hostile):
    page = _Page(report_html.to_html(hostile))
    assert not {"img", "script", "i", "b"} & set(page.tags) - {"i", "b"}
    shown = "".join(page.texts)
    assert shown.count(HOSTILE) >= 4
    assert "only <i>one</i> has it" in shown


def _console(path):
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "</html>" in done.stdout
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_the_page_opens_without_console_errors(different, tmp_path):
    text = report_html.to_html(different)
    page, faulty = tmp_path / "page.html", tmp_path / "faulty.html"
    page.write_text(text, encoding="utf-8")
    assert _console(page) == []
    faulty.write_text(text.replace("</main>", "<script>0</script>"))
    assert len(_console(faulty)) == 1  # the page forbids scripts


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Runs `compare.py lockstep` here, on batches for the GAN in NumPy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "one", raising=False)
    images, latent = zip(*numpy_gan.batches())
    np.savez("batches.npz", images=images, latent=latent)
    shutil.copy(numpy_gan.__file__, "one.py")
    shutil.copy(numpy_gan.__file__, "two.py")

    def call_script(*flags, command=("lockstep",)):
        capfd.readouterr()
        arguments = [*command, "--batches=batches.npz"]
        arguments += ["--reference=one.py:right", *flags]
        status = helpers.call_script("compare", *arguments)
        return helpers.Outcome(status, *capfd.readouterr())

    return call_script


def test_two_files_that_are_alike_end_with_status_0(call):
    outcome = call("--candidate=two.py:right")
    assert (outcome.status, outcome.err) == (0, "")
    assert "alike: no difference beyond the tolerance in 3" in outcome.out


def test_two_files_that_differ_end_with_status_1_and_their_reports(call):
    outputs = ["--json=report.json", "--html=report.html"]
    outcome = call("--candidate=two.py:slow", *outputs)
    assert (outcome.status, outcome.err) == (1, "")
    assert "1. learning rate 0.002 instead of 0.01" in outcome.out
    with open("report.json") as file:
        read = _strict(file.read())
    assert read["settings"]["candidate"] == "two.py:slow"
    assert read["causes"][0]["hazard"] == "learning-rate"
    with open("report.html", encoding="utf-8") as file:
        _Page(file.read())
    again = call("--candidate=two.py:slow", *outputs)
    assert again.status == 1
    assert "--json='report.json' exists; name another file" in again.err
    assert call("--candidate=two.py:right", *outputs, "--overwrite").status == 0


def test_looser_tolerances_and_fewer_iterations_are_taken(call):
    assert call("--candidate=two.py:slow", "--tolerance=10").status == 0
    outcome = call("--candidate=two.py:wrong_order", "--iterations=1")
    assert "batch 1" not in outcome.out
    assert outcome.status == 1
    assert "instead of real before generated" in outcome.out


OTHER_NAMES = """
import one

class Other(one.NumpyGan):
    def state(self):
        return {self.own(n): v for n, v in super().state().items()}

    def load_state(self, state):
        back = {self.own(n): n for n in super().state()}
        super().load_state({back[n]: v for n, v in state.items()})

    def own(self, name):
        return name.replace("generator/dense", "G/fc").replace("hidden", "fc1")

def make(dtype, seed):
    assert (dtype, seed) == ("float64", 0)
    return Other()
"""


def test_a_name_map_brings_names_together(call):
    with open("other.py", "w") as file:
        file.write(OTHER_NAMES)
    names = {
        "generator/dense": "G/fc",
        "discriminator/hidden/kernel": "discriminator/fc1/kernel",
    }
    with open("names.json", "w") as file:
        json.dump(names, file)
    arguments = ["--candidate=other.py:make", "--resync"]
    assert call(*arguments, "--name_map=names.json").status == 0
    without = call(*arguments)
    assert without.status == 1
    assert "candidate other.py:make: load_state failed with" in without.err
    names["generator/densest"] = "G/fd"
    with open("names.json", "w") as file:
        json.dump(names, file)
    wrong = call(*arguments, "--name_map=names.json")
    assert "the reference has no 'generator/densest'" in wrong.err


FILES = {
    "broken.py": "def f(:",
    "raises.py": "def make():\n    return 1 / 0",
    "empty.py": "def make():\n    return 3",
    "late.py": (
        "import one\n"
        "class Late(one.NumpyGan):\n"
        "    def generator_step(self, images, latent):\n"
        "        raise KeyError('no such layer')\n"
    ),
    "leaves.py": "import sys\nsys.exit(0)",
    "odd.py": (
        "import one\n"
        "class Listed(one.NumpyGan):\n"
        "    def state(self):\n"
        "        return list(super().state())\n"
        "class Named(one.NumpyGan):\n"
        "    def state(self):\n"
        "        return {name: name for name in super().state()}\n"
        "class Whole(one.NumpyGan):\n"
        "    def generator_step(self, images, latent):\n"
        "        return images\n"
    ),
    "list.json": '["a"]',
    "twice.json": '{"a": "c", "b": "c"}',
    "deep.json": "[" * 100000,
    "numbers.json": '{"a": 1}',
    "pickle.npz": "\x80\x04N.",
}


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--candidate=here", "--candidate='here': expected SIDE:MODEL"),
        ("--candidate=tf2:nogan", "unknown model 'nogan'; known are: dcgan28"),
        ("--candidate=tf2:dcgan28,beta3=1", "'beta3' is no constant"),
        ("--candidate=tf2:dcgan28,beta1=x", "beta1 should be a number"),
        ("--candidate=tf2:dcgan28,dtype=int8", "dtype is one of float32"),
        ("--candidate=no.py:f", "no file 'no.py'"),
        ("--candidate=no.module:f", "failed with ModuleNotFoundError"),
        ("--candidate=two.py:nothing", "no function 'nothing' in two.py"),
        ("--candidate=broken.py:f", "failed with SyntaxError"),
        ("--candidate=raises.py:make", "failed with ZeroDivisionError"),
        ("--candidate=empty.py:make", "without the method discriminator_step"),
        ("--candidate=late.py:Late", "generator_step failed with KeyError"),
        ("--candidate=leaves.py:f", "failed with SystemExit"),
        ("--candidate=odd.py:Listed", "state returned a list; expected a dict"),
        (
            "--candidate=odd.py:Named",
            "state: 'generator/dense/kernel' is of type <U",
        ),
        (
            "--candidate=odd.py:Whole",
            "of shape (16, 2, 2, 1); expected the loss",
        ),
        ("--name_map=no.json", "cannot read the name map 'no.json'"),
        ("--name_map=broken.py", "name map 'broken.py' is no JSON"),
        ("--name_map=list.json", "expected one object"),
        ("--name_map=numbers.json", "expected one object"),
        ("--name_map=deep.json", "name map 'deep.json' is no JSON"),
        ("--name_map=twice.json", "maps two names to the same one"),
        ("--html=no/where.html", "--html='no/where.html': expected a file"),
        ("--json=.", "--json='.': expected a file"),
        ("--batches=pickle.npz", "cannot read --batches='pickle.npz'"),
        ("--batches=no.npz", "cannot read --batches='no.npz'"),
        ("--iterations=4", "has 3 iterations, --iterations=4 are asked for"),
    ],
)
def test_a_bad_input_is_one_line_and_status_1(call, flags, message):
    helpers.write_files(".", {n: t.encode("latin1") for n, t in FILES.items()})
    given = [flags]
    if not flags.startswith("--candidate"):
        given.append("--candidate=two.py:right")
    outcome = call(*given)
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert "Traceback" not in outcome.out


@pytest.mark.parametrize(
    "command, flags, message",
    [
        (("lockstep",), "--iterations=0", "flag --iterations=0"),
        (("lockstep",), "--dtype=int8", "flag --dtype=int8"),
        (("lockstep",), "--no_such=1", "Unknown command line flag"),
        (("lockstep", "more"), "", "unexpected argument 'more'"),
        (("walk",), "", "unknown command 'walk'; known are: lockstep, "),
        ((), "", "the argument COMMAND is missing"),
    ],
)
def test_a_bad_flag_is_one_line_and_status_2(call, command, flags, message):
    outcome = call(*flags.split(), command=command)
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err


@pytest.fixture
def eagerly():
    tf.config.run_functions_eagerly(True)  # tracing takes longer than the steps
    yield
    tf.config.run_functions_eagerly(False)


TINY = ["--batch_size=4", "--iterations=1", "--update_ops=scoped"]


@pytest.mark.slow
def test_the_models_of_the_registry_are_alike(eagerly, capfd):
    assert helpers.call_script("compare", "lockstep", *TINY) == 0
    assert "alike: no difference" in capfd.readouterr().out


def test_the_models_of_the_registry_are_compared_by_name(eagerly, capfd):
    faults = "leaky_relu_slope=0.3,adam_epsilon=1e-7,batch_norm_momentum=0.9"
    wrong = "--candidate=tf2:dcgan28,update_ops=source," + faults
    assert helpers.call_script("compare", "lockstep", *TINY, wrong) == 1
    said = " ".join(capfd.readouterr().out.split())
    for number, finding in enumerate(
        (
            "leaky ReLU slope 0.3 instead of 0.2",
            "Adam epsilon 1e-07 instead of 1e-08",
            "batch-norm momentum 0.9 instead of 0.99",
            "the discriminator's step updates the averages of the generator too",
        ),
        start=1,
    ):
        assert "{}. {}".format(number, finding) in said
    assert "5. " not in said
    assert "reference: never updated candidate: updated once" in said


def test_an_object_is_refused_before_it_is_run():
    with pytest.raises(Exception, match="without the method load_state"):
        implementations.Guarded(type("No", (), _methods("load_state"))(), "no")


def _methods(missing):
    return {
        name: staticmethod(lambda *_: None)
        for name in implementations.REQUIRED
        if name != missing
    }


def test_the_plots_show_exact_equality_and_what_is_not_finite(hostile):
    text = report_html.to_html(hostile)
    assert "nan" not in re.sub(r"[\w-]*nan[\w-]+", "", text).lower()
    assert math.isinf(hostile.first.absolute)


def test_phases_may_have_other_names():
    report = Report(iterations=2)
    for iteration in (1, 2):
        for phase in ("train D", "train G"):
            arguments = (iteration, phase, "loss", phase, 0.0, 0.0)
            report.add(Difference(*arguments, False, True))
    assert report.phases() == ["train D", "train G"]
    assert dataflow.moment(report) == (2, "train G")
    for write in (report_text.text, report_json.to_json, report_html.to_html):
        assert "train G" in write(report)


@pytest.mark.parametrize(
    "loss, claimed",
    [
        (0.5, ["loss-factor"]),
        (-1.0, ["loss-factor"]),
        (2.0, ["loss-factor"]),
        (0.7, []),
        (float("nan"), []),
        (float("inf"), []),
    ],
)
@pytest.mark.parametrize("phase", PHASES)
def test_a_plain_factor_of_a_loss_is_named_in_either_phase(
    phase, loss, claimed
):
    difference = Difference(1, phase, "loss", phase, 0.5, 0.5, False, False)
    evidence = Evidence(1, phase, Side(loss=1.0), Side(loss=loss), [difference])
    assert [found[0] for found in losses.loss_factor(evidence)] == claimed

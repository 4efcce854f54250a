"""The twin rule and the dependency rule, from the syntax trees."""

import ast
import pathlib
import re

import pytest
import twins

ROOT = pathlib.Path(__file__).parent.parent
TF1, TF2 = ROOT / "tf1gan", ROOT / "tf2gan"
# The first serves scripts of other people, and belongs to the migration layer; the
# second makes one of tf2gan's layers faster.
WITHOUT_TWIN = {"trace.py", "transposed.py"}
FILES = sorted(
    {str(p.relative_to(TF1)) for p in TF1.rglob("*.py")} - WITHOUT_TWIN
)
LONGEST_LINE = 80


def _sources(file):
    return (TF1 / file).read_text(), (TF2 / file).read_text()


def test_both_sides_have_the_same_files():
    theirs = {
        str(p.relative_to(TF2))
        for p in TF2.rglob("*.py")
        if p.relative_to(TF2).parts[0] not in ("common", "migration")
    }
    assert theirs - WITHOUT_TWIN == set(FILES)
    assert len(FILES) >= 8


@pytest.mark.parametrize("file", [f for f in FILES if f != "__init__.py"])
def test_twins_tell_the_same_story(file):
    assert twins.differences(file, *_sources(file)) == []


@pytest.mark.parametrize("file", [f for f in FILES if f != "__init__.py"])
def test_twins_explain_each_divergence_on_both_sides(file):
    source1, source2 = _sources(file)
    assert twins.comments(source1) == twins.comments(source2)


@pytest.mark.parametrize("file", FILES)
def test_twins_fit_into_two_windows(file):
    for source in _sources(file):
        assert [
            line for line in source.splitlines() if len(line) > LONGEST_LINE
        ] == []


def test_no_exemption_is_stale():
    used = set()
    for file in FILES:
        twins.differences(file, *_sources(file), used)
    assert used == twins.ONLY_IN_TF1 | twins.ONLY_IN_TF2


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("losses.py", "def get_losses(", "def find_losses("),
        (
            "losses.py",
            "def cross_entropy_generator(",
            "def _cross_entropy_generator(",
        ),
        ("losses.py", "label: float", "target: float"),
        ("layers.py", "momentum: float = 0.99", "momentum: float = 0.9"),
        (
            "training.py",
            "def generator_step(self, images",
            "def generator_step(self, x",
        ),
        ("training.py", "def evaluate(", "def check("),
        ("checkpoint.py", "keep: int = 5", "keep: int = 4"),
        ("layers.py", "    *,\n    momentum", "    momentum"),
        ("layers.py", "LEAST_FUSED_EPSILON = ", "SMALLEST_EPSILON: float = "),
        ("training.py", "    @property\n", ""),
        ("models/dcgan28.py", "Maps latent vectors", "Turns latent vectors"),
        ("sampling.py", "class Sampler", "class Drawer"),
    ],
)
def test_a_change_on_one_side_is_noticed(file, old, new):
    source1, source2 = _sources(file)
    assert old in source1
    assert twins.differences(file, source1.replace(old, new, 1), source2)


def test_an_exchanged_order_is_noticed():
    source1, source2 = _sources("losses.py")
    first = source1.index("def cross_entropy_discriminator")
    second = source1.index("def cross_entropy_generator")
    end = source1.index("LOSSES = ")
    moved = source1[:first] + source1[second:end] + source1[first:second]
    found = twins.differences("losses.py", moved + source1[end:], source2)
    assert "another order" in found[0]


def test_a_removed_function_is_noticed():
    source1, source2 = _sources("layers.py")
    start = source2.index("def flatten(")
    end = source2.index("def leaky_relu(")
    found = twins.differences(
        "layers.py", source1, source2[:start] + source2[end:]
    )
    assert found == [
        "layers.py: only in tf1gan: ['flatten']; only in tf2gan: []"
    ]


def _imports(path, everywhere=True):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_tf2gan_does_not_import_tf1gan():
    for path in TF2.rglob("*.py"):
        assert not [
            name for name in _imports(path) if name.startswith("tf1gan")
        ], path


def test_tf1gan_imports_of_tf2gan_only_what_is_common():
    for path in TF1.rglob("*.py"):
        names = [name for name in _imports(path) if name.startswith("tf2gan")]
        assert all(name.startswith("tf2gan.common") for name in names), path


def test_common_imports_no_framework():
    for path in (TF2 / "common").rglob("*.py"):
        for name in _imports(path, everywhere=path.name != "datasets.py"):
            assert not re.match(r"(tensorflow|keras|torch|jax)\b", name), path


def test_packages_import_nothing():
    for package in (TF1, TF2, TF2 / "common"):
        assert list(_imports(package / "__init__.py")) == []

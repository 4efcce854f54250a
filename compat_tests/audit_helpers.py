"""What the tests of the audit share: the graphs that each TensorFlow exports."""

import json
import subprocess

import audit_graphs
import helpers
import pytest

from tf2gan.migration import graphs
from tf2gan.migration.audit import auditor

ON_1X = pytest.param(
    "1.15.5",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(
            not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115
        ),
    ],
)
VERSIONS = ["2.x", ON_1X]


class Exported:
    """The graphs that one TensorFlow wrote, what it observed, and their audits."""

    def __init__(self, folder):
        self.folder = folder
        self.observed = json.loads((folder / "observed.json").read_text())
        self._audits = {}

    def path(self, name):
        return self.folder / (name + ".meta")

    def audit(self, name):
        if name not in self._audits:
            graph = graphs.read(str(self.path(name)))
            self._audits[name] = auditor.audit(graph)
        return self._audits[name]


def export(version, folder):
    """Lets a version of TensorFlow, "2.x" or "1.15.5", write its graphs."""
    if version == "2.x":
        audit_graphs.export(str(folder))
    else:
        subprocess.run(
            [
                helpers.TF115_PYTHON,
                "-W",
                "ignore",
                audit_graphs.__file__,
                str(folder),
            ],
            env=helpers.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=300,
        )
    return Exported(folder)


def call(capsys, *arguments):
    """Runs the script in this process."""
    status = helpers.call_script("audit_graph", *arguments)
    out, err = capsys.readouterr()
    return helpers.Outcome(status, out, err)

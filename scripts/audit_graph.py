"""Audits a TF1 graph without running it: train ops, moving averages, what is wrong.

python scripts/audit_graph.py --graph=model.meta
python scripts/audit_graph.py --graph=my_gan.py:build

Exit status: 0 if nothing was found that is as severe as --fail_on, 1 if something
was, 2 if a flag is wrong or the graph cannot be read.
"""

import sys

import command_line
from absl import flags

from tf2gan.common.errors import UserError

STATUS_FOUND = 1

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(command_line)

flags.DEFINE_string(
    "graph",
    None,
    "What to audit: a .meta file, a GraphDef (.pb, or .pbtxt as text), a folder with "
    "a SavedModel or a checkpoint (the latest), or a function that builds a graph, "
    "path/to/file.py:function or package.module:function. From a file no code is run.",
)
flags.DEFINE_multi_string(
    "train_op",
    [],
    "Name of an operation that trains; may be repeated. Default: the collection "
    "TRAIN_OP, else what is at the end of all optimizers' operations.",
)
flags.DEFINE_string(
    "json", None, "File to write the audit to, as JSON with every name."
)
flags.DEFINE_enum(
    "fail_on",
    "error",
    ["note", "warning", "error", "never"],
    "The exit status is 1 if anything as severe as this was found, else 0. It is 2 "
    "if a flag is wrong or the graph cannot be read.",
)


def main() -> None:
    """Audits, prints, and exits with status 1 if too much was found."""
    try:
        found = _audit()
    except (UserError, OSError) as error:
        error.status = command_line.STATUS_USAGE
        raise
    if found:
        sys.exit(STATUS_FOUND)


def _audit():
    from tf2gan.migration import graphs, messages
    from tf2gan.migration.audit import auditor, findings, report

    if FLAGS.graph is None:
        raise UserError(f"--graph is missing; {messages.EXPECTED}")
    audit = auditor.audit(graphs.read(FLAGS.graph), FLAGS.train_op)
    print(report.as_text(audit), flush=True)
    if FLAGS.json:
        report.write_json(audit, FLAGS.json)
    if FLAGS.fail_on == "never":
        return []
    return findings.at_least(audit.findings, FLAGS.fail_on)


if __name__ == "__main__":
    command_line.run(main)

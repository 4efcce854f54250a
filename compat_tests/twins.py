"""Compares twin files by their syntax trees: names, order, arguments, docstrings."""

import ast

KINDS = ("property", "staticmethod", "classmethod")

# What one side has and the other cannot have. Each entry must be needed.
ONLY_IN_TF1 = {
    # `tf.layers` shares a layer by name; Keras by calling the same object again.
    ("layers.py", "dense", "*, reuse"),
    ("layers.py", "conv2d", "*, reuse"),
    ("layers.py", "conv2d_transpose", "*, reuse"),
    ("layers.py", "batch_normalization", "*, reuse"),
}
ONLY_IN_TF2 = {
    # What TF1 computes in a function is a class in Keras.
    ("layers.py", "Dense"),
    ("layers.py", "Conv2D"),
    ("layers.py", "Conv2DTranspose"),
    ("layers.py", "LeakyRelu"),
    ("layers.py", "BatchNormalization"),
    # TF1 has no Keras policy of mixed precision.
    ("training.py", "Trainer.__init__", "precision"),
    # TF1 inherits these from `tf.train.AdamOptimizer`.
    ("optimizers.py", "Adam.build"),
    ("optimizers.py", "Adam.update_step"),
    ("optimizers.py", "Adam.apply"),
    ("optimizers.py", "Adam.get_config"),
    ("optimizers.py", "Adam.__init__", "**kwargs"),
}


def describe(source):
    """Returns [(name, [arguments with defaults], first docstring line)] of a file."""
    tree = ast.parse(source)
    return [("", [], _summary(tree))] + list(_members(tree.body, ""))


def _members(body, prefix):
    for node in body:
        name = prefix + getattr(node, "name", "")
        if isinstance(node, ast.ClassDef) and _is_public(node.name):
            yield name, [], _summary(node)
            yield from _members(node.body, name + ".")
        elif isinstance(node, ast.FunctionDef) and _is_public(node.name):
            kinds = [ast.unparse(d) for d in node.decorator_list]
            kind = " ".join(k for k in kinds if k in KINDS)
            yield name, _arguments(node.args), kind + _summary(node)
        elif isinstance(node, ast.AnnAssign) and _is_public(node.target.id):
            yield prefix + node.target.id, [], None
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and _is_public(target.id):
                    yield prefix + target.id, [], None


def _is_public(name):
    return not name.startswith("_") or name == "__init__"


def _summary(node):
    return (ast.get_docstring(node) or "").split("\n")[0]


def _arguments(arguments):
    names = [argument.arg for argument in arguments.args]
    defaults = [""] * (len(names) - len(arguments.defaults))
    defaults += ["=" + ast.unparse(default) for default in arguments.defaults]
    listed = [name + default for name, default in zip(names, defaults)]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        end = "=" + ast.unparse(default) if default else ""
        listed.append("*, " + argument.arg + end)
    if arguments.vararg:
        listed.append("*" + arguments.vararg.arg)
    if arguments.kwarg:
        listed.append("**" + arguments.kwarg.arg)
    return listed


def differences(file, source1, source2, used=None):
    """Returns a sentence per difference between twins; notes exemptions in `used`."""
    used = set() if used is None else used
    members1 = _without(file, describe(source1), ONLY_IN_TF1, used)
    members2 = _without(file, describe(source2), ONLY_IN_TF2, used)
    names1, names2 = [m[0] for m in members1], [m[0] for m in members2]
    if names1 != names2:
        only1 = [n for n in names1 if n not in names2]
        only2 = [n for n in names2 if n not in names1]
        return [
            f"{file}: only in tf1gan: {only1}; only in tf2gan: {only2}"
            if only1 or only2
            else f"{file}: another order: {names1} and {names2}"
        ]
    found = []
    for (name, arguments1, line1), (_, arguments2, line2) in zip(
        members1, members2
    ):
        if arguments1 != arguments2:
            found.append(f"{file}: {name} takes {arguments1} and {arguments2}")
        if line1 != line2:
            found.append(
                f"{file}: {name} is described by {line1!r} and {line2!r}"
            )
    return found


def _without(file, members, exemptions, used):
    kept = []
    for name, arguments, line in members:
        exempt = next(
            (
                e
                for e in exemptions
                if len(e) == 2
                and e[0] == file
                and (name + ".").startswith(e[1] + ".")
            ),
            None,
        )
        if exempt:
            used.add(exempt)
            continue
        for argument in list(arguments):
            key = (file, name, argument.split("=")[0])
            if key in exemptions:
                used.add(key)
                arguments.remove(argument)
        kept.append((name, arguments, line))
    return kept


def comments(source):
    """Returns the paragraphs that begin with `# TF1:` and `# TF2:`, in order."""
    found, current = [], None
    for line in source.splitlines():
        line = line.strip()
        if line.startswith(("# TF1: ", "# TF2: ")):
            current = [line]
            found.append(current)
        elif line.startswith("# ") and current:
            current.append(line)
        else:
            current = None
    return [" ".join(paragraph) for paragraph in found]

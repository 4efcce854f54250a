"""Records what a TF1 training script does, so that a port can be run on it later.

One file, to be copied next to a script: it imports NumPy and TensorFlow only, and
runs on TensorFlow 1.4 to 2.x (`tf.compat.v1`) with Python 2.7 and 3.5 or later.

    recorder = trace.record(session, "my_trace", [
        trace.Phase("discriminator_step", d_train, d_loss),
        trace.Phase("generator_step", g_train, g_loss),
    ], inputs={"images": x, "latent": z})

From then on every `session.run` that runs one of the train ops is recorded; its
result is what it would have been. The folder holds

    trace.json       format, version, variables, phases, what cannot be replayed
    initial.npz      all global variables before the first recorded call
    calls/00000001.npz ...    one file per recorded call, in order

and every file in it is complete at any time: a script may be killed. `trace.json`
is written once, before the first recorded call, with the keys

    format, version          "gan trace", 1
    tensorflow, numpy, python        versions
    variables        [{name, shape, dtype, trainable}], in order of creation
    phases           [{name, loss, trains}]; trains: variables with a gradient
    inputs           {name given by the user: tensor}
    every            variables and gradients are in each n-th call of a phase
    random           [operation]: random numbers drawn within a train step
    readers          [operation]: queues and iterators read within a train step
    left_out         [variable of a type that is not recorded]

The arrays of `initial.npz` are `variable/<name>`. Those of a call are `phase` (an
index into phases), `loss`, `input/<name>` (what was fed, or was computed for a
tensor in `inputs`), and in each n-th call of the phase `gradient/<name>`, as the
optimizer received it, and `variable/<name>`, after the call. `changed/<name>` is a
variable that another `session.run`, not recorded, left with a new value before this
call. Arrays are uncompressed, and never objects: no pickle is written or needed.
"""

import errno
import io
import json
import os
import sys
import threading
import warnings

import numpy as np
import tensorflow as tf

FORMAT = "gan trace"
VERSION = 1

RECORDED_KINDS = "biufc"  # bool, integer, unsigned, float, complex
GRADIENT_ARGUMENTS = {"grad", "delta"}  # of the optimizers' kernels
INPUT_TYPES = ("Placeholder", "PlaceholderV2")
READER_TYPES = (
    "IteratorGetNext",
    "IteratorGetNextSync",
    "QueueDequeue",
    "QueueDequeueMany",
    "QueueDequeueManyV2",
    "QueueDequeueUpTo",
    "QueueDequeueUpToV2",
    "QueueDequeueV2",
    "ReaderRead",
    "ReaderReadV2",
)
RANDOM_TYPES = (
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomCrop",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "SampleDistortedBoundingBox",
    "TruncatedNormal",
)


class Phase(object):  # noqa: UP004 (Python 2)
    """One kind of training step of the script.

    Attributes:
      name: by which the replay knows it, such as "discriminator_step".
      train: what the script fetches in order to train: an operation, a tensor, or a
        list of them. A call is a step if it runs all of the list. One that runs a
        part of it is none: it is not recorded, but warned of, and what it changes
        is recorded before the next step like what any other call changes. Operations
        that the script runs in turn are phases of their own.
      loss: tensor. It is fetched in the same call, so it is that of the batch. (The
        loss of a Wasserstein GAN does not decide its own gradient: with TF1's old
        variables it may then be computed before or after the update.)
    """

    def __init__(self, name, train, loss):
        self.name = name
        self.train = train
        self.loss = loss


def record(session, folder, phases, inputs=None, every=1, calls=20):
    """Starts to record the session's training steps; returns the `Recorder`.

    The session's method `run` is replaced, so the script's own calls, and those of
    `eval` and of a Saver, stay as they are. All train ops must have been made.
    Variables need not have been initialized yet.

    Args:
      session: a `tf.Session` or `tf.InteractiveSession`.
      folder: to write into; it must not exist.
      phases: list of `Phase`.
      inputs: {"images": tensor, "latent": tensor}: names for the tensors that go
        into a step. Other placeholders are recorded too, under their own names. A
        tensor that is not fed but computed, such as in-graph noise, is recorded as
        it was in the step.
      every: variables and gradients are recorded in the first of so many calls of a
        phase; losses and inputs in all.
      calls: after so many recorded calls the script goes on unrecorded.

    Raises:
      ValueError: if an argument is not what it should be.
      OSError: if the folder exists or cannot be written.
    """
    _check_arguments(session, phases, every, calls)
    return Recorder(session, folder, phases, inputs, every, calls)


class Recorder(object):  # noqa: UP004 (Python 2)
    """Writes the training steps of a session into a folder; see `record`."""

    def __init__(self, session, folder, phases, inputs, every, calls):
        graph = session.graph
        self._session, self._folder = session, folder
        self._every, self._calls = every, calls
        self._phases = [_GraphPhase(graph, phase) for phase in phases]
        named = sorted((inputs or {}).items())
        self._inputs = [(name, _tensor(graph, x)) for name, x in named]
        _check_inputs(self._inputs)
        everything = graph.get_collection("variables")
        self._left_out = [v for v in everything if not _is_recorded(v)]
        self._variables = [v for v in everything if _is_recorded(v)]
        _make_folder(folder)
        self._count = 0
        self._state = None  # after the last recorded call, if it is known
        self._disturbed = False  # whether other calls came after it
        self._partly = set()  # names of phases that were warned of
        self._runs = {}  # by fetched operations, all that are run
        self._thread = None
        self._run = session.run
        session.run = self.run

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        """Runs what `session.run` would, and returns the same."""
        arguments = {"options": options, "run_metadata": run_metadata}
        phase = self._phase_of(fetches)
        if phase is None:
            self._before_other_run()
            return self._run(fetches, feed_dict, **arguments)
        try:
            return self._recorded(phase, fetches, feed_dict, arguments)
        except BaseException:
            self.stop()  # what a failed step left undone is not known
            raise

    def stop(self):
        """Ends the recording; the session is as it was."""
        if vars(self._session).get("run") == self.run:
            del self._session.run
        self._calls = self._count

    @property
    def calls(self):
        """How many calls have been recorded."""
        return self._count

    def _phase_of(self, fetches):
        if self._count >= self._calls:
            return None
        fetched = set(_operations(self._session.graph, fetches))
        # What is fetched may run a train op, or the rest of a phase: a group, or an
        # average that waits for it.
        run = self._run_by(fetched)
        begun = [p for p in self._phases if p.train & fetched or p.train <= run]
        found = [p for p in begun if p.train <= run]
        whole = set().union(*[p.train for p in found])
        # An operation of several phases, such as a step count, belongs to each.
        partly = [p for p in begun if p.train & fetched - whole]
        if len(found) + len(partly) > 1 and found:
            raise ValueError(
                "one session.run trains {}: each is compared by itself, and their "
                "order may be open; run one after the other".format(
                    " and ".join(p.name for p in found + partly)
                )
            )
        for phase in partly:
            self._warn_of_part(phase, run)
        return found[0] if found else None

    def _run_by(self, fetched):
        """Returns all operations that a call runs; scripts repeat their calls."""
        key = frozenset(fetched)
        if key not in self._runs:
            self._runs[key] = _ancestors(fetched)
        return self._runs[key]

    def _warn_of_part(self, phase, run):
        if phase.name not in self._partly:
            self._partly.add(phase.name)
            lacking = sorted(o.name for o in phase.train - run)
            warnings.warn(
                "a session.run trains a part of {}, without {}: it is recorded as "
                "no step, but what it changes is, before the next one; operations "
                "that are run in turn should be phases of their own".format(
                    phase.name, ", ".join(lacking)
                ),
                stacklevel=4,
            )

    def _before_other_run(self):
        """Notes the variables' values, in case the call changes them."""
        # A script's input threads call `run` too: they fill queues, and the step
        # may wait for them.
        if threading.current_thread() is not self._thread:
            return
        if self._count < self._calls:
            if self._state is None:
                self._state = self._read()
            self._disturbed = True

    def _recorded(self, phase, fetches, feed_dict, arguments):
        self._thread = threading.current_thread()
        arrays = self._before(phase)
        arrays.update(self._fed(feed_dict))
        complete = phase.count % self._every == 0
        extra = self._extra_fetches(phase, arrays, complete)
        result, values = self._run((fetches, extra), feed_dict, **arguments)
        arrays.update(values)
        self._after(phase, arrays, complete)
        return result

    def _before(self, phase):
        """Returns what a call is recorded with that is known before it."""
        arrays = {"phase": np.int64(self._phases.index(phase))}
        if self._count == 0:
            self._start()
        elif self._disturbed:
            arrays.update(self._changes())
        self._disturbed = False
        return arrays

    def _after(self, phase, arrays, complete):
        """Writes a call that is done."""
        self._state = None
        if complete:
            self._state = self._read()
            arrays.update(_keyed("variable", self._state))
        phase.count += 1
        self._count += 1
        name = "{:08d}.npz".format(self._count)
        self._write(os.path.join("calls", name), arrays)
        if self._count == self._calls:
            self.stop()

    def _extra_fetches(self, phase, arrays, complete):
        extra = {"loss": phase.loss}
        for name, tensor in self._inputs:
            # What the step does not need is left alone: an iterator would move on.
            if "input/" + name not in arrays and phase.computes(tensor):
                extra["input/" + name] = tensor
        if complete:
            extra.update(_keyed("gradient", phase.gradients))
        return extra

    def _fed(self, feed_dict):
        names = {tensor.name: name for name, tensor in self._inputs}
        fed = {}
        for key, value in (feed_dict or {}).items():
            try:
                tensor = _tensor(self._session.graph, key)
            except (TypeError, ValueError, KeyError):
                continue  # a sparse tensor, or a mistake that the session reports
            if _is_recorded(tensor):
                dtype = tensor.dtype.base_dtype.as_numpy_dtype
                name = names.get(tensor.name, tensor.op.name)
                fed["input/" + name] = np.asarray(value, dtype)
        return fed

    def _read(self):
        """Returns the values of the variables by name."""
        named = {variable.op.name: variable for variable in self._variables}
        values = self._run(named)
        # A copy: what TensorFlow returns may lie in its own memory.
        return {name: np.array(value) for name, value in values.items()}

    def _changes(self):
        """Returns what other calls changed since the last recorded one."""
        now = self._read()
        changed = {
            name: value
            for name, value in now.items()
            if value.tobytes() != self._state[name].tobytes()
        }
        return _keyed("changed", changed)

    def _start(self):
        state = self._read()
        self._write("initial.npz", _keyed("variable", state))
        text = json.dumps(self._description(state), indent=1, sort_keys=True)
        self._write_bytes("trace.json", text.encode("ascii"))

    def _description(self, state):
        trainable = self._session.graph.get_collection("trainable_variables")
        trainable = {variable.op.name for variable in trainable}
        ancestors = set().union(*[phase.ancestors for phase in self._phases])
        types = list(_types(self._session.graph, ancestors))
        return {
            "format": FORMAT,
            "version": VERSION,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": "{}.{}.{}".format(*sys.version_info[:3]),
            "variables": [
                {
                    "name": v.op.name,
                    "shape": list(state[v.op.name].shape),
                    "dtype": state[v.op.name].dtype.name,
                    "trainable": v.op.name in trainable,
                }
                for v in self._variables
            ],
            "phases": [
                {
                    "name": phase.name,
                    "loss": phase.loss.name,
                    "trains": sorted(phase.gradients),
                }
                for phase in self._phases
            ],
            "inputs": {name: tensor.name for name, tensor in self._inputs},
            "every": self._every,
            "random": sorted(n for n, kind in types if kind in RANDOM_TYPES),
            "readers": sorted(n for n, kind in types if kind in READER_TYPES),
            "left_out": [variable.op.name for variable in self._left_out],
        }

    def _write(self, name, arrays):
        content = io.BytesIO()
        np.savez(content, **arrays)
        self._write_bytes(name, content.getvalue())

    def _write_bytes(self, name, content):
        """Writes a file that is there complete or not at all."""
        path = os.path.join(self._folder, name)
        if os.path.exists(path):
            raise OSError(errno.EEXIST, "somebody else writes here", path)
        with open(path + ".part", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".part", path)


class _GraphPhase(object):  # noqa: UP004 (Python 2)
    """A phase and what the graph says about it."""

    def __init__(self, graph, phase):
        self.name = phase.name
        self.train = set(_operations(graph, phase.train))
        if not self.train:
            raise ValueError(
                "{}: {!r} is no operation of the session's graph".format(
                    phase.name, phase.train
                )
            )
        self.loss = _tensor(graph, phase.loss)
        if not _is_recorded(self.loss):
            raise ValueError("the loss {} is no number".format(self.loss.name))
        self.ancestors = _ancestors(self.train | {self.loss.op})
        self.gradients = _gradients(self.ancestors)
        self.count = 0

    def computes(self, tensor):
        """Whether a step computes the tensor, rather than that it is fed."""
        return tensor.op in self.ancestors and tensor.op.type not in INPUT_TYPES


def _check_arguments(session, phases, every, calls):
    if not hasattr(session, "run") or not hasattr(session, "graph"):
        raise ValueError("not a session: {!r}".format(session))
    if "run" in vars(session):
        raise ValueError("this session is being recorded already")
    names = [phase.name for phase in phases]
    if not names or len(set(names)) < len(names):
        raise ValueError("phases need names of their own: {}".format(names))
    if every < 1 or calls < 1:
        raise ValueError("every and calls must be at least 1")


def _check_inputs(inputs):
    for name, tensor in inputs:
        if not _is_recorded(tensor):
            raise ValueError("the input {} is no number".format(name))


def _gradients(operations):
    """Returns {variable: gradient} of the optimizers among the operations.

    It is the very tensor that an optimizer applies: fetched together with the train
    op it costs nothing, is of the same batch, and runs no update a second time.
    """
    found = {}
    for operation in operations:
        if operation.type.startswith(("Apply", "ResourceApply")):
            arguments = [x.name for x in operation.op_def.input_arg]
            for argument in GRADIENT_ARGUMENTS.intersection(arguments):
                gradient = operation.inputs[arguments.index(argument)]
                name = _variable_name(operation.inputs[0])
                found.setdefault(name, []).append(gradient)
    # One that is applied to twice in a step has no gradient of that step.
    return {
        name: gradients[0]
        for name, gradients in found.items()
        if len(gradients) == 1 and _is_recorded(gradients[0])
    }


def _variable_name(tensor):
    operation = tensor.op
    while operation.type in ("Identity", "RefSwitch", "Switch", "Enter"):
        operation = operation.inputs[0].op
    return operation.name


def _ancestors(operations):
    """Returns the operations and all that run before them."""
    found, pending = set(), list(operations)
    while pending:
        operation = pending.pop()
        if operation not in found:
            found.add(operation)
            pending.extend(tensor.op for tensor in operation.inputs)
            pending.extend(operation.control_inputs)
    return found


def _types(graph, operations):
    """Yields name and type of the operations, and of those in their functions."""
    called = set()
    for operation in operations:
        yield operation.name, operation.type
        called.update(_functions(operation.node_def))
    library = graph.as_graph_def().library.function if called else []
    nodes = {function.signature.name: function.node_def for function in library}
    pending = sorted(called)
    while pending:
        name = pending.pop()
        for node in nodes.get(name, []):
            yield name + "/" + node.name, node.op
            new = set(_functions(node)) - called
            called |= new
            pending.extend(new)


def _functions(node):
    """Returns the names of the functions that a node calls, such as tf.cond's."""
    attributes = list(node.attr.values())
    names = [attribute.func.name for attribute in attributes]
    for attribute in attributes:
        names += [function.name for function in attribute.list.func]
    return [name for name in names if name]


def _operations(graph, fetches):
    """Returns the operations behind fetches, which may be nested."""
    if isinstance(fetches, dict):
        fetches = list(fetches.values())
    if isinstance(fetches, (list, tuple)):
        nested = [_operations(graph, fetch) for fetch in fetches]
        return [operation for found in nested for operation in found]
    try:
        element = graph.as_graph_element(fetches)
    except (TypeError, ValueError, KeyError):
        return []  # `session.run` knows more kinds, or says what is wrong
    return [getattr(element, "op", element)]


def _tensor(graph, key):
    return graph.as_graph_element(key, allow_operation=False)


def _is_recorded(tensor):
    """Whether a tensor or variable is of a type that NumPy has and `.npy` holds."""
    kind = np.dtype(tensor.dtype.base_dtype.as_numpy_dtype).kind
    return kind in RECORDED_KINDS


def _make_folder(folder):
    parent = os.path.dirname(os.path.abspath(folder))
    if not os.path.isdir(parent):
        os.makedirs(parent)
    if os.path.lexists(folder):
        raise OSError(
            errno.EEXIST,
            "a trace is recorded into a new folder, and this is there already; "
            "name another one, or move or delete this one",
            folder,
        )
    os.mkdir(folder)
    os.mkdir(os.path.join(folder, "calls"))


def _keyed(prefix, values):
    return {prefix + "/" + name: value for name, value in values.items()}

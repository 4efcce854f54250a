"""Checkpoints of a run: the newest few, each whole or not there at all."""

import os
from typing import List, Optional

import tensorflow as tf

from tf2gan.common.run_state import (
    check_finite,
    missing,
    unreadable,
    unwritable,
)

# A file that ends too early is an IndexError; all others are TensorFlow's own.
_UNREADABLE = (tf.errors.OpError, ValueError, AssertionError, IndexError)


class Checkpointer:
    """Saves and restores all variables of a trainer in a folder."""

    def __init__(self, trainer, directory: str, keep: int = 5) -> None:
        """Keeps the newest `keep` checkpoints, or all if that is 0."""
        # TF1: a Saver of all variables in the graph, under their names.
        # TF2: a Checkpoint of the same variables, under the same names.
        self._trainer = trainer
        self._directory = directory
        self._checkpoint = tf.train.Checkpoint(**trainer.variables())
        self.latest()  # raises before the manager overlooks a damaged index
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, directory, keep or None, checkpoint_name="model"
        )

    def save(self, step: int) -> str:
        """Writes the checkpoint model-`step` and returns its path.

        A kill at any moment leaves the one before: files are written under
        other names, renamed, and only then entered into the index that
        `latest` reads.

        Raises:
          DivergenceError: if a variable is NaN or infinite.
          UserError: if it cannot be written.
        """
        check_finite(self._trainer.state(), step)
        prefix = self._directory + "/model"
        # The manager counts its saves; a run that was stopped has one more.
        self._checkpoint.save_counter.assign(step - 1)
        try:
            return self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            raise unwritable("{}-{}".format(prefix, step), error) from error

    def restore(self, path: Optional[str] = None) -> None:
        """Sets the trainer's variables from a checkpoint, the latest if None.

        Raises:
          UserError: if it is missing, damaged or of another model.
        """
        path = path or self.latest()
        try:
            # The manager's counter exists once it is asked for.
            self._checkpoint.save_counter  # noqa: B018
            self._checkpoint.read(path).assert_consumed()
        except _UNREADABLE as error:
            raise unreadable(path, error) from error

    def latest(self) -> Optional[str]:
        """Returns the path of the newest checkpoint, None if there is none.

        Raises:
          UserError: if the folder's index names one that is not there.
        """
        paths = self.all()
        if paths and not os.path.exists(paths[-1] + ".index"):
            raise missing(paths[-1])
        return paths[-1] if paths else None

    def all(self) -> List[str]:
        """Returns the paths of all checkpoints, oldest first.

        Raises:
          UserError: if the folder's index is damaged.
        """
        index = self._directory + "/checkpoint"
        if not os.path.exists(index):
            return []
        try:
            state = tf.train.get_checkpoint_state(self._directory)
        except ValueError as error:
            raise unreadable(index, error) from error
        if state is None:
            raise unreadable(index, ValueError("not an index of checkpoints"))
        return list(state.all_model_checkpoint_paths)

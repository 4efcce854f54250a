"""Checkpoints of a run: the newest few, each whole or not there at all."""

import os
from typing import List, Optional

import tensorflow.compat.v1 as tf

from tf2gan.common.run_state import (
    check_finite,
    missing,
    unreadable,
    unwritable,
)

_ALL = 2**31 - 1  # with 0 a Saver keeps all and forgets their names


class Checkpointer:
    """Saves and restores all variables of a trainer in a folder."""

    def __init__(self, trainer, directory: str, keep: int = 5) -> None:
        """Keeps the newest `keep` checkpoints, or all if that is 0."""
        # TF1: a Saver of all variables in the graph, under their names.
        # TF2: a Checkpoint of the same variables, under the same names.
        self._trainer = trainer
        self._directory = directory
        with trainer.graph.as_default():
            # Absolute paths would tie a copy of the folder to the original.
            self._saver = tf.train.Saver(
                max_to_keep=keep or _ALL, save_relative_paths=True
            )
        self._saver.recover_last_checkpoints(self.all())

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
        try:
            with self._trainer.graph.as_default():
                return self._saver.save(self._trainer.session, prefix, step)
        except (tf.errors.OpError, OSError) as error:
            raise unwritable("{}-{}".format(prefix, step), error) from error

    def restore(self, path: Optional[str] = None) -> None:
        """Sets the trainer's variables from a checkpoint, the latest if None.

        Raises:
          UserError: if it is missing, damaged or of another model.
        """
        path = path or self.latest()
        try:
            with self._trainer.graph.as_default():
                self._saver.restore(self._trainer.session, path)
        except (tf.errors.OpError, ValueError) as error:
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

"""Checkpoints of a run: the newest few, each whole or not there at all."""

from typing import List, Optional

import tensorflow.compat.v1 as tf

from tf2gan.common.run_state import check_finite, unreadable, unwritable


class Checkpointer:
    """Saves and restores all variables of a trainer in a folder."""

    def __init__(self, trainer, directory: str, keep: int = 5) -> None:
        """Keeps the newest `keep` checkpoints, or all if that is 0."""
        # TF1: a Saver of all variables in the graph, under their names.
        # TF2: a Checkpoint of the same variables, under the same names.
        self._trainer = trainer
        self._directory = directory
        with trainer.graph.as_default():
            self._saver = tf.train.Saver(max_to_keep=keep)
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
            raise unwritable(prefix, error) from error

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
        """Returns the path of the newest checkpoint, None if there is none."""
        return tf.train.latest_checkpoint(self._directory)

    def all(self) -> List[str]:
        """Returns the paths of all checkpoints, oldest first."""
        state = tf.train.get_checkpoint_state(self._directory)
        return list(state.all_model_checkpoint_paths) if state else []

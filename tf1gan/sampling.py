"""Draws images from the checkpoints of a run, for inference only."""

import os
from typing import List, Optional

import numpy as np

from tf1gan.checkpoint import Checkpointer
from tf1gan.training import Trainer
from tf2gan.common.config import finished_config
from tf2gan.common.errors import UserError


class Sampler:
    """The generator of a run, at any of its checkpoints."""

    def __init__(self, run_dir: str) -> None:
        """Builds the networks of the run in a folder.

        Raises:
          UserError: if the folder holds no run of this side.
        """
        config = finished_config("tf1", run_dir)
        self.spec = config.spec()
        self._trainer = Trainer(self.spec, config.update_ops, config.dtype)
        self._checkpointer = Checkpointer(
            self._trainer, run_dir + "/checkpoints", config.keep_checkpoints
        )

    def checkpoints(self) -> List[str]:
        """Returns the paths of the run's checkpoints, oldest first.

        Raises:
          UserError: if there is none.
        """
        paths = self._checkpointer.all()
        if not paths:
            raise UserError("the run has no checkpoint yet; train it first")
        return paths

    def sample(
        self, latent: np.ndarray, checkpoint: Optional[str] = None
    ) -> np.ndarray:
        """Returns images [B, height, width, channels] of latents [B, size].

        The moving averages serve as statistics, so that an image depends on
        its own latent alone.

        Args:
          latent: in any floating-point type.
          checkpoint: its path, its name (model-312) or its iteration (312);
            None for the latest.

        Raises:
          UserError: if the checkpoint is missing or damaged.
        """
        self._checkpointer.restore(self._find(checkpoint))
        return self._trainer.generate(latent.astype(self._trainer.dtype))

    def _find(self, checkpoint):
        paths = self.checkpoints()
        named = {os.path.basename(path): path for path in paths}
        if checkpoint is None:
            return paths[-1]
        for name in (checkpoint, "model-" + checkpoint):
            if name in named:
                return named[name]
        if os.path.exists(checkpoint + ".index"):
            return checkpoint
        raise UserError(
            f"no checkpoint '{checkpoint}'; the run has {', '.join(named)}"
        )

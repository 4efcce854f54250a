"""Runs both twins of a registry model on the same inputs, to compare checkpoints."""

import os
from typing import Any, Dict, Tuple

import tf1gan.checkpoint
import tf1gan.training
import tf2gan.checkpoint
import tf2gan.training
from tf2gan.migration import verify
from tf2gan.migration.registry import Source


def both_sides(
    source: Source, path1: str, path2: str, seed: int
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Returns the outputs of TF1's and TF2's side, by name.

    Args:
      source: what was converted.
      path1: of the checkpoint of TF1's side.
      path2: of that of TF2's.
      seed: decides the inputs.

    Raises:
      UserError: if one of the checkpoints cannot be restored.
    """
    batch = [verify.BATCH_SIZE]
    spec, dtype = source.spec, source.dtype
    images = verify.seeded(
        batch + list(spec.image_shape), dtype, seed, "images"
    )
    latent = verify.seeded(batch + [spec.latent_size], dtype, seed, "latent")
    found = []
    for side, path in ((tf1gan, path1), (tf2gan, path2)):
        trainer = side.training.Trainer(spec, dtype=dtype)
        side.checkpoint.Checkpointer(trainer, os.path.dirname(path)).restore(
            path
        )
        found.append(_outputs(trainer, images, latent))
    return tuple(found)


def _outputs(trainer, images, latent):
    loss_d, loss_g = trainer.evaluate(images, latent)
    outputs = {
        "images from latents": trainer.generate(latent),
        "loss_D": loss_d,
        "loss_G": loss_g,
    }
    outputs.update(trainer.activations(images, latent))
    return outputs

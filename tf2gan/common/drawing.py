"""Draws what a sampler samples: a grid, walks between latents, a training film."""

from typing import Optional

import numpy as np

from tf2gan.common import images, latent
from tf2gan.common.errors import UserError


def draw_grid(
    sampler,
    path: str,
    rows: int,
    columns: int,
    seed: int,
    checkpoint: Optional[str],
) -> None:
    """Writes a PNG of `rows` x `columns` random samples.

    Args:
      sampler: a `sampling.Sampler` of either side.
      path: of the PNG.
      rows: of the grid.
      columns: of the grid.
      seed: decides the latents.
      checkpoint: path of the one to draw from; None for the latest.
    """
    latents = latent.sample_latent(sampler.spec, rows * columns, seed, "drawn")
    samples = sampler.sample(latents, checkpoint)
    images.save_png(path, _grid(sampler, samples, columns))


def draw_walk(
    sampler,
    path: str,
    rows: int,
    columns: int,
    seed: int,
    checkpoint: Optional[str],
) -> None:
    """Writes a PNG of `rows` walks of `columns` steps; arguments as `draw_grid`."""
    walks = [
        latent.latent_walk(sampler.spec, columns, seed, "drawn walk", row)
        for row in range(rows)
    ]
    samples = sampler.sample(np.concatenate(walks), checkpoint)
    images.save_png(path, _grid(sampler, samples, columns))


def draw_film(sampler, path: str, rows: int, columns: int, seed: int) -> None:
    """Writes a GIF: the samples of `draw_grid`, at each checkpoint that was kept.

    Raises:
      UserError: if fewer than two checkpoints were kept.
    """
    checkpoints = sampler.checkpoints()
    if len(checkpoints) < 2:
        raise UserError(
            "a film takes at least two checkpoints, the run has {}; train longer, "
            "with --keep_checkpoints=0 to keep all".format(len(checkpoints))
        )
    latents = latent.sample_latent(sampler.spec, rows * columns, seed, "drawn")
    frames = [
        _grid(sampler, sampler.sample(latents, checkpoint), columns)
        for checkpoint in checkpoints
    ]
    images.save_gif(path, frames)


def _grid(sampler, samples, columns):
    return images.image_grid(samples, columns, sampler.spec.image_range)

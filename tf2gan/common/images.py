"""Pictures of samples: grids, the two rows of a training run, animations."""

import os
from typing import Sequence, Tuple

import numpy as np

SCALE = 3  # screen pixels per image pixel, so that a person sees 28 x 28
FRAME_MILLISECONDS = 250
LAST_FRAME_MILLISECONDS = 2000


def to_bytes(
    images: np.ndarray, image_range: Tuple[float, float]
) -> np.ndarray:
    """Maps images of any shape from `image_range` to uint8, clipping what is out.

    NaN becomes black; a run that diverges may draw before it is stopped.
    """
    low, high = image_range
    unit = (np.asarray(images, np.float64) - low) / (high - low)
    return np.uint8(np.round(255 * np.clip(np.nan_to_num(unit), 0, 1)))


def image_grid(
    images: np.ndarray, columns: int, image_range: Tuple[float, float]
) -> np.ndarray:
    """Lays images out row by row with a line of background between them.

    Args:
      images: [count, height, width, channels] with 1 or 3 channels.
      columns: images per row; a last row that is not full is filled with black.
      image_range: values of black and white in `images`.

    Returns:
      uint8 array [rows * (height + 1) - 1, columns * (width + 1) - 1, channels],
      enlarged by `SCALE` in both directions.
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.zeros(
        [rows * columns, height + 1, width + 1, channels], np.uint8
    )
    cells[:count, :height, :width] = to_bytes(images, image_range)
    cells = cells.reshape([rows, columns, height + 1, width + 1, channels])
    grid = cells.transpose([0, 2, 1, 3, 4])
    grid = grid.reshape([rows * (height + 1), columns * (width + 1), channels])
    return grid[:-1, :-1].repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def _picture(pixels):
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def save_png(path: str, pixels: np.ndarray) -> None:
    """Writes uint8 pixels [height, width, channels]; a kill leaves no half file."""
    _picture(pixels).save(path + ".part", format="PNG")
    os.replace(path + ".part", path)


def save_gif(path: str, frames: Sequence[np.ndarray]) -> None:
    """Writes an endless animation of uint8 frames, resting on the last."""
    pictures = [_picture(frame) for frame in frames]
    durations = [FRAME_MILLISECONDS] * (len(frames) - 1) + [
        LAST_FRAME_MILLISECONDS
    ]
    pictures[0].save(
        path + ".part",
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
    )
    os.replace(path + ".part", path)

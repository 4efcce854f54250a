"""Data sets as one array of images, and the batches that a seed makes of them."""

import os
import zipfile
import zlib
from typing import Iterator, Optional, Tuple

import numpy as np

from tf2gan.common import idx, latent, randomness
from tf2gan.common.errors import UserError
from tf2gan.common.specs import GanSpec

EMBEDDED = "mnist10k"
DOWNLOADED = ("mnist", "fashion_mnist")
NAMES = (EMBEDDED,) + DOWNLOADED
MNIST10K_PATH = os.path.join(
    os.path.dirname(os.path.abspath(__file__)),
    "data",
    "mnist10k-images-idx3-ubyte.gz",
)
IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-images-idx3-ubyte",
    "train-images.idx3-ubyte.gz",
    "train-images.idx3-ubyte",
)
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


class Images:
    """A data set in memory.

    Attributes:
      name: how the user named it.
      pixels: [count, height, width, channels], uint8 in 0..255 or float32 in
        [0, 1].
    """

    def __init__(self, name: str, pixels: np.ndarray) -> None:
        self.name = name
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def digest(self) -> str:
        """Returns a checksum of the pixels, by which a resumed run knows them."""
        return "{:08x}".format(zlib.crc32(np.ascontiguousarray(self.pixels)))

    def select(
        self, indices: np.ndarray, image_range: Tuple[float, float], dtype: str
    ) -> np.ndarray:
        """Returns the images at `indices`, with values in `image_range`."""
        low, high = image_range
        scale = 255.0 if self.pixels.dtype == np.uint8 else 1.0
        values = self.pixels[indices].astype(dtype) / np.array(scale, dtype)
        if (low, high) == (0.0, 1.0):
            return values
        return values * np.array(high - low, dtype) + np.array(low, dtype)


def load_images(
    dataset: str, spec: GanSpec, data_dir: Optional[str] = None
) -> Images:
    """Loads a data set and checks that it fits the model.

    Args:
      dataset: "mnist10k" (the first 10,000 training images of MNIST, part of this
        package), "mnist" or "fashion_mnist" (their training images), the path of
        an `.npz` file, or the path of a folder of pictures.
      spec: of the model; its image shape is required of the data set. Pictures
        in a folder are cropped to its proportions around their centre, scaled
        and converted to its number of channels.
      data_dir: folder with the IDX file of "mnist" or "fashion_mnist". Without it
        `keras.datasets` finds or downloads them.

    Raises:
      UserError: if there is no such data set, it cannot be read, or its images
        have another shape than the model takes.
    """
    pixels = _load_pixels(dataset, spec, data_dir)
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 4 or pixels.shape[1:] != tuple(spec.image_shape):
        raise UserError(
            "data set '{}' has the shape {}; model {} takes images of {}".format(
                dataset,
                " x ".join(map(str, pixels.shape)),
                spec.name,
                " x ".join(map(str, spec.image_shape)),
            )
        )
    return Images(dataset, pixels)


def _load_pixels(dataset, spec, data_dir):
    if dataset == EMBEDDED:
        return idx.read_images(MNIST10K_PATH)
    if dataset in DOWNLOADED:
        return (
            _load_idx_folder(data_dir)
            if data_dir
            else _load_from_keras(dataset)
        )
    if os.path.isdir(dataset):
        return _load_folder(dataset, spec.image_shape)
    if dataset.endswith(".npz") and os.path.exists(dataset):
        return _load_npz(dataset)
    raise UserError(
        "unknown data set '{}': expected one of {}, the path of an existing .npz "
        "file or of a folder of pictures".format(dataset, ", ".join(NAMES))
    )


def _load_idx_folder(data_dir):
    for name in IDX_NAMES:
        path = os.path.join(data_dir, name)
        if os.path.exists(path):
            return idx.read_images(path)
    raise UserError(
        "no {} (or .gz) in --data_dir '{}'; put the IDX file there, or leave out "
        "--data_dir to download it".format(IDX_NAMES[1], data_dir)
    )


def _load_from_keras(dataset):
    """The one place in `common` that touches a framework, for its downloader."""
    try:
        try:
            from keras import datasets
        except ImportError:  # TensorFlow 1.15 carries its own Keras
            from tensorflow.keras import datasets
        return getattr(datasets, dataset).load_data()[0][0]
    except Exception as error:  # the downloader raises bare Exception
        raise UserError(
            "cannot download '{}' ({}); put train-images-idx3-ubyte.gz into a "
            "folder and name it with --data_dir".format(
                dataset, _one_line(error)
            )
        ) from error


def _load_npz(path):
    """Takes the array named `x_train` or `images`, or the only one there is."""
    try:
        # NumPy takes a file that is no archive for a pickle, and says so.
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive, or a part of one")
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            known = [name for name in ("x_train", "images") if name in names]
            chosen = known or names
            if len(chosen) < 1 or (len(chosen) > 1 and not known):
                raise UserError(
                    "'{}' holds {}; name the array of images x_train or images".format(
                        path, ", ".join(names) or "nothing"
                    )
                )
            pixels = archive[chosen[0]]
    except UserError:
        raise
    except (
        Exception
    ) as error:  # zipfile, zlib, numpy: each has errors of its own
        raise UserError(
            "cannot read '{}': {}; expected an .npz file of plain arrays".format(
                path, _one_line(error)
            )
        ) from error
    return _check_pixels(path, pixels)


def _check_pixels(path, pixels):
    if not isinstance(pixels, np.ndarray):  # a file in the archive, but no .npy
        raise UserError(
            "'{}' holds no array of images; save one with numpy.savez".format(
                path
            )
        )
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "f":
        if pixels.size and not (np.min(pixels) >= 0 and np.max(pixels) <= 1):
            raise UserError(
                "floating-point images in '{}' go from {:g} to {:g}; all values "
                "must lie in [0, 1]".format(
                    path, np.min(pixels), np.max(pixels)
                )
            )
        return pixels.astype(np.float32)
    raise UserError(
        "images in '{}' are of type {}; save them as uint8 in 0..255, or as "
        "floating point in [0, 1]".format(path, pixels.dtype)
    )


def _load_folder(folder, image_shape):
    paths = sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(PICTURE_ENDINGS)
    )
    if not paths:
        raise UserError(
            "no pictures ({}) in the folder '{}'".format(
                ", ".join(PICTURE_ENDINGS), folder
            )
        )
    return np.stack([_load_picture(path, image_shape) for path in paths])


def _load_picture(path, image_shape):
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    try:
        with Image.open(path) as picture:
            picture = picture.convert("L" if channels == 1 else "RGB")
            picture = ImageOps.fit(picture, (width, height), Image.BICUBIC)
            return np.asarray(picture, np.uint8).reshape(image_shape)
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise UserError(
            "cannot read the picture '{}': {}; mend or remove it".format(
                path, _one_line(error)
            )
        ) from error


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__


class Batches:
    """The batches of a run: a function of (seed, iteration) and nothing else.

    Every epoch goes through the data set in an order of its own and leaves out
    the images that do not fill a last batch.
    """

    def __init__(
        self,
        images: Images,
        spec: GanSpec,
        batch_size: int,
        seed: int,
        steps_per_epoch: Optional[int] = None,
        dtype: str = "float32",
    ) -> None:
        """Checks that the data set can fill the batches.

        Args:
          images: the data set.
          spec: gives the range of the images and the latent distribution.
          batch_size: images, and latent vectors, per iteration.
          seed: of the run.
          steps_per_epoch: iterations per epoch; all that the data set fills if
            None.
          dtype: "float32" or "float64".

        Raises:
          UserError: if the data set is smaller than a batch, or than
            `steps_per_epoch` batches.
        """
        available = len(images) // batch_size
        if not available:
            raise UserError(
                "data set '{}' has {} images, less than one batch of {}; lower "
                "--batch_size, or name a larger --dataset".format(
                    images.name, len(images), batch_size
                )
            )
        if steps_per_epoch is not None and steps_per_epoch > available:
            raise UserError(
                "--steps_per_epoch={} is more than the {} batches of {} in data "
                "set '{}'; lower it, or leave it out for all".format(
                    steps_per_epoch, available, batch_size, images.name
                )
            )
        self.images = images
        self.spec = spec
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = steps_per_epoch or available
        self.dtype = dtype
        self._order = (None, None)  # the epoch last asked for, and its order

    def batch(self, step: int) -> Tuple[np.ndarray, np.ndarray]:
        """Returns images [batch, height, width, channels] and latents [batch, size].

        Args:
          step: the iteration, from 0.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        indices = self._epoch_order(epoch)[first : first + self.batch_size]
        images = self.images.select(indices, self.spec.image_range, self.dtype)
        vectors = latent.sample_latent(
            self.spec, self.batch_size, self.seed, "latent", step
        )
        return images, vectors.astype(self.dtype)

    def iterate(
        self, first: int, last: int
    ) -> Iterator[Tuple[np.ndarray, ...]]:
        """Yields the batches of the iterations from `first` up to before `last`."""
        for step in range(first, last):
            yield self.batch(step)

    def _epoch_order(self, epoch):
        if self._order[0] != epoch:
            order = randomness.permutation(
                len(self.images), self.seed, "shuffle", epoch
            )
            self._order = (epoch, order)
        return self._order[1]

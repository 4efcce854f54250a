"""Data sets are read right, and batches are a function of (seed, iteration)."""

import gzip

import helpers
import numpy as np
import pytest
from PIL import Image

from tf2gan.common import datasets, specs

SPEC = specs.get_spec("dcgan28")
IMAGES = helpers.tiny_images(20)


def _batches(**settings):
    images = datasets.Images("tiny", IMAGES[..., np.newaxis])
    settings = {"batch_size": 6, "seed": 0, **settings}
    return datasets.Batches(images, SPEC, **settings)


def test_the_embedded_data_set_is_mnist():
    images = datasets.load_images("mnist10k", SPEC)
    assert images.pixels.shape == (10000, 28, 28, 1)
    # The first training image of MNIST is a 5; its sum of pixels is well known.
    assert images.pixels[0].sum() == 27525
    assert images.pixels[0, 5, 12:16, 0].tolist() == [3, 18, 18, 18]


@pytest.mark.parametrize("name", datasets.IDX_NAMES)
def test_mirrors_names_are_found_plain_or_gzipped(tmp_path, name):
    content = helpers.idx_bytes(IMAGES)
    if name.endswith(".gz"):
        content = gzip.compress(content)
    helpers.write_files(tmp_path, {name: content})
    images = datasets.load_images("fashion_mnist", SPEC, str(tmp_path))
    assert np.array_equal(images.pixels[..., 0], IMAGES)


@pytest.mark.parametrize(
    "names", [["x_train"], ["images", "other"], ["anything"]]
)
def test_npz_archives_are_read(tmp_path, names):
    arrays = dict.fromkeys(names, IMAGES[:7])
    arrays[names[0]] = IMAGES
    helpers.write_files(tmp_path, {"a.npz": helpers.npz_bytes(**arrays)})
    images = datasets.load_images(str(tmp_path / "a.npz"), SPEC)
    assert np.array_equal(images.pixels[..., 0], IMAGES)


def test_floating_point_images_are_taken_as_they_are(tmp_path):
    values = (IMAGES / 255).astype(np.float32)
    helpers.write_files(tmp_path, {"a.npz": helpers.npz_bytes(images=values)})
    images = datasets.load_images(str(tmp_path / "a.npz"), SPEC)
    selected = images.select(np.arange(20), (0.0, 1.0), "float32")
    assert np.array_equal(selected[..., 0], values)


def test_a_folder_of_pictures_is_cropped_scaled_and_converted(tmp_path):
    (tmp_path / "sub").mkdir()
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    wide = np.zeros([28, 56, 3], np.uint8)
    wide[:, 14:42] = 255
    Image.fromarray(wide).save(tmp_path / "sub" / "b.PNG")
    images = datasets.load_images(str(tmp_path), SPEC)
    assert np.array_equal(images.pixels[0, ..., 0], IMAGES[0])
    assert images.pixels[1].min() == 255


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_are_mapped_to_the_range_of_the_model(dtype):
    images = datasets.Images("a", np.uint8([0, 51, 255]).reshape(3, 1, 1, 1))
    unit = images.select(np.arange(3), (0.0, 1.0), dtype)
    both = images.select(np.arange(3), (-1.0, 1.0), dtype)
    assert unit.dtype == both.dtype == dtype
    np.testing.assert_allclose(unit.ravel(), [0, 0.2, 1], rtol=1e-6)
    np.testing.assert_allclose(both.ravel(), [-1, -0.6, 1], rtol=1e-6)


def test_an_epoch_shows_no_image_twice_and_the_next_has_another_order():
    batches = _batches()
    assert batches.steps_per_epoch == 3
    epochs = [[batches.batch(3 * e + i)[0] for i in range(3)] for e in range(2)]
    for epoch in epochs:
        seen = {image.tobytes() for batch in epoch for image in batch}
        assert len(seen) == 18
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_batch_does_not_depend_on_those_before_it():
    one_by_one = list(_batches().iterate(0, 8))
    for step in (7, 2, 5):
        images, latents = _batches().batch(step)
        assert np.array_equal(images, one_by_one[step][0])
        assert np.array_equal(latents, one_by_one[step][1])


def test_both_dtypes_see_the_same_noise():
    single, double = (
        _batches().batch(4)[1],
        _batches(dtype="float64").batch(4)[1],
    )
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert np.array_equal(single, double)


def test_another_seed_gives_other_batches():
    images0, latents0 = _batches().batch(0)
    images1, latents1 = _batches(seed=1).batch(0)
    assert not np.array_equal(images0, images1)
    assert not np.array_equal(latents0, latents1)

import functools
import os

# Before anything imports TensorFlow: scripts that tests call here must be as quiet as
# by themselves, where they see to it before the import.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import helpers  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A function of "tf1" or "tf2" that returns the folder of a run of that side.

    It holds `tiny.npz` and `run`, as `helpers.TINY_RUN` makes it. Copy both.
    """

    @functools.lru_cache(maxsize=None)
    def train(side):
        folder = tmp_path_factory.mktemp("finished_" + side)
        images = helpers.npz_bytes(x_train=helpers.tiny_images())
        helpers.write_files(folder, {"tiny.npz": images})
        before = os.getcwd()
        os.chdir(str(folder))
        try:
            status = helpers.call_script("train_" + side, *helpers.TINY_RUN)
        finally:
            os.chdir(before)
        assert status == 0
        return folder

    return train

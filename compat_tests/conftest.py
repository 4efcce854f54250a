import functools
import os

# Before anything imports TensorFlow: scripts that tests call here must be as quiet as
# by themselves, where they see to it before the import.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# Tests start processes, which need some of the GPU's memory too.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

import helpers  # noqa: E402
import pytest  # noqa: E402

NO_GPU = "no GPU is visible to TensorFlow"


@pytest.fixture(params=["CPU", pytest.param("GPU", marks=pytest.mark.gpu)])
def device(request):
    """Every kind of device, for tests that run on each."""
    return request.param


def pytest_collection_modifyitems(items):
    """Skips what is marked `gpu` where there is none, each by its name."""
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if not needy or _gpu_is_visible():
        return
    for item in needy:
        reason = "{}: {}".format(item.name, NO_GPU)
        item.add_marker(pytest.mark.skip(reason=reason))


def _gpu_is_visible():
    import tensorflow as tf

    # TensorFlow 1.15 has it only here.
    return bool(tf.config.experimental.list_physical_devices("GPU"))


@pytest.fixture
def graphs_as_written():
    """Grappler rewrites sums and products, in each of two graphs otherwise."""
    import tensorflow as tf

    options = tf.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer")
    options.set_experimental_options({"disable_meta_optimizer": True})
    yield
    options.set_experimental_options({"disable_meta_optimizer": bool(before)})


@pytest.fixture
def untraced():
    """Without tracing a trainer that makes few steps is made in a second."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def unguarded(monkeypatch):
    """Here a fingerprint that fails is an error; to a user it only finds nothing."""
    from tf2gan.migration import causes

    monkeypatch.setattr(
        causes, "_whole", lambda function, evidence: list(function(evidence))
    )


@pytest.fixture
def show(record_property):
    """A function that has a text printed when all tests are done.

    Tests may run in several processes, whose own output pytest does not show.
    """
    return functools.partial(record_property, "shown")


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.getreports("passed")
    for report in reports + terminalreporter.getreports("failed"):
        for name, text in report.user_properties:
            if name == "shown":
                terminalreporter.write_line("\n" + text)


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

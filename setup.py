"""Packaging of tf1gan and tf2gan; everything else about tools is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (HERE / "tf2gan/__init__.py").read_text(),
    re.MULTILINE,
).group(1)

setup(
    name="tf1-tf2-gan",
    version=VERSION,
    description="A TF1 graph-mode DCGAN, its TF2 twin, and the proof that they agree",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["tf1gan*", "tf2gan*"]),
    package_data={"tf2gan.common": ["data/*.gz"]},
    # TensorFlow 1.15 exists for Python 3.7 at the latest, 2.16 from 3.9 on.
    python_requires=">=3.7,!=3.8.*",
    install_requires=[
        "tensorflow>=2.16; python_version >= '3.9'",
        "keras>=3.4; python_version >= '3.9'",
        # `tf.summary` calls it; TensorFlow 1.15 and up to 2.20 bring it themselves.
        "tensorboard; python_version >= '3.9'",
        "tensorflow==1.15.5; python_version == '3.7'",
        "protobuf<3.21; python_version == '3.7'",
        "numpy>=1.18",
        "matplotlib",
        "absl-py",
        "pillow",
        "tqdm",
    ],
    extras_require={
        "test": [
            "pytest>=7",
            "pytest-xdist>=3",
            "ruff>=0.17,<0.18; python_version >= '3.9'",
            # `tf.layers` on TensorFlow 2, to hold `tf1gan.layers` against.
            "tf_keras; python_version >= '3.9'",
        ],
        "gpu": ["tensorflow[and-cuda]>=2.16; python_version >= '3.9'"],
    },
)

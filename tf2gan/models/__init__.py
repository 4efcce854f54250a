"""One file per GAN, named like its spec: a generator and a discriminator."""

import importlib
from types import ModuleType

from tf2gan.common import specs


def get_model(name: str) -> ModuleType:
    """Returns the module with the networks of the GAN called `name`.

    Raises:
      UserError: if no spec has that name.
    """
    return importlib.import_module("tf2gan.models." + specs.get_spec(name).name)

"""The TF2 twin of `tf1gan`: Keras 3 networks, GradientTape, tf.function.

Every module has a twin of the same name in `tf1gan`; what needs no framework
lies in `tf2gan.common`. Importing this package imports no framework.
"""

__version__ = "0.1.0"

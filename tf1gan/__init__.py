"""A TF1 graph-mode GAN: placeholders, variable scopes, UPDATE_OPS, a Session.

Every module has a twin of the same name in `tf2gan`. Importing this package
imports no framework; its modules import `tensorflow.compat.v1` and run on
TensorFlow 1.15 and on TensorFlow 2.16 and later.
"""

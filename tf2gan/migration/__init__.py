"""Tools for moving a GAN from TF1 to TF2."""

"""A network that predicts regions of interest."""

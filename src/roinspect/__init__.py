"""Visual inspection that is taught where to look; the trained model needs no mask."""

__version__ = "0.1.0"

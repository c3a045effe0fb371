"""From a bundle and an image to a verdict, without torch."""

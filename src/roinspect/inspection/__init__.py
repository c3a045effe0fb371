"""From a bundle and a picture to a verdict, without torch."""

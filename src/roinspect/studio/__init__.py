"""The studio: inspection with a mouse, in the browser."""

"""One module per image format: parses its header and decodes its pixels, or raises an error."""

"""What a server is put through: saturation, kills, its own OpenAPI, and bodies that are none."""

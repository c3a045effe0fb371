"""The studio's state on disk, and its background jobs. A file that cannot be written raises a `UserError`."""

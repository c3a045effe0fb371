"""The studio's state on disk, and its background jobs.

Whatever writes here raises a `UserError` where the disk refuses.
"""

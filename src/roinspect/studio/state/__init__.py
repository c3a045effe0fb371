"""What the studio remembers, and what it runs.

Whatever writes here raises a `UserError` where the disk refuses.
"""

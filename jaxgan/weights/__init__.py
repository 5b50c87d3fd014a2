"""Published weight files: where they are, how they are fetched, checked, kept and read.

Nothing in a file is ever executed.
"""

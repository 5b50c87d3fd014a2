"""What the user can mend, told in one sentence."""

from __future__ import annotations

import argparse
import contextlib
import os


class UserError(Exception):
    """Something the user can mend; its text says what and how."""


@contextlib.contextmanager
def user_errors():
    """Around code that reads what the user gave: its errors are sentences for the user, not bugs.

    The environment variable JAXGAN_TRACEBACK=1 shows where they came from.
    """
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("JAXGAN_TRACEBACK") == "1":
            raise
        raise UserError(str(error)) from error


def seed(text: str) -> int:
    """The value of `--seed`: what a random key can be made of."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0 to 2^32 - 1")
    return int(text)

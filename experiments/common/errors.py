"""Errors that a person at a terminal can act on: one sentence, no traceback.

An experiment raises `UserError("...")` where the input, a file or the machine is at fault, and its
`__main__` calls `run_main(main)`. A bug in the program still shows its traceback, as it should.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

TRACEBACK = "RECURRAX_TRACEBACK"


class UserError(Exception):
    """Something that the user can put right; the message is the whole story."""


def warn(sentence: str) -> None:
    """Prints one line to stderr; for what is wrong and was got round."""
    print(f"warning: {one_line(sentence)}", file=sys.stderr, flush=True)


def one_line(text: object) -> str:
    """`str(text)` with every run of white space, newlines too, as one blank."""
    return " ".join(str(text).split())


def run_main(main: Callable[[], object]) -> NoReturn:
    """Runs `main` and exits: 0; 2 after a `UserError` or an `OSError`, told in one sentence.

    Ctrl-C exits 130, and a reader that closed our pipe (`... translate | head`) ends us quietly.
    With the environment variable RECURRAX_TRACEBACK=1 every exception shows its traceback.
    """
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        main()
        sys.exit(0)
    try:
        main()
        sys.stdout.flush()  # here, so that a closed pipe is noticed while it can be handled
    except UserError as error:
        _fail(one_line(error), 2)
    except BrokenPipeError:
        # Python flushes stdout once more on its way out; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        reason = error.strerror or one_line(error)
        _fail(f"{error.filename}: {reason}" if error.filename else reason, 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    sys.exit(0)


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(code)

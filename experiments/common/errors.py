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

    prefix, exit_code = "error", 2


class Interrupted(UserError):
    """The user stopped the program, and the message says how to go on."""

    prefix, exit_code = "stopped", 130


def warn(sentence: str) -> None:
    """Prints one line to stderr; for what is wrong and was got round."""
    print(f"warning: {one_line(sentence)}", file=sys.stderr, flush=True)


def one_line(text: object) -> str:
    """`str(text)` with every run of white space, newlines too, as one blank."""
    return " ".join(str(text).split())


def run_main(main: Callable[[], object]) -> NoReturn:
    """Runs `main` and exits: 0; 2 after a `UserError` or an `OSError`, told in one sentence.

    So does a terminal that has no such letter. Ctrl-C and `Interrupted` exit 130; a reader that
    closed our pipe (`... | head`) ends us quietly.
    With the environment variable RECURRAX_TRACEBACK=1 every exception shows its traceback.
    """
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        main()
        sys.exit(0)
    try:
        main()
        # Here, so that a closed pipe is noticed while it can be handled; stdout may be None.
        print(end="", flush=True)
    except UserError as error:
        _exit(error.prefix, one_line(error), error.exit_code)
    except BrokenPipeError:
        # Python flushes stdout once more on its way out; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        reason = error.strerror or one_line(error)
        _exit("error", f"{error.filename}: {reason}" if error.filename else reason, 2)
    except UnicodeEncodeError as error:
        if error.encoding == "utf-8":
            raise
        letter = error.object[error.start]
        _exit("error", f"{error.encoding} has no {letter!r}; set PYTHONIOENCODING=utf-8.", 2)
    except KeyboardInterrupt:
        _exit("stopped", "interrupted; what was saved before is untouched.", 130)
    sys.exit(0)


def _exit(prefix: str, sentence: str, code: int) -> NoReturn:
    print(f"{prefix}: {sentence}", file=sys.stderr, flush=True)
    sys.exit(code)

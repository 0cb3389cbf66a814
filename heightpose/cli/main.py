"""The command line: one group, one module per verb, each loaded only when it is called."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from typing import Any

import click

from heightpose import __version__
from heightpose.cli._streams import StdoutError, prepare_streams, silence_stdout, tell
from heightpose.cli.lazy import LazyGroup
from heightpose.errors import EXIT_INTERRUPTED, EXIT_NO_READER, EXIT_USAGE, HeightposeError
from heightpose.runtime.ending import end_if_busy
from heightpose.runtime.interrupt import ignore_requests, raise_on_request
from heightpose.words import one_line

#: One line per verb, kept here so that ``--help`` imports none of them.
VERBS = {
    "infer": "Measure the infant in a video, picture, folder or stream.",
    "calibrate": "Find a camera's lens and pose; check a camera file.",
    "sheet": "Draw a printable cot sheet with tags.",
    "growth": "Plot measurements on the WHO curves.",
    "eval": "Judge a model on a test set.",
    "train": "Train a pose net or a detector.",
    "synth": "Render a synthetic nursery with exact truth.",
    "data": "Import, check and describe data sets and iterations.",
    "ablate": "Run a matrix of trainings and compare them.",
    "dashboard": "One page on how the models develop.",
    "export": "Write a model for another runtime.",
    "bench": "Measure speed and memory.",
    "doctor": "Look for what is wrong with a training run, or what infer cannot take.",
}

#: Verbs that train: Lightning has its own answer to SIGTERM, the end of the step at work and a checkpoint.
_OWN_SIGNALS = (["train"], ["ablate"])

#: What a path or a disk is to blame for, wherever it shows: no mistake of the program's.
_BLAMELESS = {
    errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO,
}  # fmt: skip

#: Raised by a group without a verb, since click 8.2; its text is the help. Before, click prints it itself.
_NoVerb: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


@click.group(
    cls=LazyGroup,
    package="heightpose.cli",
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="heightpose")
@click.option(
    "--debug", is_flag=True, help="Show tracebacks and more messages; accepted anywhere on the line."
)
def cli(debug: bool) -> None:
    """Crown-heel length of an infant, in centimetres, from an ordinary camera above the cot.

    \b
    Examples:
      heightpose infer clip.mp4 --camera camera.json --sheet sheet.yaml
      heightpose infer clips/ --camera camera.json --plane plane.json --out results
      heightpose infer --help

    Exit codes: 0 measured, 2 usage or unreadable input, 3 rejected, 130 interrupted.
    """


def main(argv: list[str] | None = None) -> None:
    """Entry point: run the command line and exit the process.

    Args:
        argv: the arguments; None for those of the process, whose signals are heard then.
    """
    prepare_streams()
    args = list(sys.argv[1:] if argv is None else argv)
    end = args.index("--") if "--" in args else len(args)
    debug = "--debug" in args[:end]
    args = [a for i, a in enumerate(args) if i >= end or a != "--debug"]
    try:
        if argv is None and args[:1] not in _OWN_SIGNALS:
            raise_on_request()
        _prepare_libraries(debug)
        code = _run(args, debug)
        try:
            sys.stdout.flush()
        except StdoutError as error:
            code = _not_printed(error, debug)
    except KeyboardInterrupt:  # came before the verb had begun, or when it had ended
        tell("interrupted")
        code = EXIT_INTERRUPTED
    if argv is None:
        ignore_requests()
        end_if_busy(code)
    sys.exit(code)


def _prepare_libraries(debug: bool) -> None:
    logging.addLevelName(logging.WARNING, "warning: ")
    logging.addLevelName(logging.INFO, "")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s%(message)s")
    logging.getLogger("heightpose").setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug and not sys.warnoptions:  # a library's warning with its file and line tells a user nothing
        warnings.simplefilter("ignore")
    # A few bytes of a damaged picture can claim a billion pixels; read by OpenCV when it is first imported.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
    # After each small product NumPy's OpenBLAS threads spin for tens of milliseconds on the cores that the networks
    # need: a third of infer's speed. Read when NumPy is first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _run(args: list[str], debug: bool) -> int:
    try:
        result = cli.main(args, prog_name="heightpose", standalone_mode=False)
        return result if isinstance(result, int) and not isinstance(result, bool) else 0
    except HeightposeError as error:
        return _fail(error, str(error), error.exit_code, debug)
    except _NoVerb as error:
        tell(error.format_message())
        return EXIT_USAGE
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx is not None else "heightpose"
        return _fail(error, f"{error.format_message()} Help: {verb} --help", EXIT_USAGE, debug)
    except click.ClickException as error:
        return _fail(error, error.format_message(), EXIT_USAGE, debug)
    except (KeyboardInterrupt, click.Abort):
        tell("interrupted")
        return EXIT_INTERRUPTED
    except StdoutError as error:
        return _not_printed(error, debug)
    except MemoryError as error:
        return _fail(error, "not enough memory for this input", EXIT_USAGE, debug)
    except OSError as error:
        if error.errno in _BLAMELESS and error.filename is not None:
            return _fail(error, f"{error.filename}: {error.strerror}. Check the path", EXIT_USAGE, debug)
        return _unexpected(error, debug)
    except Exception as error:
        return _unexpected(error, debug)


def _unexpected(error: Exception, debug: bool) -> int:
    text = one_line(f"unexpected {type(error).__name__}: {error}")
    return _fail(error, f"{text}. Run again with --debug and report the traceback", 1, debug)


def _fail(error: Exception, text: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    tell("error: " + one_line(text))
    return code


def _not_printed(error: StdoutError, debug: bool) -> int:
    """Say that stdout failed; a reader that has seen enough, such as ``head``, is told nothing."""
    silence_stdout()
    if isinstance(error.error, BrokenPipeError):
        return EXIT_NO_READER
    return _fail(error, f"standard output cannot be written: {error.error.strerror}", EXIT_USAGE, debug)

"""Entry of the `zchat` script and of `python -m zchat`."""

import os
import signal
import sys


def main() -> None:
    """Run the command line."""
    # Until the command line is there to handle Ctrl-C, it ends the process without a traceback. In the
    # background of a script it is ignored, and stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _be_utf_8()
    from zchat import cli

    cli.main()


def _be_utf_8() -> None:
    """Begin again where the locale has another encoding: names and texts are UTF-8, in arguments and in files."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()

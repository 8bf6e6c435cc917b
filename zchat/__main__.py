"""Entry of the `zchat` script and of `python -m zchat`."""

import gc
import signal


def main() -> None:
    """Run the command line."""
    # Until the command line is there to handle Ctrl-C, it ends the process without a traceback. In the
    # background of a script it is ignored, and stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # looking through what is imported takes 5 ms, and finds nothing
    from zchat import cli

    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()

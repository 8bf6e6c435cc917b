"""Entry of the `zchat` script and of `python -m zchat`."""

import gc
import signal

YOUNG_MAX = 50_000  # objects that are made before garbage is looked for among them


def main() -> None:
    """Run the command line."""
    # Python's own bound is 700. Of what is loaded nothing is garbage, and to look takes a twentieth of a start.
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
    # Until the command line is there to handle Ctrl-C, it ends the process without a traceback. In the
    # background of a script it is ignored, and stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from zchat import cli

    cli.main()


if __name__ == "__main__":
    main()

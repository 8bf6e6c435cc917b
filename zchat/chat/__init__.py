"""`zchat chat`: two-way chat in a terminal, on the public API of asyncio.

    core/     what is shown, counted, completed and meant: decisions, without a terminal, a socket or a clock
    *.py      the conversations of one user, kept by tasks of one event loop
    plain/    a line editor with messages above the line: any terminal, a slow line, a screen reader
    screen/   the whole screen, with Textual, which is of the extra `chat`

Docs: docs/chat.md.
"""

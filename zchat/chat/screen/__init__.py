"""The chat on the whole screen, with Textual.

Rules of this package: widgets show what the conversations (zchat/chat/core) are, and decide nothing.
Docs: docs/chat.md.
"""

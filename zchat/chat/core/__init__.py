"""The decisions of `zchat chat`: pure, each with a test file of its name in tests/chat/core."""

import pytest

pytest.register_assert_rewrite("tests.log.contract")  # it is no test file by its name

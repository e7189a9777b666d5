import itertools

import pytest

from stile import Stile

numbers = itertools.count()


def pytest_configure(config):
    # Once, before the run: pytest-xdist's workers have `workerinput`, the process that starts them has not.
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        answer = Stile().post("/test/reset")
        if answer.status_code != 204:
            pytest.exit(f"POST /test/reset: {answer.status_code} (stile needs ENABLE_TEST_ENDPOINTS=true)", 4)


@pytest.fixture
def stile(worker_id):
    """A client for each worker: gw0, gw1, …"""
    return Stile(worker_id)


@pytest.fixture
def email(worker_id):
    """An address that no other test uses: limits per account stay, whatever the worker."""
    return f"user-{worker_id}-{next(numbers)}@example.com"

import pytest

from tests.http_server import HostileServer
from tests.preprocess.http.fetching import IMAGE, LIMIT


@pytest.fixture(scope="module")
def server():
    files = {"/a.jpg": IMAGE, "/big.jpg": bytes(LIMIT + 1), "/fits.jpg": bytes(LIMIT)}
    with HostileServer(files) as running:
        yield running

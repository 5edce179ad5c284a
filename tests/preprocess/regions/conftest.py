from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tests.preprocess.regions import reference  # noqa: E402


@pytest.fixture(scope="session")
def state() -> "reference.State":
    return reference.random_state()


@pytest.fixture(scope="session")
def weights(state: "reference.State", tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "c4.safetensors"
    save_file(state, path)
    return str(path)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)

"""One thread: small networks gain nothing by more, and wait for them on a busy machine."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)

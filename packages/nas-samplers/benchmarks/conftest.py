"""One thread, and memory by count."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Alive(TorchDispatchMode):
    """Counts the bytes that operations inside it make, until they are freed."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.seen = weakref.WeakValueDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = [x.untyped_storage() for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)]
        old = {storage.data_ptr() for storage in before}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if torch.is_tensor(x):
                storage = x.untyped_storage()
                place = storage.data_ptr()
                if place in old or self.seen.get(place) is not None:
                    continue  # a view, or a write in place
                self.seen[place] = storage
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def free(self, size):
        self.now -= size


@pytest.fixture(scope="session")
def peak():
    """A function that runs another one and returns the most bytes of tensors alive at once."""

    def measure(run):
        with Alive() as alive:
            run()
        return alive.peak

    return measure

"""One thread: more only slow such small networks."""

import torch

torch.set_num_threads(1)

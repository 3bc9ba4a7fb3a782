"""Settings of all tests."""

import torch

# Tests run beside others on few cores; threads that wait for each other there cost far more than they bring.
torch.set_num_threads(1)

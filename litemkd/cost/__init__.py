"""What a model costs: MACs, FLOPs, parameters and latency of an episode."""

"""The training loop, and what a step of it computes for experts, teacher and student."""

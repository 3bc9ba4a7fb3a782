"""The model registry: versions and their files, the aliases `champion` and `lite`, and how they moved."""

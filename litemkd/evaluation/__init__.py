"""Features computed once, episodes looked up in them, accuracies with their intervals, clips named."""

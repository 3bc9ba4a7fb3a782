"""What is on its way to the store: written to disk first, sent in order, sent again where it was not taken."""

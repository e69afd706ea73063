"""Checks recorded answers against what the clients' own service models allow."""

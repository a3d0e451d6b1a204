"""Attacks that see the answers of a network and none of its gradients; they count their queries."""

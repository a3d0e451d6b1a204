"""Attacks on several networks at once, and on networks that are drawn anew in every step."""

"""Defences that change the image before the network sees it."""

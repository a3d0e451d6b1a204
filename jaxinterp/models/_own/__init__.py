"""Networks of one's own: Linen and NNX modules and plain functions as models, their layers named and placed."""

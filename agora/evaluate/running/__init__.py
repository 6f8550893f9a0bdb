"""Runs contestants on items: here or on a cluster, recorded, budgeted, scored."""

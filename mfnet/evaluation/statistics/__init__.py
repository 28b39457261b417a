"""Means over groups, differences between methods, and how sure they are."""

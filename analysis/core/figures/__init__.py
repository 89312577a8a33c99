"""Figures as pure functions: (tidy table, column names, ax) -> ax. Nothing is saved, shown or restyled here.

Tables come from `statistics.summarise`: one line per cell, the value in the column named, and low, high, n beside it.
Values are in the unit of the axis (accuracies in per cent, 0 to 100). A cell whose value is NaN is a hole.
"""

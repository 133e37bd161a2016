"""Figures: side by side in one run, as ratios, with medians."""

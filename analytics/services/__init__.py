"""Figures that are kept of the calls."""

from analytics.services.rollup import roll_up

__all__ = ["roll_up"]

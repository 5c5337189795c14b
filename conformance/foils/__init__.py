"""Small peers on the kit's own wire code, correct but for one knob: what each case must notice."""

from .requestor import request
from .responder import FoilServer

__all__ = ["FoilServer", "request"]

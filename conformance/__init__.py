"""The conformance kit: judges a DICOM server or client by clause, over raw PDUs, apart from the product.

Nothing here imports the product's protocol code; see docs/conformance/index.md.
"""

from .case import REGISTRY, Case, Effect, Level, Verdict, select
from .catalog import all_cases, cases
from .runner import Result, Run, run_scp
from .target import Profile, load_profile

__all__ = [
    "REGISTRY",
    "Case",
    "Effect",
    "Level",
    "Profile",
    "Result",
    "Run",
    "Verdict",
    "all_cases",
    "cases",
    "load_profile",
    "run_scp",
    "select",
]

"""Every public name of aiodicom has a type that pyright knows: `make types` runs pyright --verifytypes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Cases of the conformance kit are tables and loops at module level: nobody imports their names.
NOBODY_IMPORTS = ("aiodicom.conformance.cases.", "aiodicom.conformance.foils.", "aiodicom.conformance.rules.")

python = Path(sys.executable)
command = [python.with_name("pyright"), "--outputjson", "--verifytypes", "aiodicom", "--ignoreexternal"]
environment = {
    "PATH": f"{python.parent}:/usr/bin:/bin",
    "VIRTUAL_ENV": str(python.parent.parent),
    "HOME": str(Path.home()),
}
done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
found = json.loads(done.stdout)["typeCompleteness"]
names = [one for one in found["symbols"] if not one["name"].startswith(NOBODY_IMPORTS)]
unknown = [one["name"] for one in names if not one["isTypeKnown"]]
print(f"{len(names)} public names, {len(unknown)} of unknown or ambiguous type")
print("\n".join(unknown))
sys.exit(bool(unknown) or len(names) < 1000)  # too few: pyright did not find the package

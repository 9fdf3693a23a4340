# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_steps, for the tests of live progress: tells steps, says when, and ends when its caller is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.phase.console.plugins.module_utils._call.caller import Caller


def main():
    module = AnsibleModule(
        {
            "steps": {"type": "int", "default": 3},
            "pause": {"type": "float", "default": 0.5},
            "pid_file": {"type": "path"},
            "secret": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    caller = Caller.from_environment(os.environ)
    if module.params["pid_file"]:
        Path(module.params["pid_file"]).write_text(str(os.getpid()), encoding="ascii")
    for step in range(1, module.params["steps"] + 1):
        caller.tell(f"step {step} of {module.params['steps']} at {time.time():.3f}", done=step)
        until = time.monotonic() + module.params["pause"]
        while time.monotonic() < until:
            if caller.lost():
                caller.close()
                module.fail_json(msg="the caller is lost", done=step)
            time.sleep(0.05)
    caller.close()
    module.exit_json(changed=not module.check_mode, done=module.params["steps"], uid=os.getuid())


if __name__ == "__main__":
    main()

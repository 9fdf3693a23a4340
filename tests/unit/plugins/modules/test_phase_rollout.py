# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import yaml
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import NotSupported
from ansible_collections.phase.console.plugins.module_utils._instance import rollout as _rollout
from ansible_collections.phase.console.plugins.module_utils._instance.rollout import after_step
from ansible_collections.phase.console.plugins.module_utils._target.docker import DockerTarget
from ansible_collections.phase.console.plugins.modules import phase_rollout

PARAMS = {name: option.get("default") for name, option in phase_rollout.SPEC.options.items()}
PARAMS.update(name="phase-worker", image="phasehq/backend:v2")


def silent(message, **counters):
    pass


def call(target, check=False):
    return phase_rollout.run(Call(PARAMS, check, False, target, silent, silent))


def docker(deployment="docker"):
    return DockerTarget(deployment, object, lambda client: {}, limits=None)


@pytest.mark.parametrize("deployment", ["compose", "local", "database"])
def test_compose_is_left_to_compose(deployment):
    with pytest.raises(NotSupported, match="with docker") as refused:
        phase_rollout.SPEC.check_deployment(deployment)
    assert "docker_compose_v2" in refused.value.next_step


class OnPaper(_rollout.Rollout):
    """The steps, taken in the model of check mode."""

    seen = _rollout.Seen("phase-worker", _rollout.Slot("1", "sha256:old", True))
    taken = []
    labels = {}

    def image_id(self):
        return "sha256:new"

    def see(self):
        return OnPaper.seen

    def find(self, suffix=""):
        found = OnPaper.seen.current if suffix == "" else OnPaper.seen.previous
        return found and {
            "Id": found.id,
            "Image": found.image_id,
            "HostConfig": {},
            "Config": {"Labels": OnPaper.labels},
        }

    def take(self, step, seen):
        OnPaper.taken.append(step)
        OnPaper.seen = after_step(seen, step, "sha256:new")


def test_check_mode_foresees_what_a_run_does(monkeypatch):
    monkeypatch.setattr(_rollout, "Rollout", OnPaper)
    monkeypatch.setattr(DockerTarget, "component", lambda self, found: {"image": "i", "image_id": found["Image"]})
    checked = call(docker(), check=True)
    assert OnPaper.taken == [] and checked["changed"] and checked["after"]["image_id"] == "sha256:new"
    done = call(docker())
    assert done["steps"] == checked["steps"] and len(OnPaper.taken) == len(done["steps"]) == 6
    assert (done["before"]["image_id"], done["after"]["image_id"]) == ("sha256:old", "sha256:new")
    again = call(docker())
    assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]


@pytest.mark.parametrize("rollback", [True, False])
def test_a_start_that_fails_is_rolled_back_where_asked_for(monkeypatch, rollback):
    class Failing(OnPaper):
        def take(self, step, seen):
            if step == "start":
                raise _rollout.RolloutFailed("It does not come up.", "See.")
            super().take(step, seen)

        def roll_back(self, failure):
            return _rollout.RolloutFailed(failure.message, "Put back.", partial={"rolled_back": True})

    monkeypatch.setattr(_rollout, "Rollout", Failing)
    monkeypatch.setattr(DockerTarget, "component", lambda self, found: {"image": "i", "image_id": found["Image"]})
    monkeypatch.setattr(OnPaper, "seen", _rollout.Seen("phase-worker", _rollout.Slot("1", "sha256:old", True)))
    monkeypatch.setattr(OnPaper, "taken", [])
    monkeypatch.setitem(PARAMS, "rollback", rollback)
    with pytest.raises(_rollout.RolloutFailed) as failed:
        call(docker())
    assert failed.value.partial.get("rolled_back", False) is rollback
    assert rollback or failed.value.partial["before"]["image_id"] == "sha256:old"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("label", ["com.docker.compose.project", "com.docker.swarm.service.name"])
def test_what_another_program_makes_anew_is_not_replaced_beside_it(monkeypatch, label, check):
    """The next `docker compose up -d` would bring the old version back on the new database."""
    monkeypatch.setattr(_rollout, "Rollout", OnPaper)
    monkeypatch.setattr(DockerTarget, "component", lambda self, found: {"image": "i", "image_id": found["Image"]})
    monkeypatch.setattr(OnPaper, "seen", _rollout.Seen("phase-worker", _rollout.Slot("1", "sha256:old", True)))
    monkeypatch.setattr(OnPaper, "taken", [])
    monkeypatch.setattr(OnPaper, "labels", {label: "phase"})
    with pytest.raises(_rollout.ManagedElsewhere) as refused:
        call(docker(), check=check)
    assert OnPaper.taken == [] and refused.value.next_step.startswith("Set ")
    monkeypatch.setattr(OnPaper, "seen", _rollout.Seen("phase-worker", _rollout.Slot("1", "sha256:new", True)))
    assert call(docker(), check=check)["changed"] is False


def test_all_options_are_documented():
    documented = yaml.safe_load(phase_rollout.DOCUMENTATION)["options"]
    assert set(documented) == set(phase_rollout.SPEC.options)

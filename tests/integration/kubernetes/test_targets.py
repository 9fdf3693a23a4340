# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target ``kubernetes``, on a real cluster, with an instance as Phase's chart lays it out and two backends."""

from __future__ import annotations

import contextlib
import copy
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from integration import accounts, lockouts, targets
from integration.harness import Ansible, PlayResult, target
from sandbox import images

VERSION = "v2.73.2"
IMAGE = f"docker.io/phasehq/backend:{VERSION}"
OURS = "phase.console/backend"

Options = dict[str, Any]
Impostor = Callable[..., Options]


@pytest.fixture(scope="module")
def instance(module_cluster_instance: Callable[..., Any]) -> Any:
    return module_cluster_instance(VERSION, events=0, replicas=2)


def objects(instance: Any, kind: str) -> list[dict[str, Any]]:
    """Those that this collection has made."""
    listed = instance.kubectl("get", kind, f"--selector={OURS}", "--output=json")
    return list(json.loads(listed)["items"])


def nothing_is_left(instance: Any) -> None:
    targets.until(lambda: not objects(instance, "jobs") and not objects(instance, "pods"), 30)


def test_info(ansible: Ansible, instance: Any) -> None:
    phase = targets.info(ansible, target(instance))
    assert phase["migrations"]["applied"] == 190 and phase["storage"]["free_bytes"] > 0
    described = phase["instance"]
    assert (described["container"], described["image"]) == ("phase-backend", IMAGE)
    assert (described["namespace"], described["release"]) == (instance.namespace, "phase")
    assert set(described["components"]) == {"backend", "worker", "frontend", "postgres", "redis"}
    backend = described["components"]["backend"]
    assert backend["replicas"] == {"wanted": 2, "ready": 2} and backend["image_id"].startswith("sha256:")
    assert {(one["status"], one["health"]) for one in described["components"].values()} == {("running", "healthy")}
    assert described["external_migration"] == {"value": "true", "misspelt": False}
    assert described["managed_by"][0]["manager"] == "helm" and described["managed_by"][0]["chart"] == "phase-1.0.1"


def test_health(ansible: Ansible, instance: Any) -> None:
    options = {**target(instance), "components": ["backend", "worker"], "version": VERSION}
    assert ansible.module("phase_health", options)["health"]["backend"]["alive"] is True


def test_nothing_is_made_for_a_look(ansible: Ansible, instance: Any) -> None:
    before = instance.kubectl("get", "all", "--output=name")
    targets.info(ansible, target(instance))
    assert instance.kubectl("get", "all", "--output=name") == before


def test_rows_are_changed_and_put_back(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    targets.rows_are_changed_and_put_back(ansible, instance, target(instance), tmp_path)


def test_a_table_is_vacuumed(ansible: Ansible, instance: Any) -> None:
    targets.a_table_is_vacuumed(ansible, instance, target(instance))


def test_a_lockout_by_sso_ends_at_once(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    targets.a_lockout_by_sso_ends_at_once(ansible, instance, target(instance), tmp_path)


def test_old_reads_go(ansible: Ansible, instance: Any) -> None:
    targets.old_reads_go(ansible, instance, target(instance))


def test_a_purge_lives_through_a_rollout_and_ends_right_after_its_pod_is_killed(
    ansible: Ansible, instance: Any
) -> None:
    """It runs as a Job. Another session holds it up in a deletion's statement, until backend or Job's pod is gone."""
    given = {**target(instance), "all_organisations": True, "strategy": "delete", "timeouts": {"lock": "2m"}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_purge_logs": given}]}]
    for number, killed in enumerate(("backend", "job")):
        instance.sql(targets.MORE_OLD_EVENTS.replace("kill-", f"kill-{number}-"))
        instance.sql(targets.A_TAG, f"kill-{number}-1")
        history = instance.sql(targets.HISTORY)
        with contextlib.closing(psycopg2.connect(instance.database_url)) as other:
            other.cursor().execute("select from api_secretevent_tags for update")
            run = ansible.popen_playbook(play)
            run.wait_until(lambda: bool(instance.sql(targets.WAITING)))
            if killed == "backend":
                instance.restart("backend")
            else:
                instance.kubectl("delete", "pods", f"--selector={OURS}", "--grace-period=0", "--force")
                assert run.wait().tasks[-1].result["error"]["kind"] == "job_failed"
        done = run.wait().tasks[-1].result if killed == "backend" else ansible.module("phase_purge_logs", given)
        assert (done["remaining"], done["stopped_by"]) == (0, None), done
        assert [one["by"] for one in done["ran_in"]] == ["exec", "job"]
        assert instance.sql(targets.HISTORY) == history and instance.sql(targets.LEFT) == [(0, 0, 0)]
    instance.sql("delete from api_secretevent where timestamp < now() - interval '31 days'")
    nothing_is_left(instance)


def test_the_far_end_ends_with_its_caller(ansible: Ansible, instance: Any) -> None:
    targets.ends_when_the_caller_dies(ansible, instance, target(instance))
    listing = "for one in /proc/[0-9]*; do tr '\\0' ' ' < $one/cmdline; echo; done"

    def running() -> bool:
        pods = [pod["metadata"]["name"] for pod in instance.pods("backend")]
        return any("import importlib" in instance.exec(pod, "sh", "-c", listing).stdout for pod in pods)

    targets.until(lambda: not running(), 15)


def test_lock_timeout(ansible: Ansible, instance: Any) -> None:
    targets.a_lock_is_not_waited_for_without_end(ansible, instance, target(instance))


def test_an_owner_who_is_locked_out_is_let_in_by_the_playbook(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    lockouts.by_policy(instance)
    before = lockouts.policies(instance)
    assert lockouts.enter(instance.url) == "IP_RESTRICTED"
    variables = {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_recover_organisation": "SpaceX",
        "phase_recover_address": lockouts.HOME,
        "phase_recover_dir": str(tmp_path / "recover"),
        "phase_recover_confirmed": True,
    }
    try:
        done = ansible.playbook("recover", variables).custom["phase_recover"]
        assert done["outcome"] == "kept" and lockouts.enter(instance.url) == "in"
        ansible.playbook("recover", {**variables, "phase_recover_restore": done["restore"]})
        assert lockouts.policies(instance) == before and lockouts.enter(instance.url) == "IP_RESTRICTED"
    finally:
        instance.sql("delete from api_networkaccesspolicy")


def test_manifests_that_migrate_are_valid_and_run(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    """By the API server's dry run; the plain Job runs, under Pod Security `restricted`, and finds nothing to do."""
    role = {"name": "phase.console.migration_job", "tasks_from": "kubernetes"}
    given = {
        "phase_migration_job_kind": "{{ item }}",
        "phase_migration_job_dest": f"{tmp_path}/{{{{ item }}}}",
        "phase_migration_job_namespace": instance.namespace,
        "phase_migration_job_backend_image": IMAGE,
    }
    kinds = ["job", "helm_hook", "init_container"]
    task = {"ansible.builtin.include_role": role, "vars": given, "loop": kinds}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    assert ansible.playbook(play, check=True).changed == 3 and not list(tmp_path.iterdir())
    assert ansible.playbook(play).changed == 3 and ansible.playbook(play).changed == 0
    for kind in ("job", "helm_hook"):
        instance.kubectl("apply", "--dry-run=server", "--validate=strict", f"--filename={tmp_path / kind}")
    dry = ["--dry-run=server", f"--patch-file={tmp_path / 'init_container'}", "--output=json"]
    patched = json.loads(instance.kubectl("patch", "deployment", "phase-backend", *dry))["spec"]["template"]["spec"]
    assert [one["name"] for one in patched["initContainers"]] == ["migrations", "wait-for-migrations"]
    instance.kubectl("apply", f"--filename={tmp_path / 'job'}")
    instance.kubectl("wait", "job/phase-migrations-v2-73-2", "--for=condition=Complete", "--timeout=120s")
    instance.kubectl("delete", "job/phase-migrations-v2-73-2")


def test_the_controllers_config_map_is_told_whom_to_believe(ansible: Ansible, instance: Any) -> None:
    """Its other keys stay, and what an earlier choice has set goes; a map that no controller reads is refused."""
    given = {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_realip_proxy": "ingress_nginx",
        "phase_realip_kubernetes_name": "controller",
        "phase_realip_kubernetes_namespace": instance.namespace,
        "phase_realip_sources": [{"name": "custom", "ranges": ["10.0.16.0/20"], "header": "True-Client-IP"}],
    }
    refused = ansible.playbook("realip", given, expect_failure=True)
    assert "There is no ConfigMap controller" in refused.message

    named = {"name": "controller", "namespace": instance.namespace}
    instance.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {"keep-alive": "10"}}])

    def data() -> dict[str, str]:
        return dict(instance.get("configmap", "controller")["data"])

    checked = ansible.playbook("realip", given, check=True, diff=True)
    assert checked.changed and "10.0.16.0/20" in checked.stdout and data() == {"keep-alive": "10"}
    assert ansible.playbook("realip", given).changed == 1
    now = data()
    assert (now["keep-alive"], now["proxy-real-ip-cidr"]) == ("10", "10.0.16.0/20")
    assert (now["forwarded-for-header"], now["use-forwarded-headers"]) == ("True-Client-IP", "false")
    assert ansible.playbook("realip", given).changed == 0
    by_protocol = {**given, "phase_realip_sources": [{"name": "proxy_protocol", "ranges": ["10.0.16.0/20"]}]}
    assert ansible.playbook("realip", by_protocol).changed == 1
    assert data()["use-proxy-protocol"] == "true" and "forwarded-for-header" not in data()
    assert ansible.playbook("realip", by_protocol).changed == 0
    instance.kubectl("delete", "configmap", "controller")


def test_a_cron_job_purges(ansible: Ansible, instance: Any, cluster: Any) -> None:
    """In the cluster, by a service account with the Role for maintenance; the ConfigMap has no secret."""
    cluster.load([images.ANSIBLE])
    accounts.acting(instance, "maintain")
    instance.sql(targets.OLD_EVENTS)
    given = {
        "phase_target": target(instance),
        "phase_log_retention_all_organisations": True,
        "phase_log_retention_retain_days": 40,
        "phase_log_retention_cronjob_image": f"docker.io/{images.ANSIBLE}",
        "phase_log_retention_cronjob_service_account": "maintain",
    }

    def applied(**more: Any) -> PlayResult:
        role = {"name": "phase.console.log_retention", "tasks_from": "cronjob"}
        task = {"ansible.builtin.include_role": role, "vars": {**given, **more}}
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
        return ansible.playbook(play, check=check, diff=check)

    check = True
    assert "retain_days: 40" in applied().stdout and not instance.kubectl("get", "cronjobs", "--output=name")
    check = False
    assert (applied().changed, applied().changed) == (1, 0)
    assert "in_cluster: true" in instance.get("configmap", "phase-log-retention")["data"]["variables.yml"]
    instance.kubectl("create", "job", "--from=cronjob/phase-log-retention", "now")
    ended = instance.kubectl("wait", "job/now", "--for=condition=Complete", "--timeout=120s", check=False)
    log = instance.kubectl("logs", "job/now")
    assert ended and "Deleted" in log and instance.sql(targets.LEFT)[0][0] == 0, log
    assert applied(phase_log_retention_cronjob_state="absent").changed == 1
    assert not instance.kubectl("get", "cronjobs", "--output=name")
    instance.sql("delete from api_secretevent where timestamp < now() - interval '31 days'")


# What is in the way


def test_no_cluster_is_taken_from_the_environment(ansible: Ansible, instance: Any) -> None:
    ambient = {"KUBECONFIG": str(instance.kubeconfig)}
    options = {**target(instance), "kubernetes": {}}
    result = ansible.module("phase_info", options, expect_failure=True, environ=ambient)
    assert result["error"]["kind"] == "bad_option" and "No cluster is named" in result["msg"]


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        ({"namespace": "nosuch"}, "namespace_missing", "nosuch"),
        ({"namespace": "kube-system"}, "release_missing", "label_selector"),
        ({"release": "nosuch"}, "release_missing", "one of: phase."),
        ({"label_selector": "app=nosuch"}, "release_missing", "app=nosuch"),
        ({"kubernetes": {"host": "https://127.0.0.1:1"}}, "api_unreachable", "cannot be reached"),
    ],
    ids=["namespace", "another namespace", "release", "labels", "host"],
)
def test_what_is_not_there(ansible: Ansible, instance: Any, wrong: Options, kind: str, said: str) -> None:
    assert said in targets.refused(ansible, {**target(instance), **wrong}, kind)


def test_a_wrong_context(ansible: Ansible, instance: Any) -> None:
    named = {**target(instance)["kubernetes"], "context": "production"}
    assert "no context production" in targets.refused(ansible, {**target(instance), "kubernetes": named}, "bad_option")


def test_a_certificate_that_is_not_trusted_and_a_token_that_is_not_known(ansible: Ansible, instance: Any) -> None:
    named: Options = {"host": accounts.server(instance)["server"], "api_key": "planted-token"}
    assert "ca_cert" in targets.refused(ansible, {**target(instance), "kubernetes": named}, "api_unreachable")
    named["validate_certs"] = False
    message = targets.refused(ansible, {**target(instance), "kubernetes": named}, "credentials_missing")
    assert "planted-token" not in message


@pytest.fixture
def impostor(instance: Any) -> Iterator[Impostor]:
    """``impostor(change)``: another Deployment after the backend's, without the chart; the options that lead to it."""
    names: list[str] = []

    def start(change: Callable[[Any, Any], Any] = lambda container, pod: None, replicas: int = 1) -> Options:
        name = f"impostor-{secrets.token_hex(2)}"  # those of other tests may still be going
        made = copy.deepcopy(instance.get("deployment", f"{instance.name}-backend"))
        pod = made["spec"]["template"]["spec"]
        pod.pop("initContainers", None)
        container = pod["containers"][0]
        for probe in ("readinessProbe", "livenessProbe"):
            container.pop(probe, None)
        container["command"] = ["sleep", "600"]
        pod["terminationGracePeriodSeconds"] = 0
        change(container, pod)
        labels = {"app": name}
        made["spec"]["template"]["metadata"] = {"labels": labels}
        made["spec"].update(replicas=replicas, selector={"matchLabels": labels})
        metadata = {"name": name, "namespace": instance.namespace, "labels": labels}
        instance.apply([{**{key: made[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata}])
        names.append(name)
        return {**target(instance), "label_selector": f"app={name}"}

    yield start
    for name in names:
        instance.kubectl("delete", "deployment", name, "--wait=false")


def ready(instance: Any, options: Options) -> Options:
    instance.kubectl("rollout", "status", f"deployment/{options['label_selector'][4:]}", "--timeout=60s")
    return options


def variables(container: Any, values: dict[str, str]) -> None:
    container["env"] = [one for one in container["env"] if one["name"] not in values]
    container["env"] += [{"name": name, "value": value} for name, value in values.items()]


def test_an_instance_without_the_chart(ansible: Ansible, instance: Any, impostor: Impostor) -> None:
    options = ready(instance, impostor())
    phase = targets.info(ansible, options)
    assert phase["instance"]["container"] == options["label_selector"][4:] and phase["instance"]["release"] is None
    assert phase["migrations"]["applied"] == 190 and phase["storage"]["free_bytes"] > 0


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("wrong_password", {"DATABASE_PASSWORD_FILE": "/dev/null", "DATABASE_PASSWORD": "not the one"}),
        ("database_missing", {"DATABASE_NAME": "nosuch"}),
        ("not_phase", {"DATABASE_NAME": "postgres"}),
        ("database_unreachable", {"DATABASE_HOST": "nosuch.invalid"}),
    ],
)
def test_it_says_what_is_wrong_with_the_database(
    ansible: Ansible, instance: Any, impostor: Impostor, kind: str, wrong: dict[str, str]
) -> None:
    targets.refused(ansible, ready(instance, impostor(lambda one, pod: variables(one, wrong))), kind)


UNUSABLE: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "image": (lambda one, pod: one.update(image="docker.io/phasehq/backend:nosuch"), "cannot be pulled"),
    "crash loop": (lambda one, pod: one.update(command=["sh", "-c", "exit 3"]), "exit code 3"),
    "no node": (lambda one, pod: pod.update(nodeSelector={"disk": "nosuch"}), "no node to run on"),
    "no secret": (lambda one, pod: one.update(envFrom=[{"secretRef": {"name": "nosuch-secret"}}]), "nosuch-secret"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_backend_without_a_ready_pod(ansible: Ansible, instance: Any, impostor: Impostor, fault: str) -> None:
    change, said = UNUSABLE[fault]
    options = impostor(change)

    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_info": options}]}]
    targets.until(lambda: said in ansible.playbook(play, expect_failure=None).message, 60)
    assert options["label_selector"][4:] in targets.refused(ansible, options, "pod_not_ready")


def test_a_backend_that_is_scaled_to_none(ansible: Ansible, instance: Any, impostor: Impostor) -> None:
    """There is no pod to work in, so a Job of its own does it, and the result says so."""
    given = {**impostor(replicas=0), "gather_subset": ["migrations"]}
    seen = ansible.module("phase_info", given)
    assert seen["phase"]["migrations"]["applied"] == 190
    assert [one["by"] for one in seen["ran_in"]] == ["job"] and seen["ran_in"][0]["pod"]
    nothing_is_left(instance)


def test_two_releases_in_a_namespace(ansible: Ansible, instance: Any) -> None:
    second = copy.deepcopy(instance.get("deployment", f"{instance.name}-backend"))
    labels = {**second["spec"]["selector"]["matchLabels"], "app.kubernetes.io/instance": "other"}
    second["spec"].update(replicas=0, selector={"matchLabels": labels})
    second["spec"]["template"]["metadata"]["labels"] = labels
    metadata = {"name": "other-phase-backend", "namespace": instance.namespace, "labels": labels}
    instance.apply([{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": second["spec"]}])
    try:
        assert "other, phase" in targets.refused(ansible, target(instance), "release_missing")
        assert targets.info(ansible, {**target(instance), "release": "phase"}, "instance")["instance"]["database"]
    finally:
        instance.kubectl("delete", "deployment", "other-phase-backend")


# Rights


def test_who_may_only_look(ansible: Ansible, instance: Any) -> None:
    options = accounts.acting(instance, "look")
    seen = targets.info(ansible, options, "components")["components"]
    assert seen["components"]["backend"]["replicas"]["ready"] == 2 and seen["managed_by"][0]["revision"] is None
    message = targets.refused(ansible, options, "forbidden")
    assert "pods/exec" in message and instance.namespace in message


def test_who_may_maintain(ansible: Ansible, instance: Any) -> None:
    options = accounts.acting(instance, "maintain")
    assert targets.info(ansible, options)["migrations"]["applied"] == 190
    targets.old_reads_go(ansible, instance, options)
    result = ansible.module("phase_migrate", {**options, "image": IMAGE}, check=True, expect_failure=True)
    assert result["error"]["kind"] == "forbidden" and "create jobs.batch" in result["msg"]
    assert not objects(instance, "jobs")


def test_who_may_upgrade(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    options = accounts.acting(instance, "upgrade")
    assert ansible.module("phase_migrate", {**options, "image": IMAGE})["changed"] is False
    assert ansible.module("phase_backup", {**options, "dest": f"{tmp_path}/"})["manifest"]["tables"] > 50
    nothing_is_left(instance)


# Programs


def test_a_backup_that_is_read_back_whole(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    given = {**target(instance), "dest": f"{tmp_path}/", "verify": "full"}
    checked = ansible.module("phase_backup", given, check=True)
    assert checked["changed"] and not list(tmp_path.iterdir())
    made = ansible.module("phase_backup", given)["manifest"]
    assert Path(made["path"]).stat().st_size == made["bytes"] > 100_000
    assert ansible.module("phase_backup", {**given, "max_age": 3600})["changed"] is False
    nothing_is_left(instance)


DUMPING = "select 1 from pg_stat_activity where application_name = 'phase.console backup' and wait_event_type = 'Lock'"


def test_a_backup_ends_with_its_caller(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    """pg_dump waits for a lock, so that nothing but the end of its pod can end it. The next call clears the Job."""
    given = {**target(instance), "dest": f"{tmp_path}/"}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_backup": given}]}]
    with targets.locked(instance.database_url, "api_secretevent"):
        run = ansible.popen_playbook(play)
        run.wait_until(lambda: bool(instance.sql(DUMPING)))
        targets.kill(run)
        phases = ("Succeeded", "Failed")
        targets.until(lambda: all(pod["status"]["phase"] in phases for pod in objects(instance, "pods")), 15)
    assert len(objects(instance, "jobs")) <= 1  # one, unless the module has seen its own caller die first
    assert ansible.module("phase_backup", given)["manifest"]
    nothing_is_left(instance)

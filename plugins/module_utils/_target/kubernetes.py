# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``deployment: kubernetes``: operations by exec in a ready pod of the backend's, or in a Job's pod of their own.

What is short runs by exec. What is long, has to outlive its caller or needs another image runs as a Job, and so does
all else while the backend is scaled to 0.
"""

from __future__ import annotations

import contextlib
import functools
import re
import secrets
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from .._errors import (
    ApiRefused,
    ApiUnreachable,
    Forbidden,
    ImageMissing,
    InterpreterMissing,
    JobFailed,
    NamespaceMissing,
    NotSupported,
    PhaseError,
    ReleaseMissing,
    RemoteError,
    StreamLost,
)
from .._operations.core.api import Deliveries, Operation, Request, Result
from .._operations.core.package import STARTER, reference
from .._operations.core.secrets import masker, secret_values
from . import kubernetes_job as jobs
from . import kubernetes_state as state
from .base import Limits, Lost, Report, Sink, Target, external_migration
from .kubernetes_api import EXECUTING, JOBS, METADATA_ONLY, Api
from .kubernetes_streams import AGAIN, AWAY, ExecChannel, JobChannel, open_stream
from .session import Channel, converse, first_words, never_lost
from .streams import events, pump

Document = Dict[str, Any]

POLL = 0.2  # seconds between looks at a pod that starts
STARTING = 300.0  # seconds that a pod may take to start, while nothing says that it will not
PLACING = 30.0  # seconds for a scheduler, or an autoscaler's first sign
ENDED = 10.0  # seconds between the end of a log and the container's exit code
MOMENT = 5.0  # seconds after which a Job that ended is nobody's any more
LOG_LINES = "20"


class KubernetesTarget(Target):
    """The API is asked when something is needed of it: a module that only keeps a file needs no cluster."""

    deployment = "kubernetes"

    def __init__(
        self,
        connect: Callable[[], Api],
        namespace: str,
        release: Optional[str],
        selector: Optional[str],
        limits: Limits,
        lost: Lost = never_lost,
    ) -> None:
        self._connect = connect
        self._namespace = namespace
        self._release = release
        self._selector = selector
        self._limits = limits
        self._lost = lost
        self.ran_in = []
        self._long = False
        self._holders: Dict[str, Tuple[contextlib.ExitStack, str]] = {}

    @functools.cached_property
    def api(self) -> Api:
        return self._connect()

    # Facts

    def connection(self) -> Dict[str, Any]:
        return {
            "deployment": self.deployment,
            "cluster": self.api.access.named,
            "namespace": self._namespace,
            "release": self._release,
            "label_selector": self._selector,
        }

    def backend(self) -> Document:
        """The backend's Deployment, as it is now."""
        deployments = self.api.listed("apps/v1", "deployments", self._selector or "")
        for one in deployments:
            one["metadata"].setdefault("namespace", self._namespace)
        try:
            if not self._selector:
                return state.choose_backend(deployments, self._namespace, self._release)
            if not deployments:
                raise ReleaseMissing(
                    "Namespace %s has no Deployment with the labels %s." % (self._namespace, self._selector),
                    "Set label_selector to the labels of the backend's Deployment.",
                )
            return state.one_of(deployments, "label_selector %s" % self._selector)
        except ReleaseMissing:
            if not deployments and self.api.namespace_there() is False:
                raise NamespaceMissing(
                    "The cluster (%s) has no namespace %s." % (self.api.access.named, self._namespace),
                    "Set namespace to where Phase is, or kubernetes.context to the cluster that has it.",
                ) from None
            raise

    def pods(self, workload: Document) -> List[Document]:
        return self.api.listed("v1", "pods", state.selector_of(workload))

    def environment(self, container: Document) -> Dict[str, str]:
        """What of its environment is no secret."""
        maps = {}
        for name in state.config_maps(container):
            found = self.api.found("v1", "configmaps", name)
            maps[name] = (found or {}).get("data") or {}
        return state.environment(container, maps)

    def masked(self, text: str) -> str:
        """A text without the secrets that the backend's environment is known to have."""
        return self._mask(self.backend())(text)

    def _mask(self, backend: Document) -> Callable[[str], str]:
        return masker(secret_values(self._known(backend), read=lambda path: ""))

    def _known(self, backend: Document) -> Dict[str, str]:
        """What of its environment can be read here and is no secret."""
        try:
            return self.environment(state.container_of(backend))
        except Forbidden:
            return state.environment(state.container_of(backend), {})

    def siblings(self, backend: Document) -> Tuple[Dict[str, Document], List[Document]]:
        """The release's workloads by component, and their pods; without the chart the backend alone."""
        release = state.release_of(backend)
        if release is None:
            return {"backend": backend}, self.pods(backend)
        selector = "%s=%s" % (state.INSTANCE, release)
        workloads = [
            *self.api.listed("apps/v1", "deployments", selector),
            *self.api.listed("apps/v1", "statefulsets", selector),
        ]
        found = {"backend": backend}
        for one in workloads:
            found.setdefault(state.labels(one).get(state.COMPONENT, one["metadata"]["name"]), one)
        return found, self.api.listed("v1", "pods", selector)

    def describe(self) -> Dict[str, Any]:
        backend = self.backend()
        workloads, pods = self.siblings(backend)
        components = {name: state.component(one, pods) for name, one in sorted(workloads.items())}
        return dict(
            components["backend"],
            deployment=self.deployment,
            cluster=self.api.access.named,
            namespace=self._namespace,
            release=state.release_of(backend),
            managed_by=self._managers(backend),
            components=components,
            external_migration=external_migration(self.environment(state.container_of(backend))),
        )

    def _managers(self, backend: Document) -> List[Dict[str, Any]]:
        """With the Helm release's revision, where its Secrets may be listed. Of those only names and labels come."""
        found = state.managers(backend)
        for one in found:
            if one["manager"] == "helm" and one["name"]:
                selector = "owner=helm,status=deployed,name=%s" % one["name"]
                with contextlib.suppress(Forbidden):
                    one["revision"] = state.revision(self.api.listed("v1", "secrets", selector, METADATA_ONLY))
        return found

    def database_pod(self, backend: Document) -> Optional[Document]:
        """The ready pod that DATABASE_HOST leads to, when that is a Service with pods in this namespace."""
        host = self.environment(state.container_of(backend)).get("DATABASE_HOST", "")
        name, _dot, rest = host.partition(".")
        if not re.match(r"^[a-z]([a-z0-9-]*[a-z0-9])?$", name):
            return None  # an address, say
        if rest and rest.partition(".")[0] != self._namespace:
            return None
        service = self.api.found("v1", "services", name)
        selector = ((service or {}).get("spec") or {}).get("selector")
        if not selector:
            return None
        pods = self.api.listed("v1", "pods", state.selector_text({"matchLabels": selector}))
        return next((pod for pod in pods if state.ready(pod)), None)

    def database_image(self) -> Optional[str]:
        pod = self.database_pod(self.backend())
        return None if pod is None else str(pod["spec"]["containers"][0]["image"])

    def free_disk(self) -> Optional[int]:
        pod = self.database_pod(self.backend())
        if pod is None:
            return None
        said = bytearray()
        script = 'df -Pk "${PGDATA:-/var/lib/postgresql/data}"'
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]
        code, _stderr = self._program(name, container, ["sh", "-c", script], said.extend)
        words = said.decode("utf-8", "replace").splitlines()[-1:] if code == 0 else []
        fields = words[0].split() if words else []
        return int(fields[3]) * 1024 if len(fields) > 3 and fields[3].isdigit() else None

    # Running

    def _note(self, way: str, job: Optional[str], pod: str) -> None:
        """For the result: where this call has worked."""
        entry = {"by": way, "job": job, "pod": pod}
        if entry not in self.ran_in:
            self.ran_in.append(entry)

    def run(
        self,
        operation: Operation,
        request: Request,
        report: Report,
        *,
        image: Optional[str] = None,
        detached: bool = False,
        deliveries: Optional[Deliveries] = None,
    ) -> Result:
        backend = self.backend()
        timeouts, paused = self._limits.timeouts(), self._limits.paused()
        start = first_words(operation, request, timeouts, detached, paused, deliveries is not None)
        if image is None and not detached and not self._in_a_job(backend, deliveries is not None):
            with self._exec(backend) as channel:
                return self._converse(channel, start, report, backend, detached, deliveries)
        if deliveries is not None:
            raise NotSupported(
                "This needs a running pod of the backend's; a Job keeps its output in its log and hands nothing over.",
                "Scale the backend up first.",
            )
        self.api.require(JOBS)
        name = reference(operation)
        joined = self._earlier(backend, name, report)
        if joined is not None and detached:
            return self._follow(joined, backend, report)
        container = state.container_of(backend)
        with self._job(backend, image or container["image"], jobs.RUNNER, name, report, keep=detached) as (job, pod):
            judge = functools.partial(self._job_code, job, pod)
            with contextlib.closing(self._attached(pod, judge)) as channel:
                return self._converse(channel, start, report, backend, detached)

    def expect_long(self) -> None:
        self._long = True

    def _in_a_job(self, backend: Document, hands_over: bool) -> bool:
        """Whether what could be done in a pod of the backend's has a Job: what is long, where Jobs may be made."""
        if backend["spec"].get("replicas", 1) == 0:
            return True
        return self._long and not hands_over and not self.api.missing(JOBS)

    def _converse(
        self,
        channel: Channel,
        start: bytes,
        report: Report,
        backend: Document,
        detached: bool,
        deliveries: Optional[Deliveries] = None,
    ) -> Result:
        return converse(
            channel,
            start,
            report,
            idle=self._limits.idle,
            total=self._limits.total,
            mask=self._mask(backend),
            detached=detached,
            lost=self._lost,
            paused=self._limits.paused,
            deliveries=deliveries,
        )

    @contextlib.contextmanager
    def _exec(self, backend: Document) -> Iterator[Channel]:
        """Our Python beside the backend's own process."""
        pod = state.choose_pod(backend, self.pods(backend))
        name, container = pod["metadata"]["name"], state.container_of(backend)["name"]
        self._note("exec", None, name)
        with contextlib.closing(self._started(name, container, ["python3", "-c", STARTER])) as channel:
            yield channel

    def _started(self, pod: str, container: str, command: List[str]) -> ExecChannel:
        judge = functools.partial(self._exec_code, pod, container, command[0])
        try:
            return ExecChannel(open_stream(self.api, pod, "exec", container, command=command), judge)
        except Forbidden:
            self.api.require(EXECUTING)  # names all that is missing, not only the first
            raise

    def _exec_code(self, pod: str, container: str, program: str, status: Optional[Document]) -> Optional[int]:
        """The exit code out of the stream's last message. Raises for a stream that ended without one."""
        if status is None:
            raise self._lost_stream(pod, container)
        if status.get("status") == "Success":
            return 0
        for cause in (status.get("details") or {}).get("causes") or []:
            if cause.get("reason") == "ExitCode":
                code = int(cause["message"])
                if code in (126, 127) and program == "python3":
                    raise self._no_interpreter(pod, container, program)
                return code
        message = str(status.get("message", ""))
        if "executable file not found" in message or "no such file or directory" in message:
            raise self._no_interpreter(pod, container, program)
        raise StreamLost("The command in pod %s was not run to its end: %s" % (pod, message), "Run it again.")

    def _no_interpreter(self, pod: str, container: str, program: str) -> InterpreterMissing:
        return InterpreterMissing(
            "Container %s of pod %s has no %s on its PATH." % (container, pod, program),
            "Point release or label_selector at Phase's backend: its image brings Python and psycopg2.",
        )

    def _lost_stream(self, pod: str, container: str) -> StreamLost:
        """What became of the pod, as far as that can be seen, is why its stream broke off."""
        again = "Run it again. What ran there ends within 10 seconds of losing its caller."
        try:
            seen = self.api.found("v1", "pods", pod)
        except PhaseError as error:
            return StreamLost("The stream to pod %s broke off, and %s" % (pod, error.message), again)
        if seen is None or "deletionTimestamp" in seen["metadata"]:
            return StreamLost("Pod %s was deleted while it was used, by a rollout or an eviction." % pod, again)
        if (seen.get("status") or {}).get("reason"):
            how = "%(reason)s: %(message)s" % dict({"message": ""}, **seen["status"])
            return StreamLost("Pod %s was ended while it was used (%s)." % (pod, how.rstrip(": .")), again)
        last = (state.container_status(seen, container).get("lastState") or {}).get("terminated") or {}
        now = state.container_status(seen, container).get("state") or {}
        ended = now.get("terminated") or (last if not state.ready(seen) else {})
        if ended:
            how = "%s, exit code %s" % (ended.get("reason", "Error"), ended.get("exitCode"))
            return StreamLost("Container %s of pod %s ended while it was used (%s)." % (container, pod, how), again)
        return StreamLost("The stream to pod %s broke off; the pod itself runs on." % pod, again)

    # Jobs

    @contextlib.contextmanager
    def _job(
        self, backend: Document, image: str, command: List[str], purpose: str, report: Report, *, keep: bool
    ) -> Iterator[Tuple[str, str]]:
        """A Job beside the backend whose pod runs: the names of both. It is removed at the end.

        With ``keep`` it stays for the next call when this one ends without its result while the pod still runs.
        """
        job = jobs.job_name(backend["metadata"]["name"], purpose, secrets.token_hex(3))
        body = jobs.one_off(backend, state.container_of(backend), image, command, job, purpose)
        if command is jobs.HOLDER:
            body = jobs.program(body, self._known(backend))
        self.api.create("batch/v1", "jobs", body)
        ended = started = False
        try:
            pod = self._running(job, report)
            started = True
            self._note("job", job, pod)
            yield job, pod
            ended = True
        except RemoteError:
            ended = True
            raise
        finally:
            if ended or not (keep and started and self._goes_on(pod)):
                with contextlib.suppress(PhaseError):  # the cluster removes it after an hour
                    self.api.delete("batch/v1", "jobs", job)

    def _goes_on(self, pod: str) -> bool:
        """Whether its container runs; also where nobody can be asked, so that nothing is deleted unseen."""
        try:
            return self._alive(self.api, pod)
        except PhaseError:
            return True

    @staticmethod
    def _alive(api: Api, pod: str) -> bool:
        seen = api.found("v1", "pods", pod)
        return bool(seen and (state.container_status(seen, "operation").get("state") or {}).get("running"))

    def _running(self, job: str, report: Report) -> str:
        """Wait until the Job's pod runs: its name. Raises JobFailed as soon as it is known that it will not."""
        begun = heard = time.monotonic()
        told = ""
        while True:
            waited = time.monotonic() - begun
            try:
                pods = self.api.listed("v1", "pods", "job-name=" + job)
            except ApiUnreachable:
                if time.monotonic() - heard > AWAY:
                    raise
                time.sleep(AGAIN)
                continue
            heard = time.monotonic()
            pod = pods[0] if pods else None
            if pod and (state.container_status(pod, "operation").get("state") or {}).get("running"):
                return str(pod["metadata"]["name"])
            found = state.trouble(pod) if pod else self._no_pod(job, waited)
            if found and "executable file not found" in found.sentence:
                image = str(pod["spec"]["containers"][0]["image"]) if pod else "of the Job"
                raise InterpreterMissing(
                    "Image %s lacks a program. %s" % (image, found.sentence),
                    "Name an image of Phase's backend; for phase_backup, one with a shell and PostgreSQL's tools.",
                )
            if found and (found.lasting or waited > PLACING):
                raise JobFailed(
                    "Job %s does not start. %s" % (job, found.sentence),
                    found.next_step,
                    partial={"failed_job": self._facts(job, pod, found.reason)},
                )
            if waited > STARTING:
                raise JobFailed(
                    "Job %s has not started within %g s." % (job, STARTING),
                    "See its events, then run again.",
                    partial={"failed_job": self._facts(job, pod, "Pending")},
                )
            if found and found.sentence != told:
                told = found.sentence
                report(told)
            time.sleep(POLL)

    def _no_pod(self, job: str, waited: float) -> Optional[state.Trouble]:
        """Why the Job has no pod: a quota or an admission refuses it, which only its events tell."""
        refusals = [one for one in self._events(job) if one["reason"] == "FailedCreate"] if waited > 1 else []
        if not refusals:
            return None
        message = refusals[-1]["message"]
        if "exceeded quota" in message:
            step = "Raise the ResourceQuota of the namespace, or free some of it, then run again."
        elif "violates PodSecurity" in message:
            step = "The pod is made like the backend's: have that one pass the namespace's Pod Security level as well."
        else:
            step = "Mend what it says, then run again."
        return state.Trouble("FailedCreate", "The cluster refuses its pod: %s." % message.rstrip("."), step, True)

    def _events(self, job: str) -> List[Dict[str, str]]:
        """Reason and message of the events of a Job and its pods, the oldest first."""
        found = []
        for one in self.api.listed("v1", "events"):
            name = str((one.get("involvedObject") or {}).get("name", ""))
            if name == job or name.startswith(job + "-"):
                stamp = one.get("lastTimestamp") or one.get("eventTime") or one["metadata"].get("creationTimestamp")
                found.append((str(stamp), {"reason": str(one.get("reason")), "message": str(one.get("message"))}))
        return [event for _stamp, event in sorted(found, key=lambda pair: pair[0])]

    def _facts(self, job: str, pod: Optional[Document], reason: str) -> Dict[str, Any]:
        """What is known of a Job that failed."""
        ended: Document = {}
        log = ""
        if pod is not None:
            ended = (state.container_status(pod, "operation").get("state") or {}).get("terminated") or {}
            with contextlib.suppress(PhaseError):
                tail = b"".join(self.api.log(pod["metadata"]["name"], "operation", [("tailLines", LOG_LINES)]))
                log = tail.decode("utf-8", "replace")
        happened: List[Dict[str, str]] = []
        with contextlib.suppress(PhaseError):
            happened = self._events(job)[-10:]
        lines = [line for line in log.splitlines() if not line.startswith("{")]
        try:
            text = self._mask(self.backend())("\n".join(lines))
        except PhaseError:
            text = ""  # what is secret in it cannot be known
        return {
            "name": job,
            "reason": str(ended.get("reason") or reason),
            "exit_code": ended.get("exitCode"),
            "events": happened,
            "log": text.splitlines(),
        }

    def _attached(self, pod: str, judge: Callable[[], Optional[int]], stdin: bool = True) -> JobChannel:
        stream = open_stream(self.api, pod, "attach", "operation", output=False) if stdin else None
        own = self._connect()  # the reading thread asks for itself
        return JobChannel(own, pod, "operation", functools.partial(self._alive, own, pod), judge, stream)

    def _job_code(self, job: str, pod: str) -> Optional[int]:
        """The exit code of a Job's container that ended without a result: always an error that says why."""
        deadline = time.monotonic() + ENDED
        while True:
            seen = self.api.found("v1", "pods", pod)
            ended = (state.container_status(seen or {}, "operation").get("state") or {}).get("terminated") or {}
            if seen is None or ended or time.monotonic() > deadline:
                break
            time.sleep(POLL)
        if seen is None or ("deletionTimestamp" in seen["metadata"] and not ended):
            raise JobFailed(
                "The pod of Job %s was deleted before it had a result, by an eviction, a drain or somebody." % job,
                "Run it again: it goes on from what is in the database.",
                partial={"failed_job": self._facts(job, None, "Deleted")},
            )
        facts = self._facts(job, seen, str((seen.get("status") or {}).get("reason") or "Unknown"))
        last = [line for line in facts["log"] if line.strip()][-1:]
        raise JobFailed(
            "Job %s ended without a result (%s, exit code %s)%s"
            % (job, facts["reason"], facts["exit_code"], ": " + last[0] if last else "."),
            "Run it again.",
            partial={"failed_job": facts},
        )

    # Runs that outlived their caller

    def _earlier(self, backend: Document, name: str, report: Report) -> Optional[Tuple[str, str]]:
        """Job and pod of a run that goes on without its caller. Those that ended are told of and removed, and of other
        operations those that nobody has attached to.
        """
        for job in self.api.listed("batch/v1", "jobs", jobs.selector(backend["metadata"]["name"])):
            called = str(job["metadata"]["name"])
            same = job["metadata"]["labels"][jobs.OPERATION_LABEL] == jobs.label(name)
            pods = self.api.listed("v1", "pods", "job-name=" + called)
            running = [
                one for one in pods if (state.container_status(one, "operation").get("state") or {}).get("running")
            ]
            if running:
                pod = str(running[0]["metadata"]["name"])
                if same and "caller_lost" in self._said(pod):
                    return called, pod
                continue  # another call's, alive: the database lock decides
            if not _over(job):
                continue
            said = [kind for one in pods for kind in self._said(str(one["metadata"]["name"]))][-1:]
            if same or not said:
                how = said[0] if said and said[0] in ("result", "error") else "nothing, it was killed"
                report("An earlier run ended with: %s. Its Job %s is removed." % (how, called))
                self.api.delete("batch/v1", "jobs", called)
        return None

    def _said(self, pod: str) -> List[str]:
        """The kinds of events in a pod's log; nothing where it has none yet."""
        try:
            return [event["event"] for event in events(b"".join(self.api.log(pod, "operation")))]
        except ApiRefused:
            return []

    def _follow(self, joined: Tuple[str, str], backend: Document, report: Report) -> Result:
        job, pod = joined
        report("Joining Job %s, which goes on since an earlier call was cut off." % job)
        judge = functools.partial(self._job_code, job, pod)
        self._note("job", job, pod)
        ended = False
        try:
            with contextlib.closing(self._attached(pod, judge, stdin=False)) as channel:
                result = self._converse(channel, b"", report, backend, True)
            ended = True
        except RemoteError:
            ended = True
            raise
        finally:
            if ended or not self._goes_on(pod):
                self.api.delete("batch/v1", "jobs", job)
        return dict(result, joined=True)

    # Other programs

    def _program(
        self, pod: str, container: str, argv: List[str], sink: Sink, stdin: Optional[Iterable[bytes]] = None
    ) -> Tuple[int, str]:
        """Run a program in a container: exit code and the end of its standard error."""
        with contextlib.closing(self._started(pod, container, argv)) as channel:
            stderr = pump(channel, sink, iter(stdin or ()))
            code = channel.exit_code()
        return (-1 if code is None else code), stderr

    def _holder(self, backend: Document, image: str) -> str:
        """A pod of this image with the backend's settings of the database, for the programs of this call; made once."""
        if image not in self._holders:
            self.api.require(JOBS + EXECUTING)
            self._tidy(backend)
            stack = contextlib.ExitStack()
            try:
                silent: Report = lambda message, **counters: None  # noqa: E731
                _job, pod = stack.enter_context(
                    self._job(backend, image, jobs.HOLDER, "pipe", silent, keep=False),
                )
                stream = open_stream(self.api, pod, "attach", "operation", output=False)
                stack.callback(stream.close)
                stream.send(b"here\n")
            except BaseException:
                stack.close()
                raise
            self._holders[image] = stack, pod
        return self._holders[image][1]

    def _tidy(self, backend: Document) -> None:
        """Remove Jobs whose caller was killed. A living one removes its own within a moment."""
        for job in self.api.listed("batch/v1", "jobs", jobs.selector(backend["metadata"]["name"], "pipe")):
            if _over(job):
                self.api.delete("batch/v1", "jobs", str(job["metadata"]["name"]))

    def pipe(
        self, argv: List[str], sink: Sink, *, image: Optional[str] = None, stdin: Optional[Iterable[bytes]] = None
    ) -> Tuple[int, str]:
        backend = self.backend()
        chosen = image or self.database_image()
        if not chosen:
            raise ImageMissing(
                "The database runs outside this namespace, so no image with PostgreSQL's tools is known.",
                "Set image to one of the server's major version, such as postgres:17.",
            )
        pod = self._holder(backend, chosen)
        code, stderr = self._program(pod, "operation", argv, sink, stdin)
        return code, self._mask(backend)(stderr)

    def close(self) -> None:
        holders, self._holders = list(self._holders.values()), {}
        for stack, _pod in holders:
            stack.close()
        if "api" in self.__dict__:
            self.api.close()


def _over(job: Document) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)

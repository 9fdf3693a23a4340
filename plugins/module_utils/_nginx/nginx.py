# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One configuration file of Phase's nginx: tested, tried out with forged headers, written, reloaded, or put back.

What was there is kept in a journal beside the file until the new configuration serves, so a run that was cut off at any
point is undone by the next one.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import BadOption, PhaseError
from .._operations.realip import spoof, spoof_live
from .._operations.realip.forgeries import edges_of
from .._target.base import Report, Target
from . import conf
from .file import only_one, read, read_journal, remove_journal, write_in_place, write_journal
from .host import Look, NginxFailed, NginxHost, build

COMES_BACK = 10.0  # seconds for a container that restarts by itself
POLL = 0.1  # seconds between two looks at the workers
SLACK = 2.0  # seconds by which the clocks of a file and of a process may differ
CONFIRMATIONS = 60  # lies to the nginx that serves; each is a question to Phase
TRIES = 3  # with other ports
PORTS = range(20000, 32000)  # below those that Linux gives to outgoing connections


HOPS = {
    "ranges": {"type": "list", "elements": "str", "required": True},
    "header": {"type": "str", "default": "X-Forwarded-For"},
    "source": {"type": "str"},
    "entry": {"type": "int"},
}
SPEC = ArgumentSpec(
    {
        "content": {"type": "str"},
        "src": {"type": "path"},
        "path": {"type": "str", "default": "/etc/nginx/conf.d/default.conf"},
        "nginx_container": {"type": "str"},
        "nginx_service": {"type": "str", "default": "nginx"},
        "nginx": {"type": "path", "default": "nginx"},
        "probe": {"type": "str", "choices": ["full", "trial", "none"], "default": "full"},
        "attempts": {"type": "int", "default": 200},
        "hops": {"type": "list", "elements": "dict", "options": HOPS},
        "restart": {"type": "bool", "default": False},
        "recover_only": {"type": "bool", "default": False},
        "reload_timeout": {"type": "float", "default": 30},
    },
    mutually_exclusive=[("content", "src"), ("content", "recover_only"), ("src", "recover_only")],
    deployments=("docker", "compose", "local"),
    instead="It works on an nginx in a container or on this host.",
)


class NginxRefused(PhaseError):
    """``nginx -t`` failed on the candidate."""

    kind = "nginx_refused"


class Spoofable(PhaseError):
    """A forged address was believed, or a true one was not."""

    kind = "spoofable"


class StaleMount(PhaseError):
    """The container has another file than the one that its mount names now."""

    kind = "stale_mount"


class NotReloaded(PhaseError):
    """nginx did not take the configuration in time."""

    kind = "not_reloaded"


@dataclass(frozen=True)
class Wanted:
    content: bytes
    probe: str = "full"
    attempts: int = 200
    hops: Tuple[Mapping[str, Any], ...] = ()
    restart: bool = False
    timeout: float = 30.0


class Configurator:
    def __init__(
        self,
        host: NginxHost,
        target: Target,
        wanted: Wanted,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._host, self._target, self._wanted, self._report = host, target, wanted, report
        self._clock, self._sleep = clock, sleep
        self._file = host.file()

    def run(self, check: bool) -> Dict[str, Any]:
        if check:
            return self._work(check, read_journal(self._file))
        with only_one(self._file):
            before = read_journal(self._file)
            if before is not None:
                self._recover(before)
            return self._work(check, before)

    def only_recover(self, check: bool) -> Dict[str, Any]:
        """Undo a run that was cut off, if there is one; nothing else."""
        with contextlib.nullcontext() if check else only_one(self._file):
            before = read_journal(self._file)
            if before is not None and not check:
                self._recover(before)
        done = dict.fromkeys(("changed", "recovered", "reload"), before is not None)
        return {**done, "path": self._host.path, "file": self._file, "nginx_version": self._host.version()}

    def _recover(self, before: bytes) -> None:
        """Undo a run that was cut off: it may have got as far as half a file."""
        self._report("An earlier run was cut off; putting back what nginx had before it.")
        self._bring_back(before)
        remove_journal(self._file)

    def _bring_back(self, before: bytes, dump: str = "", restart: bool = False) -> None:
        """Have nginx serve with what it had; its container is restarted where it does not come back by itself."""
        write_in_place(self._file, before)
        look = None if restart else self._await_serving(dump)
        self._serve(before, look, dump)

    def _await_serving(self, dump: str = "") -> Optional[Look]:
        """nginx once it serves; None if it does not come back by itself. Half a file had it restart again and again."""
        deadline = self._clock() + COMES_BACK
        while True:
            look = self._serving(dump)
            if look is not None or self._clock() > deadline:
                return look
            self._sleep(0.5)

    def _serving(self, dump: str = "") -> Optional[Look]:
        """A look at nginx if it has workers. One that restarts again and again seems to run for moments."""
        try:
            self._host.ensure_running()
            look = self._host.look()
            master = self._host.master(look, self._pid_path(dump, look))
        except PhaseError:
            return None
        return look if master is not None and look.workers(master) else None

    def _work(self, check: bool, recovered: Optional[bytes]) -> Dict[str, Any]:
        wanted, host = self._wanted.content, self._host
        if check and recovered is not None and self._serving() is None:
            return {"changed": True, "reload": True, "recovered": True, "path": host.path, "file": self._file}
        host.ensure_running()
        look = host.look()
        if look.content is None:
            raise BadOption("nginx has no file %s." % host.path, "Set path to one that it includes.")
        before = recovered if check and recovered is not None else look.content
        on_host = read(self._file)
        stale_mount = on_host != look.content
        if stale_mount and not (check and recovered is not None) and not self._wanted.restart:
            raise StaleMount(
                "%s was replaced by another file, and nginx's container still has the old one as %s."
                % (self._file, host.path),
                "Restart that container (or set restart=true); write the file in place from then on.",
            )
        good, said, dump = host.test(wanted, look.main)
        result: Dict[str, Any] = {
            "path": host.path,
            "file": self._file,
            "nginx_test": {"ok": good, "output": said.splitlines()},
            "recovered": recovered is not None,
            "probe": None,
            "diff": {
                "before_header": host.path,
                "after_header": host.path,
                "before": before.decode("utf-8", "replace"),
                "after": wanted.decode("utf-8", "replace"),
            },
        }
        if not good:
            raise NginxRefused(
                "nginx does not take the new configuration: %s." % complaint(said),
                "Nothing was changed. All that it said is in nginx_test.",
                partial={"nginx_test": result["nginx_test"]},
            )
        same = before == wanted and not stale_mount
        behind = same and self._behind(look, dump)
        result["reload"] = behind or not same
        result["changed"] = result["reload"] or recovered is not None
        if check or not result["reload"]:
            return result
        if behind:
            self._report("nginx was not reloaded since %s was written." % host.path)
        endpoints: List[Dict[str, Any]] = []
        if self._wanted.probe != "none":
            result["probe"], endpoints = self._try_out(dump, look)
        self._change(look, dump, stale_mount, endpoints, result)
        return result

    def _behind(self, look: Look, dump: str) -> bool:
        """Whether the file is younger than every worker that serves, which then have read an earlier one."""
        master = self._host.master(look, self._pid_path(dump, look))
        workers = look.workers(master) if master is not None else []
        age = max((look.uptime - worker.started for worker in workers), default=0.0)
        return bool(workers) and look.changed_ago + SLACK < age

    def _pid_path(self, dump: str, look: Look) -> Optional[str]:
        try:
            found = conf.last(conf.parse(conf.files_of(dump)[look.main]), "pid")
        except (PhaseError, KeyError):
            return None
        return found[0] if found else None

    # Trying out

    def _try_out(self, dump: str, look: Look) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
        """Lie to two more instances of nginx that have the candidate. Raises Spoofable before anything was changed."""
        tree = conf.whole(conf.files_of(dump), look.main)
        own, nginx = self._host.prober(), self._host.addresses()
        if not own or not nginx:
            raise spoof.ProbeFailed(
                "nginx and the backend share no network.", "Put them on one, or set probe=none to do without."
            )
        ranges = conf.trusted(tree) + [one for hop in self._wanted.hops for one in hop["ranges"]]
        for attempt in range(TRIES):
            numbers = iter(random.sample(PORTS, 2 * len(conf.live_ports(tree)) + 1))
            echo = next(numbers)
            # Where the proxied requests go: the prober's first address, which is IPv4 wherever there is one.
            place = "%s:%d" % ("[%s]" % own[0] if ":" in own[0] else own[0], echo)
            trials = []
            for mode in ("stranger", "insider"):
                ports = {port: next(numbers) for port in sorted(conf.live_ports(tree))}
                trials.append(conf.trial(tree, mode, own, ports, place))
            stranger, insider = trials
            if not stranger.endpoints:
                raise spoof.ProbeFailed(
                    "No server of this configuration passes requests on to Phase.", "Set probe=none to do without."
                )
            try:
                with self._host.trying(stranger.text, insider.text, look.main, 120 + self._wanted.attempts // 10):
                    found = self._target.run(
                        spoof.probe,
                        {
                            "echo": [own[0], echo],
                            "nginx": nginx,
                            "stranger": stranger.endpoints,
                            "insider": insider.endpoints,
                            "edges": edges_of(ranges),
                            "hops": [dict(hop) for hop in self._wanted.hops],
                            "attempts": self._wanted.attempts,
                        },
                        self._report,
                    )
                break
            except NginxFailed as error:
                if attempt == TRIES - 1 or "bind()" not in error.message:
                    raise
        found["unprobed"] = stranger.unprobed
        if found["findings"]:
            raise Spoofable(
                sentence(found), "Nothing was changed. All findings are in probe.", partial={"probe": found}
            )
        return dict(found), stranger.endpoints

    # Changing

    def _change(
        self, look: Look, dump: str, restart: bool, endpoints: List[Dict[str, Any]], result: Dict[str, Any]
    ) -> None:
        """Write, reload, confirm; on any failure or interruption the old file goes back, and nginx with it."""
        before = look.content or b""
        write_journal(self._file, before)
        try:
            write_in_place(self._file, self._wanted.content)
            self._serve(self._wanted.content, None if restart else look, dump)
            if self._wanted.probe == "full":
                self._confirm(endpoints, result)
        except BaseException as error:
            self._report("It failed; putting back what nginx had before.")
            try:
                self._bring_back(before, dump, restart)
            except PhaseError as second:
                raise (not_put_back(error, second) if isinstance(error, PhaseError) else error) from second
            remove_journal(self._file)
            if isinstance(error, PhaseError):
                raise put_back(error) from error
            raise
        remove_journal(self._file)

    def _confirm(self, endpoints: List[Dict[str, Any]], result: Dict[str, Any]) -> None:
        """Lie to the nginx that serves now, and ask Phase itself whom it sees. Raises Spoofable."""
        request = {
            "nginx": self._host.addresses(),
            "endpoints": [dict(endpoint, port=endpoint["live_port"]) for endpoint in endpoints],
            "edges": edges_of([one for hop in self._wanted.hops for one in hop["ranges"]]),
            "attempts": min(self._wanted.attempts, CONFIRMATIONS),
        }
        found = self._target.run(spoof_live.confirm, request, self._report)
        result["probe"]["live"] = found
        if found["findings"]:
            wrong = {"stranger": found, "insider": spoof.Finding().as_dict(), "findings": found["findings"]}
            raise Spoofable(sentence(wrong), "All findings are in probe.", partial={"probe": result["probe"]})

    def _serve(self, content: bytes, look: Optional[Look], dump: str = "") -> None:
        """Have nginx take the file, and see that it did: the file inside, then new workers in the old ones' place.

        ``look`` is nginx as it serves now; without one its container is restarted.
        """
        old: Set[int] = set()
        if look is None:
            self._host.restart()
            if self._await_serving(dump) is None:
                raise NotReloaded("nginx does not serve after a restart.", "Its log says why.")
        else:
            master = self._host.master(look, self._pid_path(dump, look))
            old = {worker.pid for worker in look.workers(master)} if master is not None else old
        if self._host.look().content != content:
            if look is not None and self._wanted.restart:
                # The mount's file was replaced by one with the same content, which nothing told so far.
                self._serve(content, None, dump)
                return
            raise StaleMount(
                "What was written to %s is not what nginx has as %s." % (self._file, self._host.path),
                "Restart nginx's container, or set restart=true.",
            )
        if look is not None:
            self._host.signal_reload()
        self._await_workers(old, look is None, dump)

    def _await_workers(self, old: Set[int], restart: bool, dump: str) -> None:
        """Workers that were not there before serve, and none that was. A reload that nginx refused leaves the old."""
        deadline = self._clock() + self._wanted.timeout
        while True:
            look = self._host.look()
            master = self._host.master(look, self._pid_path(dump, look))
            now = {worker.pid for worker in look.workers(master)} if master is not None else set()
            if now and (restart or not now & old):
                return
            if self._clock() > deadline:
                raise NotReloaded(
                    "nginx did not take the new configuration within %g s." % self._wanted.timeout,
                    "Its error log says why.",
                )
            self._sleep(POLL)


def complaint(said: str) -> str:
    """nginx's own reason among the lines of ``nginx -t``."""
    lines = re.findall(r"\[(?:emerg|crit|alert)\] (?:\d+#\d+: )?(.*)", said)
    return str((lines or said.splitlines() or ["it gives no reason"])[0]).rstrip(".")


def sentence(found: Mapping[str, Any]) -> str:
    """The first finding in words."""
    first = found["findings"][0]
    wrong = found["stranger"]["wrong"] + found["insider"]["wrong"]
    asked = found["stranger"]["attempts"] + found["insider"]["attempts"]
    return (
        "%d of %d requests reached Phase with a wrong address; first, as a %s at port %d, %s: %s was believed, not %s."
        % (
            wrong,
            asked,
            "stranger" if first["source"] == "stranger" else "trusted proxy",
            first["port"],
            first["attempt"],
            first["believed"],
            first["truth"],
        )
    )


def put_back(error: PhaseError) -> PhaseError:
    """The same error, which tells that the old configuration serves again."""
    error.message = error.message.rstrip(".") + ". The old configuration serves again."
    error.partial = dict(error.partial, rolled_back=True)
    return error


def not_put_back(error: PhaseError, second: PhaseError) -> PhaseError:
    """The first error, and that nginx did not take the old configuration either."""
    error.message = "%s. nginx may not run the old configuration yet either: %s" % (
        error.message.rstrip("."),
        second.message,
    )
    error.next_step = "See nginx's log, then run it again: it starts by putting the old configuration back."
    error.partial = dict(error.partial, rolled_back=False)
    return error


def wanted_from(params: Mapping[str, Any]) -> Wanted:
    given = params["content"]
    content = read(os.path.expanduser(params["src"])) if given is None else given.encode()
    if not content.strip():
        raise BadOption("The new configuration is empty.", "Give content or src.")
    if params["attempts"] < 1:
        raise BadOption("attempts is %d." % params["attempts"], "Set it to 1 or more, or set probe=none.")
    hops: List[Mapping[str, Any]] = list(params["hops"] or [])
    if not all(edges_of(hop["ranges"]) for hop in hops):
        raise BadOption("A proxy in hops has no ranges.", "Name the addresses or ranges that it connects from.")
    return Wanted(
        content, params["probe"], params["attempts"], tuple(hops), params["restart"], params["reload_timeout"]
    )


def remarks(probe: Mapping[str, Any]) -> List[str]:
    """What is no failure and yet has to be known."""
    said = []
    if probe["stranger"]["passed_on"]:
        said.append("Forged entries of X-Forwarded-For reach Phase, which before v2.54.2 believes them.")
    if (probe.get("live") or {}).get("skipped"):
        said.append("Phase itself was not asked whom it sees: %s." % probe["live"]["skipped"])
    left = [*probe.get("unprobed", ()), *("port %d" % port for port in probe.get("unreached", ()))]
    if left:
        said.append("No forged request was sent to: %s." % ", ".join(left))
    return said


def configure(
    target: Target, params: Mapping[str, Any], check: bool, report: Report, warn: Callable[[str], None]
) -> Dict[str, Any]:
    """Give nginx the configuration: the module's result."""
    if params["recover_only"]:
        without = Wanted(b"", restart=params["restart"], timeout=params["reload_timeout"])
        return Configurator(build(target, params), target, without, report).only_recover(check)
    if params["content"] is None and params["src"] is None:
        raise BadOption("There is no new configuration.", "Give content or src.")
    wanted = wanted_from(params)
    result = Configurator(build(target, params), target, wanted, report).run(check)
    for text in remarks(result.get("probe") or {"stranger": {"passed_on": 0}}):
        warn(text)
    return result


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    return configure(call.target, call.params, call.check, call.report, call.warn)

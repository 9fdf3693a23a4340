# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Somebody who needs secrets all the while: reads one several times a second and notes when that failed, and how.

    with Client(instance.url) as client:
        ...                       # upgrade it
    client.report().windows       # [Window(begin, end, failures, error)]

Or `python -m sandbox.client http://127.0.0.1:8000 --rate 10 --seconds 60`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sandbox.phase.api.names import digest, identifier, token


@dataclass(frozen=True)
class Read:
    """One attempt. Times are Unix seconds; `error` is empty where the secret came."""

    begin: float
    end: float
    error: str = ""


@dataclass(frozen=True)
class Window:
    """Reads failed from `begin` until the next that worked began (`end`; None: none did). `error` is of the first."""

    begin: float
    end: float | None
    failures: int
    error: str


@dataclass(frozen=True)
class Report:
    reads: int
    failures: int
    windows: tuple[Window, ...]
    slowest: float

    @property
    def failing_seconds(self) -> float:
        """All windows together; one without an end counts for as long as its failures were seen."""
        return sum((window.end or window.begin) - window.begin for window in self.windows)


def summarise(reads: Sequence[Read]) -> Report:
    """Put neighbouring failures together."""
    windows: list[Window] = []
    open_since: list[Read] = []
    for read in reads:
        if read.error:
            open_since.append(read)
        elif open_since:
            windows.append(Window(open_since[0].begin, read.begin, len(open_since), open_since[0].error))
            open_since = []
    if open_since:
        windows.append(Window(open_since[0].begin, None, len(open_since), open_since[0].error))
    failures = sum(1 for read in reads if read.error)
    return Report(len(reads), failures, tuple(windows), max((read.end - read.begin for read in reads), default=0.0))


def secret_url(base: str, seed: int = 1) -> str:
    """Where one seeded secret of SpaceX's app Launch is read."""
    wanted = {"app": identifier(seed, "app", "SpaceX/Launch"), "env": "Production", "key_digest": digest(1)}
    return f"{base.rstrip('/')}/secrets/?{urllib.parse.urlencode(wanted)}"


def service_account(seed: int = 1) -> str:
    """The Authorization header of SpaceX's seeded service account."""
    return f"Bearer ServiceAccount {token(seed, 'ServiceAccount', 'SpaceX')}"


def fetch(url: str, headers: Mapping[str, str], timeout: float) -> str:
    """Read once. Returns what went wrong, empty where a secret came."""
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - the sandbox's own address
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return "" if json.load(answer) else "no secret in the answer"
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


class Client:
    """Reads `rate` times a second from `start` to `stop`, one after the other, none longer than `timeout` seconds."""

    def __init__(
        self,
        base: str,
        *,
        rate: float = 10.0,
        timeout: float = 2.0,
        headers: Mapping[str, str] | None = None,
        seed: int = 1,
        watch: Callable[[Read], None] = lambda read: None,
    ) -> None:
        """`headers` come on top of the seeded service account's token; `watch` is told of each read."""
        self.url = secret_url(base, seed)
        self.headers = {"Authorization": service_account(seed), **(headers or {})}
        self.interval, self.timeout, self.watch = 1 / rate, timeout, watch
        self.reads: list[Read] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="secrets reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Report:
        """Stop reading and tell how it went."""
        self._stop.set()
        self._thread.join()
        return self.report()

    def report(self) -> Report:
        return summarise(tuple(self.reads))

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self.reads.append(self.read())
            self.watch(self.reads[-1])
            due = max(due + self.interval, time.monotonic())
            self._stop.wait(due - time.monotonic())

    def read(self) -> Read:
        """Read once."""
        begin = time.time()
        error = fetch(self.url, self.headers, self.timeout)
        return Read(begin, time.time(), error)


def main(argv: Sequence[str] | None = None) -> int:
    """Read until SIGINT, SIGTERM or the time is up; print each change and a report. Exit 1 when a read failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the web process, or what stands before it")
    parser.add_argument("--rate", type=float, default=10.0, help="reads a second")
    parser.add_argument("--seconds", type=float, help="how long; else until interrupted")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the instance's rows")
    arguments = parser.parse_args(argv)
    last = [""]

    def tell(read: Read) -> None:
        if read.error != last[0]:
            print(f"{time.strftime('%H:%M:%S', time.gmtime(read.begin))} {read.error or 'reads work'}", file=sys.stderr)
            last[0] = read.error

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_signal: over.set())
    client = Client(arguments.url, rate=arguments.rate, seed=arguments.seed, watch=tell)
    client.start()
    over.wait(arguments.seconds)
    report = client.stop()
    print(json.dumps(asdict(report)))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())

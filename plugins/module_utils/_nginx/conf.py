# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""nginx configuration as data: reading it, and making of it one to try out beside the one that serves.

A trial is the same configuration on other ports, with everything it would pass to Phase going to one echo listener. In
the trial of a *stranger* the prober is nobody; in that of an *insider* it is one more trusted proxy.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from .._errors import PhaseError
from .._operations.access.rule import PRIVATE

# A word may hold ${name} and quoted parts; a comment starts where a word could (nginx 1.26, ngx_conf_read_token).
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|([;{}])|("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|\$\{\w*\}|[^\s;{}\\])+)""", re.DOTALL
)
_FILE = re.compile(r"^# configuration file (/.*):$", re.M)

# What a trial must not share with the nginx that serves, what would keep the prober from its answer, and what answers
# with something else than Phase: a trial asks for no passwords, so it has nothing of the host's other sites.
_NOT_TRIED = {
    *("access_log", "error_log", "pid", "lock_file", "daemon", "master_process", "worker_processes"),
    *("worker_cpu_affinity", "stream", "mail", "limit_req", "limit_conn", "auth_basic", "auth_request"),
    *("ssl_verify_client", "quic_retry", "http3", "thread_pool", "worker_rlimit_nofile"),
    *("proxy_cache", "proxy_cache_path", "proxy_store", "root", "alias", "dav_methods"),
    *("fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass"),
}


class NotReadable(PhaseError):
    """A configuration this module cannot take apart, such as one with Lua in it."""

    kind = "nginx_not_readable"


@dataclass
class Directive:
    """``name args;`` or ``name args { block }``; ``raw`` has the words as they stand, quotes included."""

    raw: List[str]
    block: Optional[List["Directive"]] = None

    @property
    def name(self) -> str:
        return unquoted(self.raw[0])

    @property
    def args(self) -> List[str]:
        return self.raw[1:]

    def words(self) -> List[str]:
        return [unquoted(word) for word in self.args]


Block = List[Directive]


def unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    return word


def tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.end() == position:
            line = text.count("\n", 0, position) + 1
            raise NotReadable("The nginx configuration cannot be read: line %d of a file." % line)
        position = match.end()
        if match.group(1) or match.group(2):
            yield match.group(1) or match.group(2)


def parse(text: str) -> Block:
    """The directives of a configuration text. Raises NotReadable."""
    stack: List[Block] = [[]]
    words: List[str] = []
    for part in tokens(text):
        if part == "}":
            if words or len(stack) == 1:
                raise NotReadable("The nginx configuration has a } out of place.")
            stack.pop()
        elif part in (";", "{"):
            if not words:
                raise NotReadable("The nginx configuration has a %s out of place." % part)
            directive = Directive(words, [] if part == "{" else None)
            stack[-1].append(directive)
            if directive.block is not None:
                stack.append(directive.block)
            words = []
        else:
            words.append(part)
    if words or len(stack) > 1:
        raise NotReadable("The nginx configuration ends too early.")
    return stack[0]


def text_of(block: Block, depth: int = 0) -> str:
    lines = []
    for directive in block:
        head = "  " * depth + " ".join(directive.raw)
        if directive.block is None:
            lines.append(head + ";\n")
        else:
            lines.append("%s {\n%s%s}\n" % (head, text_of(directive.block, depth + 1), "  " * depth))
    return "".join(lines)


def files_of(dump: str) -> Dict[str, str]:
    """Path to text of what ``nginx -T`` printed."""
    parts = _FILE.split(dump)
    return dict(zip(parts[1::2], parts[2::2]))


def _matches(pattern: str, path: str) -> bool:
    glob = "".join("[^/]*" if c == "*" else "[^/]" if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch(glob, path) is not None


def whole(files: Mapping[str, str], main: str) -> Block:
    """The configuration that starts in ``main``, its includes put in their places."""

    def expand(block: Block) -> Block:
        found: Block = []
        for directive in block:
            if directive.name == "include" and directive.block is None and directive.args:
                pattern = posixpath.join(posixpath.dirname(main), directive.words()[0])
                for path in sorted(path for path in files if _matches(pattern, path)):
                    found += expand(parse(files[path]))
            elif directive.block is not None:
                found.append(Directive(directive.raw, expand(directive.block)))
            else:
                found.append(directive)
        return found

    return expand(parse(files[main]))


def walk(block: Block) -> Iterator[Directive]:
    for directive in block:
        yield directive
        yield from walk(directive.block or [])


def last(block: Block, name: str) -> Optional[List[str]]:
    """The arguments of the directive that counts among those of this name in the block itself."""
    found = [directive.words() for directive in block if directive.name == name]
    return found[-1] if found else None


def networks(words: Iterable[str]) -> List[Any]:
    """Those words that are addresses or ranges; names and ``unix:`` are left out."""
    found = []
    for word in words:
        try:
            found.append(ipaddress.ip_network(word, strict=False))
        except ValueError:
            continue
    return found


def within(one: Any, ranges: Iterable[Any]) -> bool:
    return any(one.version == range_.version and one.subnet_of(range_) for range_ in ranges)


def trusted(block: Block) -> List[str]:
    """Everything that any ``set_real_ip_from`` of the configuration names, in its order."""
    return list(dict.fromkeys(d.words()[0] for d in walk(block) if d.name == "set_real_ip_from" and d.args))


@dataclass(frozen=True)
class Listen:
    port: int
    address: str  # "", an IPv4 address, or an IPv6 address in brackets
    tls: bool
    proxy_protocol: bool
    params: Tuple[str, ...]


def listen_of(words: Sequence[str], tls: bool = False) -> Optional[Listen]:
    """A TCP ``listen``; None for a Unix socket and for QUIC."""
    if words[0].startswith("unix:") or "quic" in words:
        return None
    match = re.fullmatch(r"(?:(\[[^\]]*\]|[^:\[\]]*):)?(\d+)|(\[[^\]]*\]|[^:\[\]]+)", words[0])
    if match is None:
        raise NotReadable("nginx is told to listen on %s, which is no address." % words[0])
    address = match.group(1) or match.group(3) or ""
    params = tuple(words[1:])
    return Listen(
        int(match.group(2) or 80),
        "" if address == "*" else address,
        tls or "ssl" in params,
        "proxy_protocol" in params,
        params,
    )


@dataclass
class Trial:
    """A configuration to try out, and where the prober finds what in it.

    An endpoint: ``port``, ``address`` (of the listen, may be empty), ``tls``, ``proxy_protocol``, ``host``, ``path``,
    ``live_port``, ``header`` and ``recursive`` (of the realip module), ``ranges`` (what is trusted there in earnest).
    ``unprobed``: what there are no requests for, as it stands in the configuration: locations by regular expression,
    listens for QUIC and on Unix sockets.
    """

    text: str
    endpoints: List[Dict[str, Any]]
    unprobed: List[str]


def _upstream(word: str, echo: str) -> str:
    """The value of proxy_pass with its server replaced; a path after it decides what nginx does, so that stays."""
    rest = re.sub(r"^https?://", "", unquoted(word))
    match = re.match(r"unix:[^:]*:?|\$\{?\w+\}?(?::\d+)?|[^/$]+", rest)
    return "http://%s%s" % (echo, rest[match.end() if match else 0 :])


def _paths(block: Block, unprobed: List[str]) -> List[str]:
    """A path for each location that passes requests on."""
    found = []
    for directive in block:
        if directive.name != "location" or directive.block is None:
            if directive.name != "location" and directive.block is not None:
                found += _paths(directive.block, unprobed)
            continue
        words = directive.words()
        if any(inner.name == "proxy_pass" for inner in walk(directive.block)):
            if words[0] in ("~", "~*") or words[0].startswith("@"):
                unprobed.append("location " + " ".join(words))
            else:
                found.append(words[-1])
        found += [path for path in _paths(directive.block, unprobed) if path not in found]
    return found


def _host(server: Block) -> str:
    names = [name for d in server if d.name == "server_name" for name in d.words()]
    for name in names:
        if name and not name.startswith("~") and "*" not in name[1:]:
            return name.replace("*", "probe", 1).lstrip(".")
    return "localhost"


def _listens(block: Block) -> List[List[str]]:
    """The words of all listens of all servers for HTTP."""
    inside = [one for http in block if http.name == "http" for one in walk(http.block or [])]
    return [directive.words() for directive in inside if directive.name == "listen" and directive.args]


def live_ports(block: Block) -> Set[int]:
    """The TCP ports that are listened on for HTTP, and the default one."""
    return {80} | {listen.port for listen in map(listen_of, _listens(block)) if listen}


class _Trial:
    """Turns a configuration into one to try out; see ``trial``."""

    def __init__(self, mode: str, own: Sequence[str], ports: Mapping[int, int], echo: str) -> None:
        self._insider = mode == "insider"
        self._own, self._ports, self._echo = own, ports, echo
        self._beside = bool(own) and all(ipaddress.ip_address(address).is_loopback for address in own)

    def place(self, listen: Listen) -> str:
        """Where to listen instead: on all addresses for a prober that comes from elsewhere only."""
        address = listen.address
        if self._beside and address in ("", "0.0.0.0", "[::]"):  # noqa: S104 - compared only
            address = "[::1]" if address == "[::]" else "127.0.0.1"
        return "%s%s" % (address + ":" if address else "", self._ports[listen.port])

    def listens(self, server: Block) -> Block:
        """The server's listens: the default one where it has none, none twice."""
        given = [directive for directive in server if directive.name == "listen"]
        found: Dict[str, Directive] = {}
        for listen in [listen_of(directive.words()) for directive in given]:
            if listen:
                found.setdefault(self.place(listen), Directive(["listen", self.place(listen), *listen.params]))
        return list(found.values()) or [Directive(["listen", self.place(Listen(80, "", False, False, ()))])]

    def _distrusts(self, word: str) -> bool:
        """A private network the prober happens to be in. Trust in the whole world is a finding and stays."""
        return not self._insider and any(
            within(me, [range_]) and any(within(range_, [private]) for private in PRIVATE)
            for range_ in networks([word])
            for me in networks(self._own)
        )

    def block(self, block: Block) -> Block:
        found = [one for directive in block if directive.name not in _NOT_TRIED for one in self._directive(directive)]
        if self._insider and any(directive.name == "set_real_ip_from" for directive in found):
            found += [Directive(["set_real_ip_from", address]) for address in self._own]
        return found

    def _directive(self, directive: Directive) -> Block:
        words = directive.words()
        if directive.name == "listen":
            return []
        if directive.name == "server" and not words and directive.block is not None:
            return [Directive(directive.raw, self.listens(directive.block) + self.block(directive.block))]
        if directive.name == "proxy_pass":
            return [Directive(["proxy_pass", _upstream(directive.args[0], self._echo)])]
        if directive.name == "set_real_ip_from" and self._distrusts(words[0]):
            return [Directive(["set_real_ip_from", "192.0.2.255"])]  # TEST-NET-1: keeps the level's own list
        if directive.block is None:
            return [directive]
        if directive.name == "geo" and words[:1] == ["$realip_remote_addr"]:
            return [Directive(directive.raw, self._geo(directive.block))]
        return [Directive(directive.raw, self.block(directive.block))]

    def _geo(self, block: Block) -> Block:
        """What a ``geo`` says of the peer, with the prober among those that are trusted there, or not."""
        if not self._insider:
            return [directive for directive in block if not self._distrusts(directive.name)]
        values = [directive.args for directive in block if networks([directive.name]) and directive.args]
        return block + [Directive([address, *value]) for value in values[:1] for address in self._own]


def trial(tree: Block, mode: str, own: Sequence[str], ports: Mapping[int, int], echo: str) -> Trial:
    """The configuration to try out in ``mode`` (``stranger`` or ``insider``) for a prober with the addresses ``own``.

    ``ports`` gives each live port its stand-in, ``echo`` is the listener as HOST:PORT.
    """
    converted = _Trial(mode, own, ports, echo).block(tree)
    for http in [directive for directive in converted if directive.name == "http"]:
        block = http.block if http.block is not None else []
        block.insert(0, Directive(["access_log", "off"]))
    head = [
        Directive(["pid", "@DIR@/%s.pid" % mode]),
        Directive(["lock_file", "@DIR@/%s.lock" % mode]),
        Directive(["error_log", "stderr", "emerg"]),
        Directive(["worker_processes", "1"]),
    ]
    unprobed = ["listen " + " ".join(words) for words in _listens(tree) if listen_of(words) is None]
    endpoints = _endpoints(converted, _trust(tree), ports, unprobed)
    return Trial(text_of(head + converted), endpoints, list(dict.fromkeys(unprobed)))


def _trust(tree: Block) -> Iterator[List[str]]:
    """What each server trusts, in their order: its own list, else that of all (ngx_http_realip_merge_loc_conf)."""
    for http in [directive.block or [] for directive in tree if directive.name == "http"]:
        of_all = trusted([directive for directive in http if directive.name == "set_real_ip_from"])
        for server in [directive.block or [] for directive in http if directive.name == "server"]:
            yield trusted(server) or of_all


def _endpoints(
    tree: Block, trust: Iterator[List[str]], ports: Mapping[int, int], unprobed: List[str]
) -> List[Dict[str, Any]]:
    """``tree`` is a trial's; ``trust`` is that of the configuration itself, which holds for the nginx that serves."""
    found: List[Dict[str, Any]] = []
    original = {stand_in: port for port, stand_in in ports.items()}
    for http in [directive.block or [] for directive in tree if directive.name == "http"]:
        for server in [directive.block or [] for directive in http if directive.name == "server"]:

            def setting(name: str, default: str, server: Block = server, http: Block = http) -> str:
                return ((last(server, name) or last(http, name) or [default]) + [default])[0]

            ranges = next(trust)
            paths = _paths(server, unprobed)
            for directive in [d for d in server if d.name == "listen"]:
                listen = listen_of(directive.words(), tls=setting("ssl", "off") == "on")
                for path in paths if listen else ():
                    found.append(
                        {
                            "port": listen.port if listen else 0,
                            "live_port": original[listen.port] if listen else 0,
                            "address": listen.address if listen else "",
                            "tls": bool(listen and listen.tls),
                            "proxy_protocol": bool(listen and listen.proxy_protocol),
                            "host": _host(server),
                            "path": path,
                            "header": setting("real_ip_header", "X-Real-IP"),
                            "recursive": setting("real_ip_recursive", "off") == "on",
                            "ranges": ranges,
                        }
                    )
    return found

# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of role realip as one checked dictionary, from which its templates print."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Tuple

from . import ranges, values
from . import timer as _timer
from .layout import FORWARDED_FOR, BadChain, Trust, trust

PREFIX = "phase_realip_"  # of the role's variables, for messages
PROXIES = ("nginx", "haproxy", "caddy", "traefik", "ingress_nginx", "gateway_api")
TLS_PROTOCOLS = ("TLSv1.2", "TLSv1.3")
# nginx: `http2 on` exists from here on; the parameter of listen is deprecated, and still taken
HTTP2_DIRECTIVE = (1, 25, 1)
GATEWAY_MOST = 64  # addresses that NGINX Gateway Fabric takes (API v1alpha2, NginxProxy.spec.rewriteClientIP)

_CHECKS: Dict[str, Callable[[str, Any], Any]] = {
    "server_names": lambda name, given: list(dict.fromkeys(values.each(values.server_name, name, given))),
    "ipv6": values.flag,
    "http": lambda name, given: values.choice(name, given, ("serve", "redirect", "none")),
    "http_port": values.port,
    "https_port": values.port,
    "https": values.flag,
    "http2": values.flag,
    "tls_certificate": values.path,
    "tls_key": values.path,
    "tls_protocols": lambda name, given: [values.choice(name, one, TLS_PROTOCOLS) for one in values.many(name, given)],
    "tls_ciphers": lambda name, given: values.ciphers(name, given) if given else "",
    "tls_client_ca": lambda name, given: values.path(name, given) if given else "",
    "backend_host": values.host,
    "backend_port": values.port,
    "frontend_host": values.host,
    "frontend_port": values.port,
    "nginx_version": lambda name, given: values.version(name, given) if given != "" else (0, 0, 0),
    "kubernetes_name": values.object_name,
    "kubernetes_namespace": values.object_name,
    "timer_calendar": values.calendar,
    "timer_command": _timer.command,
}
_OWN = ("proxy", "scope", "sources", "published", "recursive")


def settings(given: Mapping[str, Any]) -> Dict[str, Any]:
    """Everything checked: ``trust`` (see Trust.as_dict), ``notes`` for the operator, and the rest by its own name."""
    options = values.known("realip", given, [*_OWN, *_CHECKS])
    found: Dict[str, Any] = {name: check(PREFIX + name, options.get(name)) for name, check in _CHECKS.items()}
    found["proxy"] = values.choice(PREFIX + "proxy", options.get("proxy"), PROXIES)
    found["scope"] = values.choice(PREFIX + "scope", options.get("scope"), ("complete", "part"))
    found["http2_directive"] = found.pop("nginx_version") >= HTTP2_DIRECTIVE
    published = values.known("published", options.get("published"), ("cloudflare", "cloudfront"))
    model = trust(options.get("sources"), published, values.flag(PREFIX + "recursive", options.get("recursive")))
    _check_listeners(found)
    _check_proxy(found["proxy"], found["scope"], model)
    found["trust"] = model.as_dict()
    found["notes"] = notes(found, model)
    return found


def _check_listeners(found: Mapping[str, Any]) -> None:
    if found["http"] == "none" and not found["https"]:
        raise values.BadValue("Neither http nor https is to be served.", "Set one of them.")
    if found["http"] == "redirect" and not found["https"]:
        raise values.BadValue("http is to redirect to https, which is not served.", "Set https, or http to serve.")
    if found["http"] != "none" and found["https"] and found["http_port"] == found["https_port"]:
        raise values.BadValue("http_port and https_port are the same.", "Give each its own.")
    if found["https"] and not found["tls_protocols"]:
        raise values.BadValue("tls_protocols is empty.", "Use one or both of: %s." % ", ".join(TLS_PROTOCOLS))
    if found["tls_client_ca"] and (found["http"] == "serve" or not found["https"]):
        raise values.BadValue(
            "tls_client_ca asks for client certificates, and http would be a way around them.",
            "Set https, and http to redirect or none.",
        )


def _check_proxy(proxy: str, scope: str, model: Trust) -> None:
    """Refuse what the proxy cannot verify, rather than render something that half does."""
    if scope == "part" and proxy != "nginx":
        raise BadChain("Only nginx has a part to include.", "Set scope to complete.")
    if proxy == "haproxy" and model.recursive:
        raise BadChain("HAProxy verifies each hop by its position.", "Leave recursive out.")
    if proxy == "caddy" and (len(model.hops) > 1 or model.header == "proxy_protocol" or model.recursive):
        raise BadChain("Caddy can verify one source that sends a header.", "Use nginx or HAProxy for a chain.")
    if proxy in ("ingress_nginx", "gateway_api") and model.further:
        raise BadChain(
            "%s cannot verify a chain hop by hop." % proxy,
            "Set recursive, and read in docs/docsite/rst/guide_realip.rst what that gives up.",
        )
    if proxy == "gateway_api":
        if not model.hops:
            raise BadChain("Without a source there is nothing to rewrite.", "Leave rewriteClientIP out.")
        if len(model.ranges) > GATEWAY_MOST:
            raise BadChain(
                "NGINX Gateway Fabric takes %d ranges, and these are %d." % (GATEWAY_MOST, len(model.ranges)),
                "Give fewer, wider ranges.",
            )
        if model.header not in (FORWARDED_FOR, "proxy_protocol") and model.hops[0].source != "cloudflare":
            raise BadChain(
                "NGINX Gateway Fabric reads X-Forwarded-For or the PROXY protocol only.", "Use another proxy."
            )


def notes(found: Mapping[str, Any], model: Trust) -> List[str]:
    """What an operator should know about this choice."""
    said: List[str] = [text for hop in model.hops for text in ranges.stale(hop.source, hop.ranges)]
    shared = sorted({hop.source for hop in model.hops if hop.source in ("cloudflare", "cloudfront")})
    if shared and not found["tls_client_ca"]:
        said.append(
            "The ranges of %s prove the CDN, not your account on it. Have it authenticate itself too, by client "
            "certificates (phase_realip_tls_client_ca), a tunnel or a private origin." % " and ".join(shared)
        )
    if model.recursive or (found["proxy"] == "ingress_nginx" and model.header == FORWARDED_FOR):
        said.append("A client whose own address is in the trusted ranges is believed about the address in front of it.")
    if found["scope"] == "part" and model.further:
        said.append("Your server has to send X-Real-IP and X-Forwarded-For as $phase_client_ip, not $remote_addr.")
    if found["proxy"] == "traefik":
        said.append(
            "Traefik passes on the X-Real-IP that comes from a trusted address, so Phase's nginx has to stand behind "
            "it, with Traefik as its last source (custom)."
        )
    if any(hop.source == "aws_alb" for hop in model.hops):
        said.append(
            "The ALB has to append to X-Forwarded-For (its default); with mode preserve clients could forge it."
        )
    return said


def sources_to_fetch(sources: Any) -> Tuple[str, ...]:
    """The names of sources whose published ranges are needed, since none are given."""
    wanted = []
    for given in values.many("sources", sources):
        entry = (
            {"name": given} if isinstance(given, str) else values.known("A source", given, ("name", "ranges", "header"))
        )
        if entry.get("name") in ("cloudflare", "cloudfront") and not entry.get("ranges"):
            wanted.append(entry["name"])
    return tuple(sorted(set(wanted)))

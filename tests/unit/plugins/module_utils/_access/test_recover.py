# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._access import recover
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption

AL, BO = "al@example.com", "bo@example.com"


def finding(name, owner=None, remedy="Do this."):
    return {"finding": name, "owner": owner, "sentence": "%s of %s." % (name, owner), "remedy": remedy}


def doctor(*findings, owners=((AL, True, ()),)):
    return {
        "sentence": "The doctor's sentence.",
        "findings": list(findings),
        "owners": [{"email": email, "would_get_in": inside, "through": list(names)} for email, inside, names in owners],
    }


def answer(code=None, email=AL, scim=False, address="192.0.2.1", password_login=True):
    return {
        "granted": code is None,
        "code": code,
        "sentence": "The backend's sentence.",
        "address": address,
        "account": {"email": email, "scim": scim},
        "password_login": password_login,
    }


def policy(name="Office", on="everybody", networks=("198.51.100.0/24",), accounts=()):
    return {
        "name": name,
        "enforced_on": on,
        "networks": list(networks),
        "accounts": [{"id": one, "name": one} for one in accounts],
    }


def diagnosis(blocked=True, kind="member"):
    return {"blocked": blocked, "sentence": "The diagnosis.", "account": {"type": kind}}


PROVIDER = {"name": "Entra", "enabled": True}


def found(**more):
    facts = {
        "organisation": "Orbit",
        "account": "",
        "address": "192.0.2.1",
        "sso": "enforcement",
        "doctor": doctor(),
        "providers": [],
        "answer": answer(),
        "probed": None,
        "policies": [],
        "diagnosis": diagnosis(False),
    }
    return recover.recover(dict(facts, **more), "findings")


REQUIRED = doctor(finding("enforcement"), owners=((AL, False, ("Entra",)),))
CAN = doctor(finding("enforcement"), owners=((AL, True, ("Entra",)),))


def test_nothing_is_in_the_way():
    seen = found()
    assert (seen["causes"], seen["inside"], seen["account"]) == ([], True, AL)
    assert seen["todo"].startswith("Nothing to do") and "The backend's sentence." in seen["found"][-1]


def test_a_network_policy():
    seen = found(diagnosis=diagnosis(), answer=answer("IP_RESTRICTED"), policies=[policy()])
    assert (seen["causes"], seen["inside"], seen["past_network"]) == (["network_policy"], False, False)
    assert seen["todo"] == "To let al@example.com into Orbit: change the network policies."
    assert "The diagnosis." in seen["found"]


def test_the_backends_word_counts_more_than_the_tables():
    assert found(diagnosis=diagnosis(), answer=answer("SSO_REQUIRED"), doctor=CAN)["causes"] == ["sso"]


def test_the_tables_count_where_the_backend_is_not_asked():
    unseen = doctor(finding("backend_unseen"))
    assert found(answer=None, diagnosis=diagnosis(), doctor=unseen)["causes"] == ["network_policy"]
    assert found(answer=None, doctor=unseen)["inside"]
    assert found(answer=None, doctor=doctor(finding("backend_unseen"), finding("enforcement")))["causes"] == ["sso"]


def test_both_are_mended_where_no_provider_is_left():
    both = {"diagnosis": diagnosis(), "answer": answer("IP_RESTRICTED"), "doctor": CAN}
    assert found(**both, providers=[dict(PROVIDER, enabled=False)])["causes"] == ["network_policy", "sso"]
    assert found(**both, providers=[PROVIDER])["causes"] == ["network_policy"]  # which may well work


def test_single_sign_on():
    seen = found(doctor=CAN, answer=answer("SSO_REQUIRED"), providers=[PROVIDER])
    assert seen["causes"] == ["sso"] and "end the requirement" in seen["todo"]
    granted = found(doctor=CAN, answer=answer(), providers=[PROVIDER])
    assert granted["causes"] == ["sso"]  # enforced a moment ago: the backend has not noticed
    kept = found(doctor=CAN, answer=answer("SSO_REQUIRED"), providers=[PROVIDER], sso="keep")
    assert (kept["causes"], kept["inside"]) == ([], True)


def test_without_an_address_single_sign_on_is_judged_from_one_that_is_let_in():
    given = {"address": "", "diagnosis": None, "policies": [policy()], "answer": answer("IP_RESTRICTED")}
    assert found(**given, doctor=CAN, probed=answer("SSO_REQUIRED"))["causes"] == ["sso"]
    clear = found(**given, probed=answer())
    assert clear["inside"] and clear["todo"].startswith("Set phase_recover_address") and '"Office"' in clear["todo"]
    nobody = found(**given)
    assert (nobody["causes"], nobody["inside"]) == ([], False)
    assert nobody["todo"].startswith("Set phase_recover_address")


@pytest.mark.parametrize(
    ("given", "todo"),
    [
        ({"answer": answer("SSO_REQUIRED", scim=True)}, "Set phase_recover_account to an owner whom SCIM"),
        (
            {"answer": answer("NO_PASSWORD"), "doctor": doctor(finding("no_password", AL), owners=[(AL, 0, ())])},
            "Do this.",
        ),
        ({"answer": answer("INACTIVE")}, "This playbook cannot mend it. The backend's sentence."),
        ({"doctor": doctor(finding("password_login_off"), owners=[(AL, False, ())])}, "Do this."),
    ],
)
def test_what_it_cannot_mend_begins_with_what_to_do(given, todo):
    seen = found(**given)
    assert (seen["causes"], seen["inside"]) == ([], False) and seen["todo"].startswith(todo)


def test_a_service_account_has_no_single_sign_on():
    seen = found(answer=None, diagnosis=diagnosis(False, "service_account"), doctor=REQUIRED, account="deploy")
    assert (seen["causes"], seen["inside"]) == ([], True)


def test_a_release_without_single_sign_on():
    assert found(doctor={})["inside"]


@pytest.mark.parametrize(
    ("known", "account", "asked"),
    [
        (doctor(), "", ""),
        (doctor(finding("scim_managed", AL), owners=[(BO, 1, ()), (AL, 0, ())]), "", BO),
        (doctor(finding("scim_managed", AL), owners=[(AL, 0, ())]), "", ""),
        (doctor(finding("scim_managed", AL)), AL, AL),
        ({}, "", ""),
    ],
)
def test_whom_the_backend_is_asked_about(known, account, asked):
    assert recover.recover({"doctor": known, "account": account}, "account") == asked


@pytest.mark.parametrize(
    ("policies", "address"),
    [
        ([], ""),
        ([policy(networks=[])], ""),
        ([policy(on="nobody")], ""),
        ([policy()], "198.51.100.1"),
        ([policy(networks=["192.0.2.7"])], "192.0.2.7"),
        ([policy(on="its accounts", accounts=[BO])], ""),
        ([policy(on="its accounts", accounts=[AL], networks=["2001:db8::/64"])], "2001:db8::1"),
    ],
)
def test_an_address_that_the_policies_let_in(policies, address):
    assert recover.recover({"policies": policies, "account": AL}, "probe") == address


@pytest.mark.parametrize(
    ("known", "account", "login", "can"),
    [
        (doctor(), "", True, True),
        (doctor(owners=[(AL, False, ("Entra",))]), "", True, False),
        (doctor(owners=[(AL, False, ("Entra", "google"))]), "", True, True),
        (doctor(), "other@example.com", True, True),
        (doctor(), "other@example.com", False, False),
        (doctor(finding("password_login_off")), "other@example.com", None, False),
        (doctor(finding("backend_unseen"), finding("no_password", AL)), "", None, False),
        ({}, "", False, False),
    ],
)
def test_who_can_sign_in_otherwise(known, account, login, can):
    assert recover.signs_in(known, account, login, [PROVIDER]) is can


def test_a_change_in_words():
    result = {"summary": ["One.", "Two."], "diagnosis_after": diagnosis(False), "snapshot": "/s"}
    change = recover.recover({"cause": "network_policy", "result": result}, "change")
    assert change["helps"] and (change["snapshot"], change["text"]) == ("/s", ["One.", "Two."])
    facts = {"cause": "sso", "account": "", "answer": None, "providers": []}
    out = doctor(finding("no_password", AL), owners=[(AL, False, ())])
    change = recover.recover(dict(facts, result={"doctor": out, "summary": ["S."]}), "change")
    assert not change["helps"] and "no_password of al@example.com. Do this." in change["after"]


def job(state, waiting=(), **more):
    return {"job": dict({"state": state, "sentence": "The job."}, **more), "waiting": list(waiting)}


def plan(*pending, leftover=()):
    return {"pending": list(pending), "leftover_indexes": list(leftover), "summary": ["The plan."]}


INDEX = {"valid": False, "index": "i", "table": "t", "migration": "api.1"}


@pytest.mark.parametrize(
    ("known", "planned", "wanted", "needed", "migrate"),
    [
        (job("done"), plan(), {}, False, False),
        (job("none"), plan("a"), {}, True, True),
        (job("done"), plan("a"), {"organisation": "Orbit"}, False, False),  # an upgrade that was not run yet
        (job("done"), plan("a"), {"organisation": "Orbit", "image": "new"}, True, True),
        (job("failed"), plan("a"), {"organisation": "Orbit"}, True, True),
        (job("none"), plan("a", leftover=[INDEX]), {"organisation": "Orbit"}, True, True),
        (job("failed"), plan(), {}, False, False),
        (job("done", ["worker"]), plan(), {"organisation": "Orbit"}, True, False),
        (job("stuck"), None, {}, True, True),
        (job("blocked"), plan(), {}, True, False),
        (job("own"), plan("a"), {"organisation": "Orbit"}, True, True),
    ],
)
def test_when_migrations_are_mended(known, planned, wanted, needed, migrate):
    given = dict({"job": known, "plan": planned, "image": "", "organisation": ""}, **wanted)
    seen = recover.recover(given, "migrations")
    assert (seen["needed"], seen["migrate"], seen["working"]) == (needed, migrate, False)


def test_what_was_found_of_migrations():
    given = {"image": "", "organisation": "", "plan": plan(leftover=[INDEX]), "job": job("failed", ["web"], log=["x"])}
    seen = recover.recover(given, "migrations")
    assert any("Every migration is applied" in line for line in seen["found"])
    assert {"Its log: x", "The plan.", "Not started: web."} <= set(seen["found"])
    assert "An interrupted run left INVALID index i on t, of api.1." in seen["found"]
    working = recover.recover(dict(given, job=job("working")), "migrations")
    assert working["working"] and working["todo"].startswith("Let the migration finish")
    unread = recover.recover(dict(given, plan=None, job=job("working")), "migrations")
    assert unread["found"] == ["The job."]
    assert "cannot be read" in recover.recover(dict(given, plan=None, job=job("stuck")), "migrations")["found"][-1]


def test_what_was_mended():
    given = {"image": "img", "applied": [{"name": "a"}], "repaired": [], "started": ["web"]}
    assert recover.recover(given, "mended") == (
        "The database has every migration of img. Applied now: a. Indexes built again: none. Started: web."
    )


def ending(outcome, now=None, changes=({"snapshot": "/s"},), error=""):
    state = {"outcome": outcome, "found": found(), "seen": now or found(), "changes": list(changes), "error": error}
    return recover.recover(dict(state, back="TYPE THIS", within="30m"), "summary")


@pytest.mark.parametrize(
    ("outcome", "first", "failed", "back"),
    [
        ("nothing", "Nothing to do", False, False),
        ("check", "Check mode", False, False),
        ("kept", "It helped and is kept", False, True),
        ("put_back", "The change was undone, as the answer was", False, False),
        ("expired", "The change was undone: it was not confirmed within 30m", True, False),
        ("failed", "The change was undone, since it did not help", True, False),
        ("broke_off", "Nothing was changed", True, False),
        ("not_put_back", "The change is still there", True, True),
        ("unverified", "The change did not help", False, True),
    ],
)
def test_an_ending_is_told_first(outcome, first, failed, back):
    said = ending(outcome)
    assert said["text"][0].startswith(first) and said["failed"] is failed
    assert any("TYPE THIS" in line for line in said["text"]) is back


def test_what_is_left_after_a_change_is_said():
    left = found(doctor=CAN, answer=answer("SSO_REQUIRED"), providers=[PROVIDER])
    assert "If its provider fails, run the same command again" in " ".join(ending("kept", left)["text"])
    assert "TYPE THIS" not in " ".join(ending("kept", changes=[])["text"])
    assert ending("failed", error="Why.")["text"][1] == "Why."


def test_a_step_that_there_is_not():
    with pytest.raises(BadOption):
        recover.recover({}, "x")


@pytest.mark.parametrize(
    ("causes", "seen", "helped"),
    [
        (["network_policy"], {"past_network": True, "inside": False}, True),
        (["network_policy"], {"past_network": False, "inside": False}, False),
        (["sso"], {"past_network": True, "inside": False}, False),
        (["network_policy", "sso"], {"past_network": True, "inside": True}, True),
    ],
)
def test_whether_it_helped(causes, seen, helped):
    assert recover.recover({"causes": causes, "seen": seen}, "helped") is helped
